"""Connect to a TCP port (I/O)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence

from anycastd.evidence.checks.asker import PlainAsker, Seen, UnseenError, judge_error
from anycastd.evidence.checks.host_addresses import FoundAddress, HostAddresses
from anycastd.profile.checks import TcpCheck


class TcpAsker(PlainAsker):
    """Connects to the port; an accepted connection passes, and is closed at once."""

    def __init__(self, name: str, asks: TcpCheck) -> None:
        super().__init__(name)
        self._port = asks.target.port
        self._addresses = HostAddresses(asks.target.host, self.thread)

    async def ask(self, timeout: float, step: int | None) -> Seen:  # noqa: ARG002 - of a load only
        """Connect once."""
        self.waits_for = "the address of the host's name"
        addresses = await self._addresses.find()
        self.waits_for = ""
        found = await connect(addresses, self._port, timeout)
        if isinstance(found, Seen):
            return found
        found.close()
        return Seen(passed=True, detail="connected")

    async def close(self) -> None:
        """End a look-up of the name, and the thread."""
        self._addresses.close()
        await super().close()


async def connect(
    addresses: Sequence[FoundAddress], port: int, timeout: float
) -> socket.socket | Seen:
    """Connect to the first of ``addresses`` that accepts; Seen says why none does.

    Each one has its share of ``timeout`` seconds.  Raises UnseenError where no address could be
    tried.
    """
    failed: Seen | None = None
    unseen = UnseenError("there is no address")
    for family, address in addresses:
        try:
            async with asyncio.timeout(timeout / len(addresses)):
                return await _connect_one(family, address, port)
        except TimeoutError as error:
            if error.errno is None:  # our own limit, and not the kernel's ETIMEDOUT
                failed = failed or Seen(False, f"no answer within {timeout:g} s", answered=False)
                continue
            failed = judge_error(error)
        except OSError as error:
            try:
                failed = judge_error(error)
            except UnseenError as found:
                unseen = found
    if failed is None:
        raise unseen
    return failed


async def _connect_one(family: int, address: str, port: int) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    with contextlib.ExitStack() as opened:
        opened.callback(connection.close)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
        opened.pop_all()
    return connection
