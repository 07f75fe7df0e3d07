"""The rehearsal network: two regions, an edge router and a client in Linux network namespaces.

It imports no other module of ours: it drives the agent from outside only, by command line,
profile, sockets and signals.  The modules in order:

    files       where the shipped profiles and the HAProxy file are
    node        namespaces, and processes in them, that vanish with whoever made them
    topology    who is where, and how it is wired
    routers     BIRD: configurations, tables, sessions
    watch       when a router changed its mind
    backend     a web server that says where it runs (a program)
    client      the on-premises client's load (a program)
    record      the client's answers, and the outage that they add up to
    fill        the shipped files with the lab's addresses in them
    appliance   one region's NVA and its web servers
    faults      what is broken, and mended
    lab         all of it as one object
    report      steps and checks, as text and as JSON
    story       the seed's story
"""
