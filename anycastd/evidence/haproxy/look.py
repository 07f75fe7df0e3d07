"""One look at HAProxy: a new connection, one request, one answer (I/O)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace

from anycastd.evidence.haproxy.query import Query, build_request, missing_tracked_backends
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot, Unreadable
from anycastd.evidence.haproxy.stats import MalformedAnswerError, TruncatedAnswerError, parse_answer
from anycastd.evidence.haproxy.unix_listeners import listens_somewhere
from anycastd.reasons import Reason
from anycastd.system.clock import OwnTime
from anycastd.system.ticker import ticking

MAX_ANSWER = 64 << 20
"""Maximum size of an answer in bytes; 10,000 servers have 3 MB."""
RETRY_FOR, RETRY_DELAY = 0.03, 0.0005
"""Seconds.  A look that ends early because its worker ends is repeated for RETRY_FOR at most.

RETRY_DELAY is the time between two attempts.
"""


async def look_once(path: str, query: Query, clock: OwnTime, timeout: float) -> Observation:
    """Take one look at the stats socket ``path``, as Looker.look does; ticks ``clock``.

    ``timeout`` is in seconds of own time.  Never raises for a HAProxy that is absent or silent.
    """
    async with ticking(clock):
        return await Looker(path, query, clock, timeout).look()


class Looker:
    """Client of one HAProxy's stats socket; it keeps what makes the next look cheaper.

    ``timeout`` is in seconds of own time.  ``worker_lives`` returns whether something else proves
    that a worker runs: a refused connection is not Gone then.  ``proxies`` are those that the
    last look asked for.
    """

    def __init__(
        self,
        path: str,
        query: Query,
        clock: OwnTime,
        timeout: float,
        worker_lives: Callable[[], bool] = lambda: False,
    ) -> None:
        self.proxies = query.proxies
        self._path = path
        self._profile_query = query
        self._query = query  # with the backends whose servers are tracked
        self._clock = clock
        self._timeout = timeout
        self._worker_lives = worker_lives
        self._last: Snapshot | None = None
        self._silent_from: float | None = None
        self._missed = 0
        self._is_gone = False

    async def look(self) -> Observation:
        """Take one look, in at most ``timeout`` seconds (twice that if this process stalled).

        Never raises for a HAProxy that is absent, silent or sends garbage: that is Gone or
        Unreadable.
        """
        began, lost, stalled = self._clock.now(), self._clock.stalled, False
        while True:
            may_retry = self._clock.now() - began < RETRY_FOR
            try:
                snapshot = await self._request_snapshot(began + self._timeout)
                if not (snapshot.worker.stopping and may_retry):
                    self._silent_from, self._missed, self._is_gone = None, 0, False
                    return snapshot
            except (ConnectionRefusedError, FileNotFoundError) as error:
                if (seen := self._on_refused(error, began, may_retry=may_retry)) is not None:
                    return seen
            except (TruncatedAnswerError, ConnectionResetError, BrokenPipeError) as error:
                if not may_retry:
                    return self._unreadable(began, f"closed without an answer ({error})")
            except TimeoutError:
                if stalled or self._clock.stalled - lost < self._clock.interval:
                    return self._unreadable(began, f"no answer within {self._timeout:g} s")
                # This process stalled, and HAProxy perhaps as well: it proves nothing, ask again.
                began, stalled = self._clock.now(), True
            except (OSError, MalformedAnswerError) as error:
                return self._unreadable(began, str(error))
            await asyncio.sleep(RETRY_DELAY)

    def _on_refused(
        self, error: OSError, asked_at: float, *, may_retry: bool
    ) -> Gone | Unreadable | None:
        """Find out whether a worker runs; None: ask again, since a reload may be under way."""
        if self._worker_lives():
            if may_retry:
                return None
        elif not self._still_listens():
            return self._gone(error)
        detail = f"{error.strerror}, although a worker runs"
        return self._unreadable(asked_at, detail, Reason.SOCKET_LOST)

    def _gone(self, error: OSError) -> Gone:
        self._last, self._silent_from, self._missed = None, None, 0
        self._is_gone = True
        return Gone(self._clock.now(), f"{self._path}: {error.strerror}")

    def _still_listens(self) -> bool:
        """Whether a socket that was bound to the path still listens, though not at the path.

        The path may be lost while HAProxy lives.  A worker that dies, or only finishes its
        connections, has closed the socket.
        """
        return not self._is_gone and listens_somewhere(self._path)

    def _unreadable(
        self, asked_at: float, detail: str, reason: Reason = Reason.HAPROXY_SILENT
    ) -> Unreadable:
        self._silent_from = asked_at if self._silent_from is None else self._silent_from
        self._missed += 1
        detail = f"{self._path}: {detail}"
        return Unreadable(asked_at, self._silent_from, self._missed, detail, reason)

    async def _request_snapshot(self, deadline: float) -> Snapshot:
        """Ask, and ask again where the answer shows that more must be asked for."""
        while True:
            asked_at, last = self._clock.now(), self._last
            text = await self._exchange(build_request(self._query, last), deadline)
            self._last = snapshot = parse_answer(text, asked_at, self._query)
            tracked = missing_tracked_backends(snapshot) - self._query.backends
            if last is not None and not snapshot.worker.is_same_process(last.worker):
                self._query = self._profile_query  # the numbers were another worker's
            elif tracked:
                self._query = replace(self._query, backends=self._query.backends | tracked)
            else:
                self.proxies = self._query.proxies
                return snapshot
            self._last = None

    async def _exchange(self, request: str, deadline: float) -> str:
        """Send ``request`` on a new connection and read until HAProxy closes it."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            while True:
                try:
                    sock.connect(self._path)
                    break
                except BlockingIOError:  # its queue is full
                    await self._wait(None, deadline)
            sock.sendall(request.encode())
            parts: list[bytes] = []
            size = 0
            while True:
                try:
                    data = sock.recv(1 << 18)
                except BlockingIOError:
                    await self._wait(sock, deadline)
                    continue
                if not data:
                    return b"".join(parts).decode(errors="replace")
                parts.append(data)
                size += len(data)
                if size > MAX_ANSWER:
                    raise MalformedAnswerError(f"an answer of more than {MAX_ANSWER >> 20} MiB")

    async def _wait(self, sock: socket.socket | None, deadline: float) -> None:
        """Wait until ``sock`` is readable or a tick has passed.

        Raises TimeoutError after ``deadline``.  Callers read first: what came while this process
        stalled counts as in time.
        """
        if self._clock.now() >= deadline:
            raise TimeoutError
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        timer = loop.call_later(self._clock.interval, _finish, done)
        try:
            if sock is not None:
                loop.add_reader(sock, _finish, done)
            await done
        finally:
            timer.cancel()
            if sock is not None:
                loop.remove_reader(sock)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
