"""HAProxy's stats socket and event ring -> Snapshot, Gone or Unreadable -> findings.

    answer        HAProxy's answer -> one answer for each command, bounded and printable
    servers       one server row: usable, not usable, or not proved
    check_results   results of checks that are older than a server's return to service
    backend_line  a backend's own row, and what the rows of its servers come to
    loops         servers that are this HAProxy itself
    judged_rows   rows of `show stat` -> servers, compared with the look before
    snapshot      what one look found
    conditions    a look and one rule -> Finding
    query         what one look asks for, and its request line
    brief_look    a large backend's own row and single servers, instead of all rows
    stats         the answers -> Snapshot
    events        lines of the event ring: which of them ask for a look
    unannounced   changes that a look found and no event announced
    check_times   how long HAProxy may take to notice a dead server
    config_names  names in a haproxy.cfg, for `anycastd init`
    advice        rules that can never hold: backends without servers, servers that are loops

I/O (asyncio; inventory blocks and is for `anycastd check` alone):

    unix_listeners  which Unix sockets somebody listens on
    stats_socket  connects to a stats socket, here or over TCP
    look          one look: a new connection, one request, one answer
    event_stream  the event ring, held open: it says when to look
    watcher       looks when there is reason to, for as long as the agent runs
    inventory     what HAProxy has, for people; in part through haproxyadmin
"""
