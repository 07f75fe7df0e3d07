"""ExaBGP 4.2 and 5.0: its API, its configuration, and the patches that we apply.

    contract   what shim, configuration and lease process agree on: names, lines, events
    lines      one route, session or reason <-> one line of the API
    api        the conversation with one ExaBGP: commands -> lines, lines -> facts
    config     Profile -> exabgp.conf, and hashes of what it says

I/O:

    modules    ExaBGP's modules, and checks that they are as the patches expect them
    patches/   what we change in ExaBGP, each beside its reason
    shim       ExaBGP's own main, with the patches: `python -m anycastd.speaker.exabgp.shim`
"""
