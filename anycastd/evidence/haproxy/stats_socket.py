"""Connect to a stats socket: a path, or an address and a port of another machine (I/O).

Over TCP, refused is what the other machine's kernel says where nobody listens: that HAProxy is
gone.  Everything else that a network does (silence, no route, a reset) says nothing of HAProxy.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import NamedTuple

TCP = "tcp://"
"""What the socket of a HAProxy on another machine begins with in a profile."""
# An open event stream over TCP is tested by the kernel, because the other machine may just be gone.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


class StatsSocket(NamedTuple):
    """Where a stats socket is: its family, and its address as ``socket.connect`` takes it."""

    family: socket.AddressFamily
    address: str | tuple[str, int]

    @property
    def remote(self) -> bool:
        """Return whether it is reached over TCP."""
        return self.family is not socket.AF_UNIX


def parse_stats_socket(text: str) -> StatsSocket:
    """Parse ``socket`` of a HAProxy in a profile: a path, or ``tcp://ADDRESS:PORT``."""
    if not text.startswith(TCP):
        return StatsSocket(socket.AF_UNIX, text)
    host, _, port = text.removeprefix(TCP).rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    return StatsSocket(family, (host.strip("[]"), int(port)))


def begin_connect(sock: socket.socket, where: StatsSocket) -> bool:
    """Begin to connect ``sock``, which does not block; return whether it goes on.

    Wait until it is writable then, and call ``end_connect``.  Raises OSError where it fails at
    once: BlockingIOError where the queue of a Unix socket is full.
    """
    if not where.remote:
        sock.connect(where.address)
        return False
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
    try:
        sock.connect(where.address)
    except BlockingIOError:
        return True
    return False


def end_connect(sock: socket.socket) -> None:
    """Raise OSError where a connection that went on has failed."""
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, os.strerror(error))


def connect_blocking(text: str, timeout: float) -> socket.socket:
    """Connect within ``timeout`` seconds, which is also the limit of each call after that."""
    where = parse_stats_socket(text)
    with contextlib.ExitStack() as opened:
        sock = opened.enter_context(socket.socket(where.family))
        sock.settimeout(timeout)
        sock.connect(where.address)
        opened.pop_all()
    return sock
