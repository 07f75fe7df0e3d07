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

All times are own time (`anycastd.system.clock`), in seconds: somebody must tick the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import replace

from tenacity import AsyncRetrying, retry_if_not_result, wait_exponential, wait_random

from anycastd.evidence.haproxy import events, query
from anycastd.evidence.haproxy.event_stream import NO_RING, EventStream
from anycastd.evidence.haproxy.look import Looker
from anycastd.evidence.haproxy.query import More
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot, Unreadable, Worker
from anycastd.profile.model import Instance
from anycastd.system.clock import OwnTime

"""Bytes of an answer; 10,000 servers have 3 MB."""
"""Bytes of a line of events."""
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
        more: More = query.NOTHING_MORE,
    ) -> None:
        self.instance = instance
        self.polling = "" if instance.ring else NO_RING
        self._clock = clock
        self._emit = emit
        self._interval = interval
        self._poll = min(instance.poll, interval)
        self._looker = Looker(
            instance.socket, backends, frontends, clock, interval, self._lives, more
        )
        self._stream: EventStream | None = None
        self._next: EventStream | None = None
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
                self._next = EventStream(self.instance.socket, ring, self._looker.names, self._wake)

    def _wants(self, seen: Observation) -> bool:
        if self._stream is None or self._stream.over or self._stream.stopping:
            return True
        return self._stream.worker is not None and self._another(seen, self._stream.worker)

    @staticmethod
    def _another(seen: Observation, worker: Worker) -> bool:
        return isinstance(seen, Snapshot) and not seen.worker.is_same_process(worker)

    def _refuse(self, stream: EventStream, ring: str) -> None:
        self._drop()
        self._next = None
        if stream.said:
            self.polling = events.explain_refusal(stream.said, ring)
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
