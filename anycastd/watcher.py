"""HAProxy's stats socket -> observations.

Two kinds of connection, two duties.  A *look* is a new connection with one request and one answer,
stamped when it was asked: it alone proves.  The *event stream* is held open and only wakes: it says
when to look.  A new connection reaches the worker that serves now; a held one stays with the worker
that took it through a reload, and keeps that worker alive.

    what happens                            what it means
    a whole answer                          Snapshot
    refused, or no such file                Gone, unless a stream proves that a worker lives
    closed before the answer was whole      ask anew at once (a dying HAProxy still accepts for a
                                            moment), and when that goes on: Unreadable
    no answer in time, permission, garbage  Unreadable: cannot see, which is nobody's death
    the stream ends                         look at once (`stats timeout` ends idle streams, too)
    `Proxy ... stopped`, `Stopping: 1`,     open a stream to the new worker, then let the old
    another worker than the stream's        worker go

All times are own time (`anycastd.clock`), in seconds: somebody must tick the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Collection
from dataclasses import replace

from tenacity import AsyncRetrying, retry_if_not_result, wait_exponential, wait_random

from anycastd import stats
from anycastd.clock import OwnTime
from anycastd.haproxy import Gone, More, Observation, Snapshot, Unreadable, Usable, Worker
from anycastd.profile import Instance
from anycastd.stats import Event, GarbageError, TruncatedError

LARGEST = 64 << 20
"""Bytes of an answer; 10,000 servers have 3 MB."""
LONGEST = 1 << 16
"""Bytes of a line of events."""
AGAIN_FOR, AGAIN_AFTER = 0.03, 0.0005
"""For how long a look that a dying or stopping worker spoilt is taken anew, and how soon."""
COSTLY, PAUSE = 0.005, 0.05
"""A look that takes longer than the first is not repeated before HAProxy has had as long to itself,
the second at most: the thread that answers serves nobody meanwhile."""
RETRY_FROM, RETRY_TO = 0.02, 0.5
"""Between looks while there is no proof: doubling from the first to the second."""
STREAM_AFTER = 0.1
"""Between two streams; one that ends again and again is no reason to spin."""
STREAM_WITHIN = 0.5
"""How long an old worker is kept for a new one whose stream does not stand."""
STREAM_REFUSED = 10.0
"""Until a stream that HAProxy refused is asked for again; a new worker is asked at once."""

NO_RING = f"the profile gives it no `ring`: write `ring: anycastd`, and {stats.ring('anycastd')}"


async def look(
    path: str,
    backends: Collection[str],
    frontends: Collection[str],
    clock: OwnTime,
    within: float,
    more: More = stats.NOTHING_MORE,
) -> Observation:
    """Take one look of ``within`` seconds at the stats socket ``path``; ticks ``clock`` itself."""
    ticking = asyncio.create_task(_tick(clock))
    try:
        return await _Looker(path, backends, frontends, clock, within, more=more).look()
    finally:
        ticking.cancel()


async def deaf(instance: Instance, within: float) -> str:
    """Say why a HAProxy that runs has to be polled; empty where its events come.

    Where nothing is refused this takes all of ``within`` seconds.
    """
    if instance.ring is None:
        return NO_RING
    wake = asyncio.Event()
    with (
        contextlib.suppress(OSError),
        contextlib.closing(_Stream(instance.socket, instance.ring, (), wake)) as stream,
    ):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not stream.over:
                    await wake.wait()
                    wake.clear()
        return stats.no_stream(stream.said, instance.ring) if stream.over else ""
    return ""


async def _tick(clock: OwnTime) -> None:
    while True:
        await asyncio.sleep(clock.interval)
        clock.tick()


class Watcher:
    """A source: emits one observation per look at one HAProxy, for as long as ``run()`` runs.

    ``interval`` is the longest time between two looks.  ``emit`` is called in the loop, with
    Gone, Unreadable or Snapshot, and must not block.  ``polling`` says why HAProxy is asked again
    and again instead of being heard; it is empty while events come.
    """

    def __init__(
        self,
        instance: Instance,
        backends: Collection[str],
        frontends: Collection[str],
        *,
        clock: OwnTime,
        emit: Callable[[Observation], None],
        interval: float,
        more: More = stats.NOTHING_MORE,
    ) -> None:
        self.instance = instance
        self.polling = "" if instance.ring else NO_RING
        self._clock = clock
        self._emit = emit
        self._interval = interval
        self._poll = min(instance.poll, interval)
        self._looker = _Looker(
            instance.socket, backends, frontends, clock, interval, self._lives, more
        )
        self._stream: _Stream | None = None
        self._next: _Stream | None = None
        self._stream_at = 0.0
        self._refused_by: Worker | None = None
        self._looked = self._took = 0.0
        self._wake = asyncio.Event()

    @property
    def events(self) -> bool:
        """Whether HAProxy's events wake us."""
        return self._stream is not None and not self._stream.over

    async def run(self) -> None:
        """Watch for ever; HAProxy's absence is an observation, not an error."""
        # Around connecting and the first proof only: each loss of HAProxy begins at once again.
        prove = AsyncRetrying(
            retry=retry_if_not_result(lambda seen: isinstance(seen, Snapshot)),
            # 2.0, not 2: after days of absence a power of 2 would be a number of many pages.
            wait=wait_exponential(RETRY_FROM, max=min(RETRY_TO, self._interval), exp_base=2.0)
            + wait_random(0, RETRY_FROM),
        )
        while True:
            await self._hold(await prove(self._look))

    async def _hold(self, seen: Observation) -> None:
        """Look whenever there is reason to, from a first proof until HAProxy is gone."""
        try:
            while not isinstance(seen, Gone):
                self._mind_stream(seen)
                await self._rest(seen)
                seen = await self._look()
        finally:
            for stream in (self._stream, self._next):
                if stream is not None:
                    stream.close()
            self._stream = self._next = None

    async def _look(self) -> Observation:
        self._wake.clear()  # an event from now on asks for another look
        asked = self._clock.now()
        seen = await self._looker.look()
        self._looked = self._clock.now()
        self._took = self._looked - asked
        if isinstance(seen, Snapshot):
            seen = replace(seen, polling=self.polling)
        self._emit(seen)
        return seen

    async def _rest(self, seen: Observation) -> None:
        """Wait for an event, or until the next look is due."""
        period = self._interval
        if not self.events or isinstance(seen, Unreadable) or _unproved(seen):
            period = min(period, max(self._poll, 10 * self._took))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, period - self._took)):
                await self._wake.wait()
                # Events in a row are looked at together where a look costs much; the first of them
                # does not wait for that, nor does the end of the stream.
                if self._took > COSTLY and self._lives():
                    ready = self._looked + min(self._took, PAUSE)
                    await asyncio.sleep(max(0.0, ready - self._clock.now()))

    def _lives(self) -> bool:
        """Whether a stream proves that a worker lives and means to stay."""
        return self._stream is not None and not (self._stream.over or self._stream.stopping)

    def _mind_stream(self, seen: Observation) -> None:
        """Keep one stream, to the worker that serves; the new one is open before the old goes."""
        ring = self.instance.ring
        if ring is None:
            return
        if self._next is not None and self._next.over:
            self._refuse(self._next, ring)
        elif self._next is not None and self._next.worker is not None:
            self._drop()
            self._stream, self._next, self.polling = self._next, None, ""
        now = self._clock.now()
        if self._next is not None and now >= self._stream_at - STREAM_AFTER + STREAM_WITHIN:
            self._drop()
        if self._refused_by is not None and self._another(seen, self._refused_by):
            self._stream_at, self._refused_by = now, None
        if self._next is None and self._wants(seen) and now >= self._stream_at:
            self._stream_at = now + STREAM_AFTER
            # Where nobody listens, the look that follows says what that means.
            with contextlib.suppress(OSError):
                self._next = _Stream(self.instance.socket, ring, self._looker.names, self._wake)

    def _wants(self, seen: Observation) -> bool:
        if self._stream is None or self._stream.over or self._stream.stopping:
            return True
        return self._stream.worker is not None and self._another(seen, self._stream.worker)

    @staticmethod
    def _another(seen: Observation, worker: Worker) -> bool:
        return isinstance(seen, Snapshot) and not seen.worker.same(worker)

    def _refuse(self, stream: _Stream, ring: str) -> None:
        self._drop()
        self._next = None
        if stream.said:
            self.polling = stats.no_stream(stream.said, ring)
            self._refused_by = stream.worker
            self._stream_at = self._clock.now() + STREAM_REFUSED

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _unproved(seen: Observation) -> bool:
    """Whether a server's first check is still to come: no event may tell of its result."""
    return isinstance(seen, Snapshot) and any(
        server.checked and server.usable is Usable.UNPROVED
        for backend in seen.backends.values()
        for server in backend.servers
    )


class _Looker:
    """Looks at one HAProxy, and remembers what makes the next look cheaper."""

    def __init__(
        self,
        path: str,
        backends: Collection[str],
        frontends: Collection[str],
        clock: OwnTime,
        within: float,
        lives: Callable[[], bool] = lambda: False,
        more: More = stats.NOTHING_MORE,
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
            soon = self._clock.now() - began < AGAIN_FOR
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
            except (TruncatedError, ConnectionResetError, BrokenPipeError) as error:
                if not soon:
                    return self._unseen(began, f"closed without an answer ({error})")
            except TimeoutError:
                if stalled or self._clock.lost - lost < self._clock.interval:
                    return self._unseen(began, f"no answer within {self._within:g} s")
                # We were away, and HAProxy perhaps as well: that proves nothing, ask again.
                began, stalled = self._clock.now(), True
            except (OSError, GarbageError) as error:
                return self._unseen(began, str(error))
            await asyncio.sleep(AGAIN_AFTER)

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
            request = stats.question(self._wanted, self._frontends, last, self._more)
            text = await self._answer(request, until)
            self._last = snapshot = stats.parse(
                text, asked, self._wanted, self._frontends, self._more
            )
            more = stats.untold(snapshot) - self._wanted
            if last is not None and not snapshot.worker.same(last.worker):
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
                if size > LARGEST:
                    raise GarbageError(f"an answer of more than {LARGEST >> 20} MiB")

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


class _Stream:
    """A worker's event stream: sets ``wake`` when it begins, ends, or has news of ``names``.

    ``worker`` is None until the stream stands.  ``stopping`` is whether its worker said that it
    leaves, ``said`` what HAProxy answered in the place of events.  Raises OSError when there is
    nobody to connect to.
    """

    def __init__(self, path: str, ring: str, names: Collection[str], wake: asyncio.Event) -> None:
        self.worker: Worker | None = None
        self.stopping = self.over = False
        self.said = ""
        self._names = names
        self._wake = wake
        self._text = ""
        self._sock = socket.socket(socket.AF_UNIX)
        try:
            self._sock.setblocking(False)
            self._sock.connect(path)
            self._sock.sendall(stats.stream(ring).encode())
        except OSError:
            self._sock.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._read)

    def close(self) -> None:
        """Let the worker go."""
        if not self.over:
            self.over = True
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _read(self) -> None:
        try:
            data = self._sock.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._text += data.decode(errors="replace")
        try:
            self._take()
        except GarbageError:
            self.said = self._text
            data = b""
        if not data:
            self.close()
            self._wake.set()

    def _take(self) -> None:
        if self.worker is None:
            found = stats.attached(self._text)
            if found is None:
                return
            self.worker, self._text = found
            self._wake.set()
        *lines, rest = self._text.split("\n")
        self._text = rest[-LONGEST:]
        for line in lines:
            event, proxy = stats.concerns(line)
            if event is Event.STOPPING:
                self.stopping = True
                self._wake.set()
            elif event is Event.LOOK and proxy in self._names:
                self._wake.set()
            elif event is Event.NOTHING and line:
                self.said = line
