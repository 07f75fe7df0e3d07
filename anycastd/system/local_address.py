"""Find out whether an IP address is one of this machine (standard library alone, I/O)."""

from __future__ import annotations

import errno
import socket


def is_local_address(address: str) -> bool:
    """Return whether a socket can be bound to ``address`` (IPv4 or IPv6, as text).

    It sends nothing.  Returns True also where it cannot be found out, and on a machine that may
    bind to any address (``ip_nonlocal_bind`` of ip-sysctl).
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True
