"""Ask one server by two connections (I/O)."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from anycastd.evidence.servers.addresses import Target
from anycastd.evidence.servers.refusals import PROOFS, Answer, Asked, judge_errors
from anycastd.system.clock import OwnTime

GAP = 0.02
"""Seconds between two connections: long enough for a reload to replace a listener."""
CONNECT_TIMEOUT = 4.0
"""Seconds that a connection may take.  The kernel gives a silent neighbor 3 s (arp(7))."""
NO_ANSWER = -1
"""In the place of an errno: there was no answer in time."""
_RESET = struct.pack("ii", 1, 0)


async def ask_server(
    target: Target,
    clock: OwnTime,
    limit: asyncio.Semaphore,
    is_comparable: Callable[[], Awaitable[bool]],
) -> Asked:
    """Connect to a server, and once more if the first connection was refused.

    ``limit`` bounds the connections at the same time.  ``is_comparable`` finds out, between the
    two, whether HAProxy's own connections go the same way; a refusal proves nothing if they do not.
    Never raises for a server, or for what this process lacks.
    """
    began_at = clock.now()
    first = await _connect(target, limit)
    if first not in PROOFS:
        answer, detail = judge_errors(first, first)
        return Asked(target.address, answer, began_at, clock.now(), detail)
    comparable, _ = await asyncio.gather(is_comparable(), asyncio.sleep(GAP))
    second_at = clock.now()
    second = await _connect(target, limit) if comparable else NO_ANSWER
    answer, detail = judge_errors(first, second)
    if answer is Answer.REFUSED:
        detail += f" (asked twice, {1000 * (second_at - began_at):.0f} ms apart)"
    return Asked(target.address, answer, began_at, clock.now(), detail)


async def _connect(target: Target, limit: asyncio.Semaphore) -> int:
    """Connect once; returns 0, or the errno of what happened (NO_ANSWER: nothing did)."""
    async with limit:
        try:
            family = socket.AF_INET6 if target.ipv6 else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.setblocking(False)
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    place = (target.host, target.port)
                    await asyncio.get_running_loop().sock_connect(sock, place)
                if sock.getsockname() == sock.getpeername():
                    return NO_ANSWER  # the kernel connected this socket with itself
                # As HAProxy's own check does: nothing is left behind at either end.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except TimeoutError:  # of the kernel, too: ETIMEDOUT
            return NO_ANSWER
        except OSError as error:
            return error.errno or NO_ANSWER
    return 0
