"""Serve the control socket: one request per connection, answered in JSON.

A request is one line, for example ``{"v": 1, "ask": "status"}``.  Arguments of a command are an
object under ``with``.  The answer is one line.  The mode of the socket and of its directory decides
who may connect, ``peer_access`` who may change something.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import select
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from anycastd.agent.connections import Bounds, Connection, Connections, describe_error
from anycastd.agent.control_client import CHANGES, VERSION, ControlError
from anycastd.agent.deadline import is_late
from anycastd.agent.json_cache import encode_json
from anycastd.agent.peer_access import AccessPolicy, PeerUser, read_peer_user

log = logging.getLogger(__name__)

BOUNDS = Bounds(connections=64, per_peer=32, reserve=32)
"""Simultaneous connections, in all and of each user."""
BACKLOG = 128
"""Connections that wait to be accepted; the kernel makes the next one wait."""
MAX_REQUEST = 65536
"""Bytes of a request at most."""
REQUEST_TIMEOUT = 5.0
"""Seconds that a client has to send its request, and again to read its answer."""
CLOSE_TIMEOUT = 1.0
"""Seconds that answers under way have when the agent ends."""
CONNECT_TIMEOUT = 1.0
"""Seconds to connect to another agent's socket, to find out whether that agent runs."""

Arguments = Mapping[str, Any]
"""What a request has under ``with``; ``by`` is who asks, as ``AccessPolicy.name_user`` says it."""
Answer = dict[str, Any]
"""The JSON object that is sent back."""
Handler = Callable[[Arguments], Awaitable[Answer | bytes]]
"""A function that computes the answer to one kind of request; bytes are a line of JSON already."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "service": (str, type(None)),
    "reason": (str, type(None)),
    "by": (str, type(None)),
    "for": (int, float, type(None)),
    "force": (bool,),
    "stopping": (bool,),
    "max_size": (int, type(None)),
    "since": (int, float, type(None)),
    "after": (int, type(None)),
    "limit": (int, type(None)),
    "until": (int, float, type(None)),
}
"""Types of the arguments that handlers know; they ignore all others."""


class ControlServer:
    """A server that answers requests on the Unix socket ``path``.

    ``handlers`` maps the name of a request to the function that computes its answer.  A handler may
    take its time; it goes on when the client disconnects.  ``access`` says who may do what.
    ``inherited`` is the descriptor that ``duplicate_socket`` gave to the previous agent in this
    process (None: there was none).
    """

    def __init__(
        self,
        path: str,
        handlers: Mapping[str, Handler],
        access: AccessPolicy,
        inherited: int | None = None,
    ) -> None:
        self.path = path
        self._handlers = handlers
        self._access = access
        self._inherited = inherited
        self._listener: socket.socket | None = None
        self._connections = Connections("control socket", self._serve, _read_uid, BOUNDS)

    async def listen(self) -> None:
        """Listen on the socket; who connects waits for ``start``.

        Raises ControlError where another agent listens there, or the socket cannot be made; OSError
        where the inherited descriptor is no socket.
        """
        if self._inherited is None:
            self._listener = self._listen()
        else:
            # Clients that connected during the reload wait in its queue.
            self._listener = socket.socket(fileno=self._inherited)

    async def start(self) -> None:
        """Answer from now on; listen first, with the same errors, where nobody did."""
        if self._listener is None:
            await self.listen()
        if self._listener is not None:
            self._connections.listen(self._listener)

    def list_problems(self) -> tuple[str, ...]:
        """List the problems, for the status: one sentence each."""
        return (*self._access.list_problems(), *self._connections.list_problems())

    def duplicate_socket(self) -> int | None:
        """Duplicate the listening socket for a successor in this process.

        Returns the descriptor, which stays open over an exec; None where the server does not
        listen.  Raises OSError where the process has too many descriptors.
        """
        if self._listener is None:
            return None
        descriptor = os.dup(self._listener.fileno())
        os.set_inheritable(descriptor, True)
        return descriptor

    async def stop(self, *, leave_socket: bool = False) -> None:
        """Stop listening, and close all connections after ``CLOSE_TIMEOUT`` seconds or soon after.

        The socket file is removed, unless ``leave_socket``: a successor uses it.
        """
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        await self._connections.close(CLOSE_TIMEOUT)
        listener.close()  # also where nothing was answered yet
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
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise ControlError(f"{self.path}: cannot listen there: {error.strerror}") from None
        return listener

    async def _serve(self, connection: Connection) -> None:
        user = read_peer_user(connection.socket)
        async with asyncio.timeout(REQUEST_TIMEOUT):
            try:
                line = await connection.read_until(b"\n", MAX_REQUEST)
            except ValueError:
                line = b""
        answer = await self._answer(line, user, lambda: _has_left(connection.socket))
        async with asyncio.timeout(REQUEST_TIMEOUT):
            # No copy of what other connections send, too: it may have megabytes.
            line = answer if isinstance(answer, bytes) else encode_json(answer) + b"\n"
            await connection.send(line)

    async def _answer(
        self, line: bytes, user: PeerUser, has_left: Callable[[], bool] = bool
    ) -> Answer | bytes:
        try:
            request = json.loads(line)
            name = request["ask"]
            arguments = request.get("with", {})
            if request["v"] != VERSION:
                return _error("this agent does not know the version of this request")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return _error('ask one line like {"v": 1, "ask": "status"}')
        handler = self._handlers.get(name) if isinstance(name, str) else None
        if handler is None:
            names = ", ".join(sorted(self._handlers))
            shown = repr(name[:40]) if isinstance(name, str) else "that is no text"
            return _error(f"unknown question {shown}; there are: {names}")
        fault = _find_fault(arguments)
        denied = not fault and name in CHANGES and not self._access.may_change(user)
        if fault or denied:
            reason = fault or self._access.explain_refusal()
            return _error(f"{name}: {reason}") | ({"denied": True} if denied else {})
        if name in CHANGES:
            claimed = arguments.get("by") or ""
            arguments = {**arguments, "by": await self._access.name_user(user, claimed)}
            if is_late(arguments) or has_left():
                log.warning(
                    "a request of %s is dropped: %s came after its client had given up",
                    arguments["by"],
                    name,
                )
                return _error(f"{name}: the request came too late; nothing has changed")
        return await _handle(name, handler, arguments)


async def _handle(name: str, handler: Handler, arguments: Arguments) -> Answer | bytes:
    """Compute the answer to the request ``name``; a bug is an answer, too."""
    try:
        return await handler(arguments)
    except Exception as error:  # noqa: BLE001 - a bug in one answer must not end the agent
        # One line: a client could repeat it as often as it likes.
        log.error(  # noqa: TRY400
            "a bug in the answer to %s: %s", name, describe_error(error)
        )
        return _error(f"{name} failed in the agent ({type(error).__name__}): see its log")


def _find_fault(arguments: object) -> str:
    """Say what is wrong with the arguments of a request; empty: nothing."""
    if not isinstance(arguments, dict):
        return "the arguments under `with` must be an object"
    wrong = [key for key, types in _TYPES.items() if not isinstance(arguments.get(key), types)]
    wrong = [key for key in wrong if key in arguments]
    return f"the argument {wrong[0]} has the wrong type" if wrong else ""


def _error(text: str) -> Answer:
    return {"v": VERSION, "error": text}


def _has_left(client: socket.socket) -> bool:
    """Tell whether the client has closed its connection; an end of its input is no close."""
    poll = select.poll()
    poll.register(client, 0)  # POLLHUP is told in any case: poll(2)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def _read_uid(connection: socket.socket) -> str:
    return f"uid {read_peer_user(connection).uid}"


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
