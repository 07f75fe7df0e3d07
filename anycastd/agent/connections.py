"""Accept connections, serve each in a task of its own, and bound what clients can take.

A client can hold a connection, a descriptor and time.  So the number of connections is bounded, in
all and for each peer.  When a bound is reached, a connection that waits for its client is closed,
the oldest of the peer that has the most, and the new one is served.  Descriptors are a resource of
the whole process: the last ones are never used for clients, since a look at HAProxy needs one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anycastd.system.printable import make_printable

log = logging.getLogger(__name__)

MAX_ACCEPTS = 8
"""Connections that are accepted in one turn of the loop; their requests are read in the next."""
ACCEPT_RETRY_DELAY = 0.5
"""Seconds without accepting after the process or the machine ran out of something."""
GRACE_TIMEOUT = 0.2
"""Seconds at the end in which a client may still send its request."""
PROBLEM_MAX_AGE = 60.0
"""Seconds for which a problem is shown, and after which it is logged once more."""
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept(2) that say that this process or this machine is short of something."""
_RECEIVE_SIZE = 65536


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of one server: connections in all, and for each peer; descriptors that it leaves."""

    connections: int
    per_peer: int
    reserve: int


class Connection:
    """One open connection.  ``peer`` is who is at its other end.

    ``waits_for_client`` tells whether it waits for the client to send or to receive, ``answered``
    whether all was sent.
    """

    def __init__(self, sock: socket.socket, peer: Hashable) -> None:
        self.socket = sock
        self.peer = peer
        self.waits_for_client = True
        self.answered = False

    async def read_until(self, end: bytes, maximum: int) -> bytes:
        """Read up to ``end``, and return all up to there, or all that there was before the end.

        Raises ValueError for more than ``maximum`` bytes, OSError where the connection is broken.
        """
        data = bytearray()
        searched = 0
        while (found := data.find(end, searched)) < 0:
            if len(data) > maximum:
                break
            searched = max(0, len(data) - len(end) + 1)
            piece = await self._receive()
            if not piece:
                return bytes(data)
            data += piece
        if not 0 <= found <= maximum - len(end):
            raise ValueError(f"more than {maximum} bytes")
        return bytes(data[: found + len(end)])

    async def send(self, data: bytes) -> None:
        """Send all of ``data``; raises OSError where the connection is broken."""
        self.waits_for_client = True
        try:
            await asyncio.get_running_loop().sock_sendall(self.socket, data)
        finally:
            self.waits_for_client = False

    async def finish(self) -> None:
        """Tell the client that all was sent, and wait until it closes; raises OSError.

        A close with unread input resets the connection, and the answer is lost with it.
        """
        self.answered = True
        self.socket.shutdown(socket.SHUT_WR)
        while await self._receive():
            pass

    async def _receive(self) -> bytes:
        self.waits_for_client = True
        try:
            return await asyncio.get_running_loop().sock_recv(self.socket, _RECEIVE_SIZE)
        finally:
            self.waits_for_client = False


class Connections:
    """The open connections of one server; ``name`` is its name in messages.

    ``serve`` reads one request from a connection and writes one answer; what it raises ends that
    connection only.  ``identify`` says who is at the other end of an accepted connection, None: it
    is not allowed, and is closed.
    """

    def __init__(
        self,
        name: str,
        serve: Callable[[Connection], Awaitable[None]],
        identify: Callable[[socket.socket], Hashable | None],
        bounds: Bounds,
    ) -> None:
        self._name = name
        self._serve = serve
        self._identify = identify
        self._bounds = bounds
        self._listener: socket.socket | None = None
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._problem, self._seen_at, self._logged_at = "", 0.0, 0.0

    def __len__(self) -> int:
        """Count the open connections."""
        return len(self._open)

    def listen(self, listener: socket.socket) -> None:
        """Accept connections of a listening socket from now on; ``close`` closes it."""
        listener.setblocking(False)
        self._listener = listener
        self._resume()

    def list_problems(self) -> tuple[str, ...]:
        """List what clients lately did not get, for the status: one sentence, or none."""
        fresh = self._problem and time.monotonic() - self._seen_at < PROBLEM_MAX_AGE
        return (self._problem,) if fresh else ()

    def note_failure(self, error: Exception) -> None:
        """Note for the status that a request failed by a bug, and log it once a minute at most."""
        self._note(f"{self._name}: a request failed: {describe_error(error)}")

    async def close(self, timeout: float = 0.0) -> None:
        """Stop listening and close all connections.

        Answers under way have ``timeout`` seconds, requests that have not come ``GRACE_TIMEOUT``.
        """
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
        if self._tasks and timeout:
            await asyncio.wait(self._tasks, timeout=min(timeout, GRACE_TIMEOUT))
            for connection in [each for each in self._open if each.waits_for_client]:
                self._evict(connection)
        if self._tasks and timeout:
            await asyncio.wait(self._tasks, timeout=timeout)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Accept --------------------------------------------------------------------------------------

    def _resume(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(MAX_ACCEPTS):
            if self._listener is None:
                return
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            accepted.setblocking(False)
            try:
                peer = self._identify(accepted)
            except OSError:  # it has gone already
                peer = None
            if peer is None or not self._make_room(accepted, peer):
                accepted.close()
            else:
                self._start(Connection(accepted, peer))

    def _pause(self, error: OSError) -> None:
        """Accept nothing for a moment: an error that stays must not be met in a loop."""
        if error.errno in SHORTAGES:
            for connection in [each for each in self._open if each.waits_for_client]:
                self._evict(connection)
        self._note(f"{self._name}: no connection can be accepted: {error.strerror}")
        if self._listener is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener.fileno())
            loop.call_later(ACCEPT_RETRY_DELAY, self._resume)

    def _make_room(self, accepted: socket.socket, peer: Hashable) -> bool:
        """Make room for a connection by closing another; tell whether there is room."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        # The kernel gives the lowest free number, so all below it are in use.
        if accepted.fileno() >= limit - self._bounds.reserve:
            self._note(
                f"{self._name}: the agent has only {limit} descriptors, so connections are closed "
                "(the last descriptors are kept for HAProxy); set a higher LimitNOFILE="
            )
            if victim := self._find_victim(None):
                self._evict(victim)
            return False
        own = sum(each.peer == peer for each in self._open)
        if own < self._bounds.per_peer and len(self._open) < self._bounds.connections:
            return True
        victim = self._find_victim(peer if own >= self._bounds.per_peer else None)
        self._note(
            f"{self._name}: too many connections, the newest from {make_printable(str(peer), 60)}: "
            "the oldest that wait for their clients are closed"
        )
        if victim is None:
            return False
        self._evict(victim)
        return True

    def _find_victim(self, peer: Hashable | None) -> Connection | None:
        """Find a connection that waits for its client, at the peer with the most connections.

        One that was answered comes first, then the oldest.  ``peer``: only of this peer.
        """
        counts = Counter(each.peer for each in self._open)
        waiting = [
            each for each in self._open if each.waits_for_client and peer in (None, each.peer)
        ]
        return max(waiting, key=lambda each: (counts[each.peer], each.answered), default=None)

    def _evict(self, connection: Connection) -> None:
        self._open.pop(connection).cancel()

    def _note(self, problem: str) -> None:
        """Note a problem for the status, and log it once a minute at most."""
        now = time.monotonic()
        if not self._logged_at or now - self._logged_at >= PROBLEM_MAX_AGE:
            log.warning("%s", problem)
            self._logged_at = now
        self._problem, self._seen_at = problem, now

    # Serve ---------------------------------------------------------------------------------------

    def _start(self, connection: Connection) -> None:
        task = asyncio.create_task(self._serve_and_close(connection))
        self._open[connection] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Also where the task was cancelled before its first step.
        task.add_done_callback(lambda _: self._close(connection))

    def _close(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        connection.socket.close()

    async def _serve_and_close(self, connection: Connection) -> None:
        try:
            with contextlib.suppress(OSError, TimeoutError, EOFError):  # the client's doing
                await self._serve(connection)
        except Exception as error:  # noqa: BLE001 - one request must not end anything else
            self.note_failure(error)
        finally:
            self._close(connection)


def describe_error(error: BaseException) -> str:
    """Describe an exception that is a bug in one line: its type, its text and where it arose."""
    where: Any = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = ""
    if where is not None:
        place = f" ({Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno})"
    return make_printable(f"{type(error).__name__}: {error}", 200) + place
