"""What this machine has -> what of it does not fit a profile; for `check` alone.

    facts        what was read of this machine
    proc         texts of /proc -> sockets and routes
    addresses    local addresses and VIPs: missing, in the wrong place, nothing listens
    network      routes to neighbors, other BGP speakers, rp_filter, clock, connection tracking
    firewall     rules of nftables -> whether they drop BGP
    judge        all of it: facts and a profile -> problems

I/O (it blocks, and it only reads):

    reader       reads the facts: rtnetlink, /proc, adjtimex, nft
    permissions  whether the agent's user may use a socket or a file
"""
