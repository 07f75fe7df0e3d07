"""HAProxy's stats socket -> observations.

There are two kinds of connection.  A *look* is a new connection with one request and one answer,
stamped when it was asked.  Only looks prove anything.  The *event stream* stays open and only says
when to look.  A new connection reaches the worker that serves now.  An open one stays with the
worker that accepted it, through a reload, and keeps that worker alive.

    what happens                            what it means
    a whole answer                          Snapshot
    refused, or no such file                Gone, unless a stream proves that a worker lives, or
                                            the kernel lists the socket as one that listens
    closed before the answer was whole      ask again at once (a dying HAProxy still accepts for a
                                            moment); if that goes on: Unreadable
    no answer in time, permission, garbage  Unreadable: HAProxy may still serve
    the same, but the stream has new lines  Unreadable, with when the worker was last heard
    a change that no event announced        poll, and name the proxy
    the stream ends                         look at once (`stats timeout` ends idle streams, too)
    `Proxy ... stopped`, `Stopping: 1`,     open a stream to the new worker, then close the old
    another worker than the stream's        one

All times are own time (`anycastd.system.clock`), in seconds.  The caller ticks the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from tenacity import AsyncRetrying, retry_if_not_result, wait_exponential, wait_random

from anycastd.evidence.haproxy import events
from anycastd.evidence.haproxy.brief_look import QUIET, WHOLE_EVERY, WHOLE_EVERY_POLLED
from anycastd.evidence.haproxy.event_stream import NO_RING, EventStream, describe_pauses
from anycastd.evidence.haproxy.look import Looker
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.servers import count_doubtful_as_unproved
from anycastd.evidence.haproxy.snapshot import (
    Backend,
    Gone,
    Observation,
    Snapshot,
    Unreadable,
    Worker,
)
from anycastd.evidence.haproxy.unannounced import UnannouncedChanges
from anycastd.profile.model import Instance
from anycastd.reasons import Reason
from anycastd.system.clock import OwnTime
from anycastd.system.counters import LookCounters
from anycastd.system.printable import make_printable

COSTLY_LOOK, MAX_PAUSE = 0.005, 0.05
"""Seconds.  A look that takes longer than COSTLY_LOOK is followed by a pause of the same length.

The pause is MAX_PAUSE at most.  The thread of HAProxy that answers serves no traffic meanwhile.
"""
MAX_IDLE_LOOKS = 16
"""Looks in a row that events ask for and that find nothing new; the next ones wait for `poll`.

Real events announce changes.  So a HAProxy whose lines are forged is polled, at worst.
"""
FIRST_LOOKS_FOR, FIRST_LOOKS_DELAY = 0.5, 0.05
"""Seconds.  For FIRST_LOOKS_FOR after its first answer a watcher looks each FIRST_LOOKS_DELAY.

What has happened while there was no agent shows in what grows, such as failed connections.
"""
MIN_RETRY_DELAY, MAX_RETRY_DELAY = 0.02, 0.5
"""Seconds between two looks while there is no Snapshot: doubling from the first to the second."""
STREAM_RETRY_DELAY = 0.1
"""Seconds between the starts of two streams, so that streams that end at once cost little."""
MAX_RENEWALS, SLOW_RENEWAL_DELAY = 10, 1.0
"""Streams in a row to a worker that goes on; then SLOW_RENEWAL_DELAY seconds before the next."""
STREAM_TIMEOUT = 0.5
"""Seconds for which the old worker's stream is kept while the new worker's is not up."""
NEW_STREAM_TIMEOUT = 5.0
"""Seconds that a new stream may take to come up; then it is closed, and asked for again."""
LIMIT_AFTERMATH = 10.0
"""Seconds after HAProxy named a limit of its own in which its servers may still come up again."""
MAX_QUOTE = 120
"""Maximum number of characters of a line of HAProxy's that operators are shown."""
REFUSED_RETRY_DELAY = 10.0
"""Seconds until a stream that HAProxy refused is asked for again; a new worker is asked at once."""


class Watcher:
    """Source of observations: emits one for each look at one HAProxy while ``run()`` runs.

    ``interval`` (seconds of own time) is the longest time between two looks.  ``emit`` is called in
    the event loop, with Gone, Unreadable or Snapshot, and must not block.  ``polling`` says why
    HAProxy is polled; it is empty while its events arrive.  ``counters`` counts looks and events.
    ``name`` is its name among the parts of an agent.
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
        self.name = f"haproxy {instance.name}"
        self.counters = LookCounters()
        self._problem = ""
        self._refusal = "" if instance.ring else NO_RING
        self._clock = clock
        self._emits = [emit]
        self._interval = interval
        self._poll_interval = min(instance.poll, interval)
        self._looker = Looker(instance.socket, query, clock, interval, self._stream_proves_worker)
        self._stream: EventStream | None = None
        self._new_stream: EventStream | None = None
        self._next_stream_at = 0.0
        self._refused_by: Worker | None = None
        self._look_ended_at = self._look_time = 0.0
        self._answer: Snapshot | None = None
        self._first_looks_until = -math.inf
        self._changed_since_answer = self._is_new_stream = False
        self._unannounced = UnannouncedChanges()
        self._idle_looks = self._renewals = 0
        self._wake = asyncio.Event()

    def subscribe(self, emit: Callable[[Observation], None]) -> None:
        """Call ``emit`` with each observation as well; it must not block."""
        self._emits.append(emit)

    def request_look(self) -> None:
        """Request a look soon, as an event of HAProxy's does."""
        self._wake.set()

    @property
    def polling(self) -> str:
        """Return why HAProxy is polled, for operators; empty while all its events arrive."""
        return self._refusal or self._unannounced.describe()

    @property
    def answered_at(self) -> float | None:
        """Return when the newest complete answer was asked for (own time; None: there is none)."""
        return None if self._answer is None else self._answer.asked_at

    def list_problems(self) -> tuple[str, ...]:
        """List what HAProxy says of itself: a limit that it has reached, frontends that paused."""
        found = [self._problem] if self._problem else []
        if self._stream is not None:
            found += describe_pauses(self._stream.pauses, self._clock.now())
        return tuple(f"haproxy {self.instance.name}: {each}" for each in found)

    @property
    def event_driven(self) -> bool:
        """Return whether all of HAProxy's events arrive, so that it need not be polled."""
        return self._has_stream and not self._unannounced.silent

    @property
    def _has_stream(self) -> bool:
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
        with contextlib.closing(self._looker):
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
        asked_for = self._wake.is_set()
        self._wake.clear()  # an event from now on asks for another look
        named = self._take_named()
        began_at = self._clock.now()
        seen: Observation | None
        if self._is_new_stream:  # events may have been lost
            seen = await self._looker.look(named)
        elif not self.event_driven:
            seen = await self._looker.look(named, WHOLE_EVERY_POLLED)
        elif asked_for or named:
            seen = await self._looker.look(named, WHOLE_EVERY)
        elif (seen := await self._looker.look_early(WHOLE_EVERY, unless=self._wake)) is None:
            return await self._take_look()  # an event came, which does not wait for all rows
        self._look_ended_at = self._clock.now()
        self._look_time = self._look_ended_at - began_at
        self.counters.count_look(_name_outcome(seen), self._look_time)
        if isinstance(seen, Snapshot):
            self._note_answer(seen, named, asked_for=asked_for)
            seen = replace(seen, polling=self.polling, backends=self._doubt_rising(seen))
        else:
            self._changed_since_answer = self._changed_since_answer or bool(named)
            self._unannounced.forget_changes()
            if isinstance(seen, Unreadable):
                seen = self._add_witness(seen)
        for emit in self._emits:
            emit(seen)
        return seen

    def _take_named(self) -> dict[str, set[str]]:
        """Return the proxies that events have named since the last call, with their servers."""
        named: dict[str, set[str]] = {}
        if self._stream is not None:
            named, self._stream.named = self._stream.named, named
        return named

    def _note_answer(self, seen: Snapshot, named: Collection[str], *, asked_for: bool) -> None:
        last, self._answer = self._answer, seen
        self._is_new_stream = False
        if last is None:
            self._first_looks_until = seen.asked_at + FIRST_LOOKS_FOR
        self._problem, self._changed_since_answer = "", False
        if self._stream is not None and not self._stream.ended:
            self._unannounced.note_look(seen, {*named, *self._stream.named}, seen.asked_at)
        else:
            self._unannounced.forget_changes()
        is_idle = asked_for and last is not None and _is_same(last, seen)
        self._idle_looks = self._idle_looks + 1 if is_idle else 0

    def _doubt_rising(self, seen: Snapshot) -> Mapping[str, Backend]:
        """Return the backends, without belief in what a limit of HAProxy's own did to servers."""
        stream = self._stream
        if stream is None or self._look_ended_at - stream.limit_at > LIMIT_AFTERMATH:
            return seen.backends
        return {
            name: replace(backend, servers=count_doubtful_as_unproved(backend.servers))
            for name, backend in seen.backends.items()
        }

    def _add_witness(self, seen: Unreadable) -> Unreadable:
        """Add what the event stream shows of a worker that does not answer."""
        stream, self._problem = self._stream, ""
        if stream is None or not self._stream_proves_worker():
            return seen
        self._changed_since_answer = self._changed_since_answer or bool(stream.named)
        if seen.reason is not Reason.HAPROXY_SILENT:
            return seen  # garbage, a lost path, or a lack of our own: no witness speaks for those
        if self._look_ended_at - stream.limit_at < self.instance.deadline:
            # Its checks fail for the same reason, so what it says of servers proves nothing.
            said = make_printable(stream.limit, MAX_QUOTE)
            self._problem = f"{Reason.HAPROXY_LIMIT.sentence}: {said}"
            detail = f"{seen.detail}; it says: {said}"
            return replace(
                seen, reason=Reason.HAPROXY_LIMIT, detail=detail, heard_at=stream.heard_at
            )
        return seen if self._changed_since_answer else replace(seen, heard_at=stream.heard_at)

    async def _wait_for_reason(self, seen: Observation) -> None:
        """Wait for an event, or until the next look is due."""
        period = self._interval
        if not self.event_driven or isinstance(seen, Unreadable) or _awaits_first_check(seen):
            period = min(period, max(self._poll_interval, 10 * self._look_time))
        if self._look_ended_at < self._first_looks_until:
            period = min(period, FIRST_LOOKS_DELAY + self._look_time)
        if self.event_driven and self._looker.is_early(WHOLE_EVERY):
            period = min(period, QUIET + self._look_time)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, period - self._look_time)):
                await self._wake.wait()
                # Where a look is costly, one look answers several events in a row.  The first of
                # them does not wait for that, nor does the end of the stream.
                pause = min(self._look_time, MAX_PAUSE) if self._look_time > COSTLY_LOOK else 0.0
                if self._idle_looks > MAX_IDLE_LOOKS:
                    pause = self._poll_interval
                if pause and self._has_stream:
                    ready_at = self._look_ended_at + pause
                    await self._sleep_until(ready_at)

    async def _sleep_until(self, ready_at: float) -> None:
        """Sleep until ``ready_at`` (own time); the end of the stream ends the sleep."""
        while self._has_stream and (left := ready_at - self._clock.now()) > 0:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()
        self._wake.set()

    def _stream_proves_worker(self) -> bool:
        """Whether an open stream proves that a worker runs and is not stopping."""
        return self._stream is not None and not (self._stream.ended or self._stream.stopping)

    def _maintain_stream(self, seen: Observation) -> None:
        """Keep one stream to the worker that serves; open the new one before closing the old."""
        ring = self.instance.ring
        if ring is None:
            return
        if self._stream is not None and self._stream.refused:
            self._on_refused(self._stream, ring)  # its refusal came after its worker's name
        if self._new_stream is not None and self._new_stream.ended:
            self._on_refused(self._new_stream, ring)
        elif self._new_stream is not None and self._new_stream.worker is not None:
            self._note_new_stream(self._new_stream.worker)
            self._close_stream()
            self._stream, self._new_stream, self._refusal = self._new_stream, None, ""
            self._is_new_stream = True
        now = self._clock.now()
        if self._new_stream is not None:
            waited = now - (self._next_stream_at - STREAM_RETRY_DELAY)
            if waited >= STREAM_TIMEOUT:
                self._close_stream()  # so that a worker that stops can end
            if waited >= NEW_STREAM_TIMEOUT:
                self._new_stream.close()
                self._new_stream = None
        if self._refused_by is not None and self._is_another_worker(seen, self._refused_by):
            self._next_stream_at, self._refused_by = now, None
        if self._new_stream is None and self._needs_stream(seen) and now >= self._next_stream_at:
            self._next_stream_at = now + STREAM_RETRY_DELAY
            # If nothing listens, the next look finds out what that means.
            with contextlib.suppress(OSError):
                self._new_stream = EventStream(
                    self.instance.socket,
                    ring,
                    self._looker.proxies,
                    self._wake,
                    self._clock,
                    counters=self.counters,
                )

    def _note_new_stream(self, worker: Worker) -> None:
        """Slow down where streams are renewed again and again although their worker goes on."""
        old = self._stream.worker if self._stream is not None else None
        same = old is not None and old.is_same_process(worker)
        # One or two are usual: a worker that stops may still accept, or one proxy was shut down.
        self._renewals = self._renewals + 1 if same else 0
        if self._renewals > MAX_RENEWALS:
            self._next_stream_at = self._clock.now() + SLOW_RENEWAL_DELAY

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
        if self._new_stream is not None:
            self._new_stream.close()
            self._new_stream = None
        if stream.refusal:
            self._refusal = events.explain_refusal(stream.refusal, ring)
            self._refused_by = stream.worker
            self._next_stream_at = self._clock.now() + REFUSED_RETRY_DELAY

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _name_outcome(seen: Observation) -> str:
    if isinstance(seen, Unreadable):
        return seen.reason.name.lower()
    return "gone" if isinstance(seen, Gone) else "answered"


def _awaits_first_check(seen: Observation) -> bool:
    """Whether a server's first check has not ended: its result may come without an event."""
    return isinstance(seen, Snapshot) and any(
        backend.counts.unproved > backend.counts.unchecked for backend in seen.backends.values()
    )


def _is_same(last: Snapshot, seen: Snapshot) -> bool:
    """Whether a look found what the look before it had found, but for numbers."""
    return (
        seen.worker.is_same_process(last.worker)
        and seen.worker.stopping == last.worker.stopping
        and all(
            name in last.frontends and last.frontends[name].status == frontend.status
            for name, frontend in seen.frontends.items()
        )
        and all(
            name in last.backends and last.backends[name].servers == backend.servers
            for name, backend in seen.backends.items()
        )
    )
