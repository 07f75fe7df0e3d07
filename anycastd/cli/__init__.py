"""The command line: one file for each command.

I/O:

    output         how commands print
    arguments      arguments that several commands have
    profile_file   reads profiles, and prints what is wrong with them
    check_machine  `check` on the appliance: what of this machine does not fit its profile
    show_plan      prints what a reload would change
    commands/      one file for each command
    main           chooses the command, and imports only that one
"""
