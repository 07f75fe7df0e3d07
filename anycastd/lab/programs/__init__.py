"""Programs that run inside the rehearsal network, each started with ``python -m``.

I/O:

    web_server    a web server that says where it runs
    load_client   the on-premises client's requests
    route_window  a route table that takes one change per window
    idle_clients  clients that connect and send nothing
"""
