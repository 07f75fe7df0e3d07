"""The command line: one file for each command.

I/O:

    output         how commands print
    grid           tables that fit into 80 columns
    status_text    the status of all services
    regions_text   what all regions announce, and who wins
    route_choice_text  next hops and a MED by choice
    service_text   the details of one service
    no_agent       why no agent answers, and what to type
    watch          shows something again and again in place
    log            how the agent logs: text, JSON, or entries of the journal
    arguments      arguments that several commands have
    profile_text   reads a profile's text
    profile_file   reads profiles, and prints what is wrong with them
    check_machine  `check` on the appliance: what of this machine does not fit its profile
    folding        lines whose spaces mean something, in 80 columns
    check_result   what `check` has found, as values and as JSON
    live_look      one look at HAProxy, at the VIPs and at what checks ask
    rule_names     names in rules that HAProxy does not have, and which were meant
    check_checks   what `check` says of the checks
    check_live     `check` where a profile runs: HAProxy, this machine, the other regions
    check_winners  which region wins, for `check` of several profiles
    check_print    prints what `check` has found
    reload_guard   whether a reload would lower a service only because of the new profile
    init_answers   the answers that `init` needs: how each is asked for, read, and refused
    show_plan      prints what a reload would change
    profile_check  the agent's check of its profile: what the last one kept, or a child process
    run_agent      runs the agent for `run`
    commands/      one file for each command
    main           chooses the command, and imports only that one
"""
