"""HAProxy's stats socket -> observations.

There are two kinds of connection.  A *look* is a new connection with one request and one answer,
stamped when it was asked.  Only looks prove anything.  The *event stream* stays open and only says
when to look.  A new connection reaches the worker that serves now.  An open one stays with the
worker that accepted it, through a reload, and keeps that worker alive.

    what happens                            what it means
    a whole answer                          Snapshot
    refused, or no such file                Gone, unless a stream proves that a worker lives
    closed before the answer was whole      ask again at once (a dying HAProxy still accepts for a
                                            moment); if that goes on: Unreadable
    no answer in time, permission, garbage  Unreadable: HAProxy may still serve
    the stream ends                         look at once (`stats timeout` ends idle streams, too)
    `Proxy ... stopped`, `Stopping: 1`,     open a stream to the new worker, then close the old
    another worker than the stream's        one

All times are own time (`anycastd.system.clock`), in seconds.  The caller ticks the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

from tenacity import AsyncRetrying, retry_if_not_result, wait_exponential, wait_random

from anycastd.evidence.haproxy import events
from anycastd.evidence.haproxy.event_stream import NO_RING, EventStream
from anycastd.evidence.haproxy.look import Looker
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot, Unreadable, Worker
from anycastd.profile.model import Instance
from anycastd.system.clock import OwnTime

COSTLY_LOOK, MAX_PAUSE = 0.005, 0.05
"""Seconds.  A look that takes longer than COSTLY_LOOK is followed by a pause of the same length.

The pause is MAX_PAUSE at most.  The thread of HAProxy that answers serves no traffic meanwhile.
"""
MIN_RETRY_DELAY, MAX_RETRY_DELAY = 0.02, 0.5
"""Seconds between two looks while there is no Snapshot: doubling from the first to the second."""
STREAM_RETRY_DELAY = 0.1
"""Seconds between the starts of two streams, so that streams that end at once cost little."""
STREAM_TIMEOUT = 0.5
"""Seconds for which a new stream may take to come up; then it and the old one are given up."""
SLOW_STREAM_RETRY_DELAY = 1.0
"""Seconds until a stream is asked for again, after one that did not come up in time."""
REFUSED_RETRY_DELAY = 10.0
"""Seconds until a stream that HAProxy refused is asked for again; a new worker is asked at once."""


class Watcher:
    """Source of observations: emits one for each look at one HAProxy while ``run()`` runs.

    ``interval`` (seconds of own time) is the longest time between two looks.  ``emit`` is called in
    the event loop, with Gone, Unreadable or Snapshot, and must not block.  ``polling`` says why
    HAProxy is polled; it is empty while its events arrive.
    """

    def __init__(
        self,
        instance: Instance,
        query: Query,
        *,
        clock: OwnTime,
        emit: Callable[[Observation], None],
        interval: float,
    ) -> None:
        self.instance = instance
        self.polling = "" if instance.ring else NO_RING
        self._clock = clock
        self._emit = emit
        self._interval = interval
        self._poll_interval = min(instance.poll, interval)
        self._looker = Looker(instance.socket, query, clock, interval, self._stream_proves_worker)
        self._stream: EventStream | None = None
        self._new_stream: EventStream | None = None
        self._next_stream_at = 0.0
        self._refused_by: Worker | None = None
        self._look_ended_at = self._look_time = 0.0
        self._wake = asyncio.Event()

    @property
    def event_driven(self) -> bool:
        """Return whether HAProxy's events arrive, so that it need not be polled."""
        return self._stream is not None and not self._stream.ended

    async def run(self) -> None:
        """Watch until cancelled; an absent HAProxy is an observation, not an error."""
        # Around connecting and the first proof only: after each loss the delay begins anew.
        prove = AsyncRetrying(
            retry=retry_if_not_result(lambda seen: isinstance(seen, Snapshot)),
            # 2.0, not 2: after days an integer power of 2 would have thousands of digits.
            wait=wait_exponential(
                MIN_RETRY_DELAY, max=min(MAX_RETRY_DELAY, self._interval), exp_base=2.0
            )
            + wait_random(0, MIN_RETRY_DELAY),
        )
        while True:
            await self._watch_until_gone(await prove(self._take_look))

    async def _watch_until_gone(self, seen: Observation) -> None:
        """Look whenever there is reason to, from the first Snapshot until HAProxy is gone."""
        try:
            while not isinstance(seen, Gone):
                self._maintain_stream(seen)
                await self._wait_for_reason(seen)
                seen = await self._take_look()
        finally:
            for stream in (self._stream, self._new_stream):
                if stream is not None:
                    stream.close()
            self._stream = self._new_stream = None

    async def _take_look(self) -> Observation:
        self._wake.clear()  # an event from now on asks for another look
        began_at = self._clock.now()
        seen = await self._looker.look()
        self._look_ended_at = self._clock.now()
        self._look_time = self._look_ended_at - began_at
        if isinstance(seen, Snapshot):
            seen = replace(seen, polling=self.polling)
        self._emit(seen)
        return seen

    async def _wait_for_reason(self, seen: Observation) -> None:
        """Wait for an event, or until the next look is due."""
        period = self._interval
        if not self.event_driven or isinstance(seen, Unreadable) or _awaits_first_check(seen):
            period = min(period, max(self._poll_interval, 10 * self._look_time))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, period - self._look_time)):
                await self._wake.wait()
                # Where a look is costly, one look answers several events in a row.  The first of
                # them does not wait for that, nor does the end of the stream.
                if self._look_time > COSTLY_LOOK and self._stream_proves_worker():
                    ready_at = self._look_ended_at + min(self._look_time, MAX_PAUSE)
                    await asyncio.sleep(max(0.0, ready_at - self._clock.now()))

    def _stream_proves_worker(self) -> bool:
        """Whether an open stream proves that a worker runs and is not stopping."""
        return self._stream is not None and not (self._stream.ended or self._stream.stopping)

    def _maintain_stream(self, seen: Observation) -> None:
        """Keep one stream to the worker that serves; open the new one before closing the old."""
        ring = self.instance.ring
        if ring is None:
            return
        if self._new_stream is not None and self._new_stream.ended:
            self._on_refused(self._new_stream, ring)
        elif self._new_stream is not None and self._new_stream.worker is not None:
            self._close_stream()
            self._stream, self._new_stream, self.polling = self._new_stream, None, ""
        now = self._clock.now()
        if (
            self._new_stream is not None
            and now >= self._next_stream_at - STREAM_RETRY_DELAY + STREAM_TIMEOUT
        ):
            self._close_stream()  # so that a worker that stops can end
            self._new_stream.close()
            self._new_stream, self._next_stream_at = None, now + SLOW_STREAM_RETRY_DELAY
        if self._refused_by is not None and self._is_another_worker(seen, self._refused_by):
            self._next_stream_at, self._refused_by = now, None
        if self._new_stream is None and self._needs_stream(seen) and now >= self._next_stream_at:
            self._next_stream_at = now + STREAM_RETRY_DELAY
            # If nothing listens, the next look finds out what that means.
            with contextlib.suppress(OSError):
                self._new_stream = EventStream(
                    self.instance.socket, ring, self._looker.proxies, self._wake
                )

    def _needs_stream(self, seen: Observation) -> bool:
        if self._stream is None or self._stream.ended or self._stream.stopping:
            return True
        return self._stream.worker is not None and self._is_another_worker(
            seen, self._stream.worker
        )

    @staticmethod
    def _is_another_worker(seen: Observation, worker: Worker) -> bool:
        return isinstance(seen, Snapshot) and not seen.worker.is_same_process(worker)

    def _on_refused(self, stream: EventStream, ring: str) -> None:
        self._close_stream()
        self._new_stream = None
        if stream.refusal:
            self.polling = events.explain_refusal(stream.refusal, ring)
            self._refused_by = stream.worker
            self._next_stream_at = self._clock.now() + REFUSED_RETRY_DELAY

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _awaits_first_check(seen: Observation) -> bool:
    """Whether a server's first check has not ended: its result may come without an event."""
    return isinstance(seen, Snapshot) and any(
        server.checked and server.usable is Usable.UNPROVED
        for backend in seen.backends.values()
        for server in backend.servers
    )
