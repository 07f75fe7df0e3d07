"""One look at HAProxy: a new connection, one request, one answer (I/O)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection

from anycastd.evidence.haproxy import query, stats
from anycastd.evidence.haproxy.query import More
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot, Unreadable
from anycastd.evidence.haproxy.stats import MalformedAnswerError, TruncatedAnswerError
from anycastd.system.clock import OwnTime
from anycastd.system.ticker import ticking

MAX_ANSWER = 64 << 20


RETRY_FOR, RETRY_DELAY = 0.03, 0.0005


async def look_once(
    path: str,
    backends: Collection[str],
    frontends: Collection[str],
    clock: OwnTime,
    within: float,
    more: More = query.NOTHING_MORE,
) -> Observation:
    """Take one look of ``within`` seconds at the stats socket ``path``; ticks ``clock`` itself."""
    async with ticking(clock):
        return await Looker(path, backends, frontends, clock, within, more=more).look()


class Looker:
    """Looks at one HAProxy, and remembers what makes the next look cheaper."""

    def __init__(
        self,
        path: str,
        backends: Collection[str],
        frontends: Collection[str],
        clock: OwnTime,
        within: float,
        lives: Callable[[], bool] = lambda: False,
        more: More = query.NOTHING_MORE,
    ) -> None:
        self._lives = lives
        self._more = more
        self.names = frozenset(backends) | frozenset(frontends)
        self._path = path
        self._within = within
        self._clock = clock
        self._wanted = self._backends = frozenset(backends)
        self._frontends = frozenset(frontends)
        self._last: Snapshot | None = None
        self._since: float | None = None
        self._missed = 0

    async def look(self) -> Observation:
        """Look once, in at most ``within`` seconds (twice that where we ourselves stalled)."""
        began, lost, stalled = self._clock.now(), self._clock.lost, False
        while True:
            soon = self._clock.now() - began < RETRY_FOR
            try:
                snapshot = await self._whole(began + self._within)
                if not (snapshot.worker.stopping and soon):
                    self._since, self._missed = None, 0
                    return snapshot
            except (ConnectionRefusedError, FileNotFoundError) as error:
                if not self._lives():
                    return self._gone(error)
                if not soon:
                    return self._unseen(began, "refused, although a worker still runs")
            except (TruncatedAnswerError, ConnectionResetError, BrokenPipeError) as error:
                if not soon:
                    return self._unseen(began, f"closed without an answer ({error})")
            except TimeoutError:
                if stalled or self._clock.lost - lost < self._clock.interval:
                    return self._unseen(began, f"no answer within {self._within:g} s")
                # We were away, and HAProxy perhaps as well: that proves nothing, ask again.
                began, stalled = self._clock.now(), True
            except (OSError, MalformedAnswerError) as error:
                return self._unseen(began, str(error))
            await asyncio.sleep(RETRY_DELAY)

    def _gone(self, error: OSError) -> Gone:
        self._last, self._since, self._missed = None, None, 0
        return Gone(self._clock.now(), f"{self._path}: {error.strerror}")

    def _unseen(self, asked: float, why: str) -> Unreadable:
        self._since = asked if self._since is None else self._since
        self._missed += 1
        return Unreadable(asked, self._since, self._missed, f"{self._path}: {why}")

    async def _whole(self, until: float) -> Snapshot:
        """Ask, and ask for more where the answer shows that it must be asked otherwise."""
        while True:
            asked, last = self._clock.now(), self._last
            request = query.build_request(self._wanted, self._frontends, last, self._more)
            text = await self._answer(request, until)
            self._last = snapshot = stats.parse_answer(
                text, asked, self._wanted, self._frontends, self._more
            )
            more = query.missing_tracked_backends(snapshot) - self._wanted
            if last is not None and not snapshot.worker.is_same_process(last.worker):
                self._wanted = self._backends  # the numbers were another worker's
            elif more:
                self._wanted |= more
            else:
                self.names = self._wanted | self._frontends
                return snapshot
            self._last = None

    async def _answer(self, request: str, until: float) -> str:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            while True:
                try:
                    sock.connect(self._path)
                    break
                except BlockingIOError:  # its queue is full
                    await self._wait(None, until)
            sock.sendall(request.encode())
            parts: list[bytes] = []
            size = 0
            while True:
                try:
                    data = sock.recv(1 << 18)
                except BlockingIOError:
                    await self._wait(sock, until)
                    continue
                if not data:
                    return b"".join(parts).decode(errors="replace")
                parts.append(data)
                size += len(data)
                if size > MAX_ANSWER:
                    raise MalformedAnswerError(f"an answer of more than {MAX_ANSWER >> 20} MiB")

    async def _wait(self, sock: socket.socket | None, until: float) -> None:
        """Wait until readable, or for a tick; TimeoutError when ``until`` has passed.

        What came while we could not run is read before the time is looked at.
        """
        if self._clock.now() >= until:
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
