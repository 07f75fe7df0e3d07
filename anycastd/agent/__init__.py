"""The loop, its sources and its sinks: all I/O of the agent.

I/O:

    inbox             the newest value of every source; wakes the loop
    deadline          until when a request that changes something is wanted
    lease_client      client of the lease process
    control_client    asks an agent over its control socket, blocking
    history_reader    reads the history on disk
    history_file      writes the history to the disk
    event_log         the one door for events: logs them, keeps them, passes them on
    json_cache        encodes JSON, and reuses it for a moment
    history_answer    answers `anycastd history`
    start_context     what the agent before it, or its reload, hands over
    endings           how an agent ends other than in order
    accepted_file     keeps what a check of the profile accepted, for the next start
    event_recorder    turns what the parts report into events
    history           every change of level, with what each stage took
    state_file        a file that outlives the agent
    memory_store      failures and last changes of services, kept for the next agent
    drain_store       drains, kept for the next agent; what cannot be read is a drain too
    region_client     asks the agents of the other regions
    drain_controller  begins and ends drains, as operators ask for it
    connections       accepts connections, serves each in a task, bounds what clients can take
    page              what answers a GET of one path
    peer_access       who is at the other end of the control socket, and may do what
    control_server    the control socket
    http_server       pages by HTTP
    hook_runner       runs commands when something has happened
    hooks             the hooks of the profile: loads what runs them, where there are some
    recordings        records the passes to a file, while an operator wants it
    decision_loop     wait for news, run a pass, hand its result to the sinks
    regions_answer    answers `anycastd status --all`
    answers           the answers to all requests, by name
    front_page        the page for people, with what the other regions say
    prometheus        imports prometheus_client without its servers
    metrics           the metrics, in the format of Prometheus
    web               all pages by HTTP
    web_loader        loads them only where the profile has web
    early_parts       what the late parts need of an agent
    late_parts        what decides nothing: answers, pages, recordings; loaded last
    sources           builds the watchers, self-tests and VIPs of a profile
    supervisor        a speaker as our child, for the foreground form
    validation        has profile and code on disk checked, and what they would lower
    reload            executes what was validated in this process
    daemon            builds the parts, starts and stops them
"""
