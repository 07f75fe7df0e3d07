"""anycastd keeps an anycast announcement honest: HAProxy's state in, BGP through ExaBGP out.

The tour, in the order in which data flows.  Each stage imports only stages above it; edges do
all I/O.

Stages (pure: values in, values out, time is an argument):
    reasons     every named reason, its sentence and its remedy
    yamltext    YAML text -> values with the line of each, and what is wrong in words
    document    YAML text and a JSON Schema -> Document, each problem with its line
    formats     texts of a profile that the schema cannot describe -> addresses and the like
    profile     Document -> Profile, by profile.schema.json
    rules_bgp   rules across fields: AS numbers, addresses, sessions
    rules_services  rules across fields: HAProxy, VIPs, levels, times
    rules_conditions  rules across fields: conditions, limits, maintenance, steering
    rules_drain  rules across fields: the times of drains, the list of regions
    rules       accept(): text -> Profile, or all that is wrong with it
    regions     the comparison of regions: who wins at the far router
    haproxy     what a look at HAProxy finds, and which of its servers count
    stats       HAProxy's stats and event text -> Snapshot
    selftest    a request to the VIP: what each outcome proves
    findings    a look at HAProxy and one rule -> Finding, of three values
    health      observations and a service's rules -> Verdict
    known       the last known value of a condition, held for a bounded time
    levels      the four levels, and the table of everything that can cap them
    policy      Verdict, Memory and now -> Decision; the machine is explained at its top
    drains      what an operator drains, and the guard -> a cap for policy
    lease       Route, ExaBGP's commands and facts, the lease's two messages
    closing     why a session is closed: a NOTIFICATION in words
    terms       what the lease is told at its start, what it asks its edge to do
    holder      which agent holds the lease; agents that crash again and again
    peers       what the lease knows of a neighbor
    resettle    how a running speaker takes over other sessions, one loss at a time
    tenure      who holds which routes for how long: the lease's state machine
    routes      Decision -> wanted routes per neighbor
    plan        two profiles and what is held -> what a reload changes
    bfd         Profile -> the configuration of a BIRD that speaks BFD and nothing else
    exabgp      route -> line, line -> fact: ExaBGP's words
    pipeline    advance(): the only composition of the stages
    forecast    the core run forward: what happens next if nothing changes
    explain     why a service is announced as it is, and what would happen next
    emptying    how far a drain has got, and whether it is safe to reboot
    status      the one view of everything; text and JSON are renderings of it

Edges (all I/O):
    clock       time that one's own stalls do not spend
    watcher     HAProxy's stats socket -> observations
    probe       a request to the VIP through the loopback -> observations
    netlink     the kernel's addresses and routes, through rtnetlink
    loopback    the VIP on the loopback: put in place, watched, healed
    announcer   the agent's end of the lease
    journal     every change of level, told once, with what each stage took
    keeper      the lease process: ExaBGP's API child
    scribe      the lease process's hand: has the speaker's files written
    speaker     Profile -> ExaBGP's configuration and environment, then exec
    others      ExaBGPs on this machine that are not ours
    rewrite     a running speaker's files for another profile
    queue       ExaBGP's queue of routes, mended
    shim        ExaBGP's own main with its timers mended
    store       what outlives the agent: files in the state directory
    recall      what services have been through, kept for the next agent
    elsewhere   the other regions' agents, asked over HTTP
    web         the status over HTTP, for them and for monitoring
    drainer     drains as they are asked for, kept and ended
    supervise   a speaker as our child, for the foreground form
    systemd     what systemd wants to hear from a service
    desk        what people ask about decisions: `anycastd explain`, `anycastd return`
    control     the socket that `anycastd status` and `reload` ask
    handover    a reload: judge what is on disk, then become it
    inventory   HAProxy's inventory through haproxyadmin, for `check` only
    inbox       the newest value of every source, and what of it is news
    daemon      build, wait, advance, hand to the sinks, stop
    cli         the command line; commands/ has one file per command
    lab         the rehearsal network; it drives the rest from outside only
"""

__version__ = "0.1.0"
