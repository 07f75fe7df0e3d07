"""What we change in ExaBGP, each beside its reason.

I/O:

    timers     how long ExaBGP waits: clocks, redials, a name lookup
    session    a Cease before a connection is closed; plain route refresh only; the AS number of a
               peer that has another one than is expected
    families   IPv4 where a peer names no family; none with an IPv6 next hop to a peer that does
               not offer it; a report of what was negotiated
    api_child  an API child that dies or hangs; what a peer says is no line of its own
    reload     a reload is never forgotten, is reported, and sends nothing again
    queue      of a route only the newest command is sent; commands are taken in large batches;
               before ExaBGP ends, it sends what is queued; no message waits for the one before
    descriptors  without a free descriptor ExaBGP tries again, and does not end
    loop       it sleeps longer while nothing needs a turn of it; a signal wakes it, and no
               socket that is closed
"""
