"""A connection as a stream of bytes, plain or with TLS (I/O).

TLS is done over memory (`ssl.MemoryBIO`): asyncio's own may be loaded without OpenSSL.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl

READ_SIZE = 1 << 14
"""Bytes that are read at once."""


class ByteStream(Protocol):
    """Sends and receives bytes."""

    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""

    async def receive(self) -> bytes:
        """Receive some bytes; empty at the end."""


class PlainStream:
    """A connection as it is."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        await asyncio.get_running_loop().sock_sendall(self._connection, data)

    async def receive(self) -> bytes:
        """Receive some bytes; empty at the end."""
        return await asyncio.get_running_loop().sock_recv(self._connection, READ_SIZE)


class TlsStream:
    """A connection with TLS; ``name`` is that of the server, for SNI and for its certificate.

    Raises ssl.SSLError where TLS fails, which is an OSError with a number of its own.
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, name: str) -> None:
        import ssl  # noqa: PLC0415 - 5 MB, only where a URL is https

        self._plain = PlainStream(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._wants_read, self._ended = (
            ssl.SSLWantReadError,
            (ssl.SSLZeroReturnError, ssl.SSLEOFError),
        )

    async def shake_hands(self) -> None:
        """Begin TLS."""
        while True:
            try:
                self._tls.do_handshake()
            except self._wants_read:
                await self._flush()
                await self._fill()
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        self._tls.write(data)  # into memory: it takes all
        await self._flush()

    async def receive(self) -> bytes:
        """Receive some bytes; empty at the end."""
        while True:
            try:
                return self._tls.read(READ_SIZE)
            except self._wants_read:
                await self._flush()
                await self._fill()
            except self._ended:
                return b""

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._plain.send(data)

    async def _fill(self) -> None:
        data = await self._plain.receive()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
