"""The addresses of a check's host: a name is looked up in a thread of its own (I/O).

A name server that fails or hangs takes no address away that was found before, for a bounded time.
"""

from __future__ import annotations

import asyncio
import socket
import time

from anycastd.evidence.checks.asker import UnseenError
from anycastd.system.side_thread import SideThread, ThreadBusyError

LOOK_UP_EVERY = 30.0
"""Seconds after which a name is looked up anew."""
KEEP_FOR = 600.0
"""Seconds for which addresses count that cannot be looked up any more."""
MAX_ADDRESSES = 4
"""Addresses of a name that are tried."""

FoundAddress = tuple[socket.AddressFamily, str]
"""An address with its family."""


class HostAddresses:
    """The addresses of ``host``, an address or a name; ``thread`` looks names up."""

    def __init__(self, host: str, thread: SideThread) -> None:
        self._host = host
        self._thread = thread
        self._found = _parse_address(host)
        self._fixed = bool(self._found)
        self._found_at = 0.0
        self._asked_at: float | None = None
        self._look_up: asyncio.Task[None] | None = None
        self._error = ""

    async def find(self) -> tuple[FoundAddress, ...]:
        """Find the addresses, in the order in which they are to be tried.

        Raises UnseenError where there are none.  Only the first look-up is waited for.
        """
        if self._fixed:
            return self._found
        now = time.monotonic()
        if self._asked_at is None or now - self._asked_at >= LOOK_UP_EVERY or self._error:
            self._begin_look_up(now)
        if self._found and now - self._found_at >= KEEP_FOR:
            self._found = ()
        if not self._found and self._look_up is not None:
            await asyncio.shield(self._look_up)
        if not self._found:
            raise UnseenError(f"{self._host}: {self._error or 'the name is still looked up'}")
        return self._found

    def close(self) -> None:
        """Wait for no look-up any more."""
        if self._look_up is not None:
            self._look_up.cancel()

    def _begin_look_up(self, now: float) -> None:
        if self._look_up is not None and not self._look_up.done():
            return
        self._asked_at = now
        self._look_up = asyncio.ensure_future(self._ask())

    async def _ask(self) -> None:
        try:
            found = await self._thread.call(_look_up, self._host)
        except ThreadBusyError:
            self._error = "the name is still looked up"
        except (OSError, ValueError) as error:
            self._error = f"the name is not known ({_describe(error)})"
        else:
            self._found, self._found_at, self._error = found, time.monotonic(), ""


def _parse_address(host: str) -> tuple[FoundAddress, ...]:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return ((family, host),)
    return ()


def _look_up(host: str) -> tuple[FoundAddress, ...]:
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return tuple(dict.fromkeys((row[0], str(row[4][0])) for row in rows))[:MAX_ADDRESSES]


def _describe(error: Exception) -> str:
    return str(error.strerror or error).lower() if isinstance(error, OSError) else str(error)
