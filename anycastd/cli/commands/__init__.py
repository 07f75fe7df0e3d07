"""One file for each command: ``configure(parser)`` adds its arguments, ``main(arguments)`` runs it.

I/O:

    run       the agent
    speaker   executes ExaBGP
    init      asks five questions, and writes a pair of profiles
    import_   `anycastd import`: a profile from the configuration of another program
    check     what `run` would decide and write
    status    what is announced, and why
    explain   rules, caps, timers, and what comes next
    history   what has happened
    return_   `anycastd return`: ends a hold-down, or the wait for a person
    drain     takes services out gently
    undrain   ends a drain
    reload    has the agent take over the code and the profile on disk
    record    records what the decisions depend on
    simulate  runs a recording again, also with another profile
    loopback  puts the VIPs on the loopback, or removes them
    bfd       executes a BIRD that speaks only BFD
    lab       rehearses a failover
"""
