"""The rehearsal network: namespaces, routers, appliances, faults, and what was seen.

I/O:

    shipped_files  files that ship with the project
    process_tree   processes by their PIDs, and their end
    namespaces     processes in network namespaces, and their end
    topology       regions, routers and links
    routers        BIRD and its tables
    adapt          the shipped profiles and haproxy.cfg -> those of the rehearsal network
    appliance      one region's HAProxy, agent and speaker
    faults         what is broken
    route_monitor  the far router's routes, as they change
    outage         what a client saw
    lab            all of it, built and taken down
"""
