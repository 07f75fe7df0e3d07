"""Serve the control socket: one request per connection, answered in JSON.

A request is one line, for example ``{"v": 1, "ask": "status"}``.  Arguments of a command are an
object under ``with``.  The answer is one line.  The mode of the socket and of its directory decides
who may connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from anycastd.agent.connections import Connections
from anycastd.agent.control_client import VERSION, ControlError

MAX_CONNECTIONS = 64
"""Simultaneous connections; one more is closed at once."""
REQUEST_TIMEOUT = 5.0
"""Seconds that a client has to send its request, and again to read its answer."""
CLOSE_TIMEOUT = 1.0
"""Seconds that answers under way have when the agent ends."""
CONNECT_TIMEOUT = 1.0
"""Seconds to connect to another agent's socket, to find out whether that agent runs."""

Arguments = Mapping[str, Any]
"""What a request has under ``with``."""
Answer = dict[str, Any]
"""The JSON object that is sent back."""
Handler = Callable[[Arguments], Awaitable[Answer]]
"""A function that computes the answer to one kind of request."""


class ControlServer:
    """A server that answers requests on the Unix socket ``path``.

    ``handlers`` maps the name of a request to the function that computes its answer.  A handler may
    take its time; it goes on when the client disconnects.  ``inherited`` is the descriptor that
    ``duplicate_socket`` gave to the previous agent in this process (None: there was none).
    """

    def __init__(
        self, path: str, handlers: Mapping[str, Handler], inherited: int | None = None
    ) -> None:
        self.path = path
        self._handlers = handlers
        self._inherited = inherited
        self._server: asyncio.Server | None = None
        self._connections = Connections(self._serve, MAX_CONNECTIONS)

    async def start(self) -> None:
        """Listen on the socket, and answer from now on.

        Raises ControlError where another agent listens there, or the socket cannot be made; OSError
        where the inherited descriptor is no socket.
        """
        if self._inherited is None:
            listener = self._listen()
        else:
            # Clients that connected during the reload wait in its queue.
            listener = socket.socket(fileno=self._inherited)
        # Not start_unix_server: from Python 3.13 on, it would remove the successor's socket file.
        self._server = await asyncio.start_server(self._connections.accept, sock=listener)

    def duplicate_socket(self) -> int | None:
        """Duplicate the listening socket for a successor in this process.

        Returns the descriptor, which stays open over an exec; None where the server does not
        listen.  Raises OSError where the process has too many descriptors.
        """
        if self._server is None or not self._server.sockets:
            return None
        descriptor = os.dup(self._server.sockets[0].fileno())
        os.set_inheritable(descriptor, True)
        return descriptor

    async def stop(self, *, leave_socket: bool = False) -> None:
        """Stop listening, and close all connections after ``CLOSE_TIMEOUT`` seconds at most.

        The socket file is removed, unless ``leave_socket``: a successor uses it.
        """
        if self._server is None:
            return
        # A server that is closed between a connection's arrival and its first turn leaks it.
        for listener in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        self._server.close()
        await self._connections.close(CLOSE_TIMEOUT)
        if not leave_socket:
            with contextlib.suppress(OSError):
                Path(self.path).unlink()

    def _listen(self) -> socket.socket:
        if _is_listening(self.path):
            raise ControlError(
                f"{self.path}: another agent answers there; stop it, or give this one its own "
                "--directory"
            )
        listener = socket.socket(socket.AF_UNIX)
        try:
            with contextlib.suppress(FileNotFoundError):
                Path(self.path).unlink()
            listener.bind(self.path)
            Path(self.path).chmod(0o660)
        except OSError as error:
            listener.close()
            raise ControlError(f"{self.path}: cannot listen there: {error.strerror}") from None
        return listener

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(REQUEST_TIMEOUT):
            line = await reader.readline()
        answer = await self._answer(line)
        async with asyncio.timeout(REQUEST_TIMEOUT):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()

    async def _answer(self, line: bytes) -> Answer:
        try:
            request = json.loads(line)
            name = request["ask"]
            arguments = request.get("with", {})
            if request["v"] != VERSION:
                return _error(f"version {request['v']!r} is not spoken here")
        except (ValueError, KeyError, TypeError, AttributeError):
            return _error('ask one line like {"v": 1, "ask": "status"}')
        handler = self._handlers.get(name) if isinstance(name, str) else None
        if handler is None:
            names = ", ".join(sorted(self._handlers))
            return _error(f"unknown question {name!r}; there are: {names}")
        if not isinstance(arguments, dict):
            return _error(f"{name}: the arguments under `with` must be an object")
        return await handler(arguments)


def _error(text: str) -> Answer:
    return {"v": VERSION, "error": text}


def _is_listening(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(CONNECT_TIMEOUT)
            connection.connect(path)
            return True
    except TimeoutError:
        return True  # it listens but does not accept: a stopped agent
    except OSError:
        return False
