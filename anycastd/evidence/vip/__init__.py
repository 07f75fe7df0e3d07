"""The VIP on this machine: tested by a self-test, kept on its interface.

    selftest   a request to the VIP: what each outcome proves, as findings

I/O:

    tcp_listeners  which processes listen on a port of the VIP
    prober     sends the self-test's requests for as long as the agent runs
    netlink    the kernel's addresses and routes, through rtnetlink
    loopback   puts the VIP on its interface, watches it, puts it back
"""
