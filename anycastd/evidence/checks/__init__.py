"""Checks: what the agent asks besides HAProxy, by name.

    observation     results in a row -> whether a check passes, by its `rise` and `fall`
    evaluate        observation and rule -> finding
    load_steps      the load of this machine -> its step

I/O:

    asker           what all kinds have in common: one run, late runs, errors that prove nothing
    host_addresses  the addresses of a host's name
    tcp_check       connects to a port
    http_answer     one answer of an HTTP server -> as wanted, or not
    byte_stream     a connection, plain or with TLS
    http_check      sends a GET
    command_check   runs a command, and kills it with its group
    inotify         waits until something happens in a folder
    file_check      looks whether a file is there
    load_check      measures the load
    runner          runs one check again and again, within limits
"""
