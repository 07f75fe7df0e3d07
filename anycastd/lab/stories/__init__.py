"""What is played in the network, step by step, with what a client and the far router saw.

I/O:

    report       how a story is printed
    live         what happens now, on a terminal
    recording    what was seen around a fault
    html_report  one HTML file with a timeline for each fault
    shell        a prompt in a lab that stays up
    steps        one step: do something, wait for what follows, print it
    shared       steps in which several machines answer at once
    failover     a region fails and comes back
    graded       a region serves with less
    circuits     two circuits on which prepends do not steer
    regions      three and four regions, and a client inside one
    one_vnet     two servers in one VNet
    aws          two availability zones behind a VPC Route Server
    active_active  machines that share the VIP at equal paths
    active_passive  the lower MED answers
    database     read replicas by their lag
    geographic   the region near a client serves it
    two_nvas     two appliances in each region
    watcher      a VIP on other machines, moved by its next hop
    catalogue    all stories by name

A new story has these files:

    lab/stories/NAME.py            the steps, and STORY = Story(steps, summary, topology, ...)
    lab/network/NAME.py            its Topology, if it is no other story's
    lab/stories/catalogue.py       one line: its name and STORY
    profiles/NAME.yaml             what a site's appliance runs, with EDIT marks (``Site.profile``)
    docs/stories/NAME.md           what it shows, its table of measured times; and its line in
                                   mkdocs.yml
    tests/lab/test_stories_NAME.py plays it with --json, and checks tables and times

The network is a value (``network.topology.Topology``): nodes with addresses and static routes,
links between their ports, routers with their make (``bird``, ``frr``, ``gobgp``) and the text of
their configuration, sites (one for each appliance, the preferred one first) and clients.  The
observed router is the one whose routes to the VIP say who gets the requests; `Site.next_hops` are
what its table has for a site.  The lab puts a site's addresses into its profile: region, router id,
local address, neighbors, VIP, stats socket, `web` and `regions`; `Site.edits` names further values
to replace.

A step is a function of the lab and its report.  ``steps`` has what most steps need: ``baseline``,
``wait_moved`` (after a fault), ``recover`` (after its repair), and the checks.  Every criterion is
a `step.add_check`, every figure a `step.add_time`; a wait is `lab.wait` with a time limit, never a
sleep.  A wait that times out fails the step, with what was seen instead.  Programs are broken by
``lab.faults``, routers by ``lab.routers[node]``, links by `lab.nodes.run(node, "ip", "link", ...)`.
"""
