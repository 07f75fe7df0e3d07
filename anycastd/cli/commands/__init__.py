"""One file for each command: ``configure(parser)`` adds its arguments, ``main(arguments)`` runs it.

I/O:

    run       the agent
    speaker   becomes ExaBGP
    check     everything that `run` does, short of starting
    status    what is announced, and why
    explain   rules, caps, timers, and what comes next
    return_   `anycastd return`: ends a hold-down
    drain     leaves gently
    undrain   ends a drain
    reload    takes over the code and the profile on disk
    loopback  puts the VIPs on the loopback, or removes them
    bfd       becomes a BIRD that speaks BFD
    lab       rehearses a failover
"""
