"""Send inputs to a socket in three ways: each whole, all of them slowly, or all of them at once.

An error of a connection is none of the test: the other end may close it whenever it likes.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Sequence

WAYS = ("whole", "slow", "many")
READ_TIMEOUT = 0.5
"""Seconds of silence after which an answer is no longer waited for."""
SLOW_BYTES, SLOW_DELAY = 250, 0.002
"""How many bytes are sent one at a time, and the seconds between two; the rest comes at once."""

Connect = Callable[[], socket.socket]


def send_inputs(way: str, connect: Connect, inputs: Sequence[bytes]) -> None:
    """Send each input on a connection of its own, in one of WAYS."""
    match way:
        case "whole":
            for data in inputs:
                _send_whole(connect, data)
        case "slow":
            _send_slowly(connect, inputs)
        case _:
            _send_together(connect, inputs)


def _send_whole(connect: Connect, data: bytes) -> None:
    """Send it, say that this was all, and read the answer to its end."""
    with contextlib.suppress(OSError), connect() as connection:
        connection.settimeout(READ_TIMEOUT)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass


def _send_slowly(connect: Connect, inputs: Sequence[bytes]) -> None:
    """Send a byte of each in turn, with a pause after each round; read nothing."""
    with contextlib.ExitStack() as stack:
        open_ones = []
        for data in inputs:
            with contextlib.suppress(OSError):
                connection = stack.enter_context(connect())
                connection.setblocking(False)
                open_ones.append((connection, data))
        longest = max((len(data) for _, data in open_ones), default=0)
        for place in range(min(longest, SLOW_BYTES)):
            for connection, data in open_ones:
                with contextlib.suppress(OSError):
                    connection.send(data[place : place + 1])
            time.sleep(SLOW_DELAY)
        for connection, data in open_ones:
            with contextlib.suppress(OSError):
                connection.send(data[SLOW_BYTES:])


def _send_together(connect: Connect, inputs: Sequence[bytes]) -> None:
    """Open all connections first, send on all of them, and close them without reading.

    Every other one is closed by a reset, where the protocol has that.
    """
    with contextlib.ExitStack() as stack:
        open_ones = []
        for number, data in enumerate(inputs):
            with contextlib.suppress(OSError):
                connection = stack.enter_context(connect())
                if number % 2:  # SO_LINGER of 0 s
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, *[0] * 7]))
                connection.setblocking(False)
                open_ones.append((connection, data))
        for connection, data in open_ones:
            with contextlib.suppress(OSError):
                connection.send(data)
