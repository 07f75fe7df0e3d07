"""Find the processes that listen on a TCP port of the VIP, if this process may see them (I/O)."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterator

from anycastd.system.printable import make_printable

_LISTEN = "0A"
"""State of a socket that listens, in /proc/net/tcp (proc(5))."""
MAX_NAMED = 8
"""Maximum number of processes that are named."""


def describe_listeners(vip: str, port: int) -> str:
    """Describe the processes that listen on a port of the VIP, or of every address.

    Such as ``pid 7 (haproxy), pid 9 (haproxy)``; empty where this process may see none of them: the
    files of other users' processes are for root (proc(5)).
    """
    sockets = {f"socket:[{inode}]" for inode in _list_sockets(vip, port)}
    found = [] if not sockets else sorted(_list_owners(sockets))
    return ", ".join(f"pid {pid} ({name})" for pid, name in found[:MAX_NAMED])


def _list_sockets(vip: str, port: int) -> Iterator[str]:
    """Yield the inodes of the listening sockets."""
    address = ipaddress.ip_address(vip).packed
    words = (address[at : at + 4] for at in range(0, len(address), 4))
    # Each word is in the order of this machine, little-endian wherever we run.
    own = "".join(word[::-1].hex() for word in words).upper()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/self/net/{name}", encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if fields[3] != _LISTEN:  # the header has another word there
                    continue
                local, _, hex_port = fields[1].partition(":")
                if int(hex_port, 16) == port and (local == own or not local.strip("0")):
                    yield fields[9]


def _list_owners(sockets: set[str]) -> Iterator[tuple[int, str]]:
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            files = os.scandir(f"/proc/{pid}/fd")
            if any(_target(each.path) in sockets for each in files):
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    yield int(pid), make_printable(file.read().strip(), 16)


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
