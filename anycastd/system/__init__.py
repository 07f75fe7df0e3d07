"""What any process needs of the machine.  Standard library only.

    exit_codes     every exit code, in one table
    printable      text of others, made printable
    instants       instants and durations as text

I/O:

    counters       durations and numbers that the parts of a process count
    clock          own time: a clock that stands still while this process cannot run
    parent_death   ends a process when its parent ends
    stop_signals   blocks and unblocks the signals that the agent handles
    spare_socket   a socket in reserve, for when no more can be opened
    readiness      waits for one descriptor in an asyncio loop
    ticker         ticks own time in an asyncio loop
    without_openssl  imports asyncio and hashes without OpenSSL
    turns          runs a long computation in pieces between which an asyncio loop goes on
    systemd        what systemd is told of a service
    atomic_file    replaces a file at once
    journal        writes to systemd's journal, with fields
    log_queue      a log that nobody reads never blocks the process
    spawn          starts a program without holding up other threads
    side_thread    one thread for what may block for ever
    threads        starts threads before they are needed
    garbage        collects garbage at times
    passing_errors  errors that may be over a moment later
    regular_file   reads a file without waiting, up to a maximum size
    secret_file    a secret that only its owner can change
    local_address  whether an IP address is one of this machine
"""
