"""The rehearsal network: namespaces, routers, appliances, faults, and what was seen.

I/O:

    shipped_files  files that ship with the project
    process_tree   processes by their PIDs, and their end
    namespaces     processes in network namespaces, and their end
    topology       a network as one value: nodes, links, routers, appliances, clients
    table          the routes of a router, in one form
    bird           BIRD as a router
    frr            FRR as a router
    gobgp          GoBGP as a router
    routers        the routers, of any make
    azure          Azure's regions with route servers, and the premises
    twins          two appliances in each region of Azure
    one_vnet       two servers in one VNet
    watchers       two watchers for two web servers in one VNet
    aws            two availability zones of AWS
    datacenter     machines behind one router
    two_sites      two regions with a router each
    adapt          the shipped profiles and haproxy.cfg -> those of the rehearsal network
    appliance      one appliance's HAProxy, agent and speaker
    faults         what is broken
    route_monitor  a router's routes, as they change
    outage         what a client saw
    load           the clients' load
    lab            all of it, built and taken down
"""
