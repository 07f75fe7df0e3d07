"""A rehearsal network of namespaces.  It imports nothing of ours: it drives the rest from outside.

I/O:

    programs/   what runs in the network: web server, load client, idle clients
    network/    namespaces, routers, appliances, faults; what was seen
    stories/    what is played in it, step by step
"""
