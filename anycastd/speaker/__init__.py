"""ExaBGP: its configuration, its patches, and the child that keeps the lease.

    bird_bfd       Profile -> the configuration of a BIRD that speaks BFD and nothing else
    exabgp/        ExaBGP's API and configuration, and its start
    permitted_routes  all routes that the speaker may announce for a profile

I/O:

    rewrite_job    starts `python -m anycastd.speaker.rewrite` for the lease process
    pipes          descriptors that carry lines: agents' connections, ExaBGP's standard streams
    connections    the lease's socket: who may connect, how many, and a shortage of descriptors
    lease_process  the process that ExaBGP starts as its API child: lease.machine with its I/O
    directory      the speaker's directory: lock, files, MD5 passwords
    rewrite        writes a running speaker's files for another profile
    foreign        finds ExaBGPs on this machine that are not ours
    start          prepares the directory and executes ExaBGP
"""
