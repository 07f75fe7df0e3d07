"""Programs that run inside the rehearsal network, each started with ``python -m``.

I/O:

    web_server    a web server that says where it runs
    load_client   the on-premises client's requests
    idle_clients  clients that connect and send nothing
"""
