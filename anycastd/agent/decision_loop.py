"""The decision loop: wait for news, run one pass, hand its result to the sinks.

A source puts its newest value into the inbox, which wakes the loop.  A pass also runs at the time
that the last one asked for (``wake_at``), and once in each quarter of the lease: nothing but the
result of a pass renews it, and where nothing changes no source has news.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from anycastd.agent.drain_controller import DrainController
from anycastd.agent.event_recorder import EventRecorder
from anycastd.agent.history import History
from anycastd.agent.inbox import Inbox
from anycastd.agent.lease_client import LeaseClient
from anycastd.agent.memory_store import MemoryStore
from anycastd.decision.kept_levels import group_levels
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, PassResult, advance, restart_at_withdrawn
from anycastd.decision.policy import Transition
from anycastd.profile.model import Profile
from anycastd.reasons import Reason
from anycastd.system.clock import OwnTime
from anycastd.system.counters import LoopCounters
from anycastd.system.garbage import GarbageCollection

log = logging.getLogger(__name__)

FROZEN = 0.5
"""Seconds for which this process must not have run since the last pass to count as frozen."""
PASSES_PER_LEASE = 4
"""Passes in the time of a lease, at least."""
EXPIRED = Reason.LEASE_EXPIRED
"""Why services are withdrawn that the lease withdrew by itself."""
CONFIRM_TIMEOUT = 1.0
"""Seconds that the agent waits for the confirmation of its last Want before it ends."""


@dataclass(frozen=True, slots=True)
class Sinks:
    """The sinks of one agent: what takes the result of a pass."""

    lease: LeaseClient
    history: History
    drains: DrainController
    memory_store: MemoryStore
    recorder: EventRecorder


NotePass = Callable[[float, Mapping[str, Memory], Inputs, PassResult, bool], object]
"""Is told of each pass: its time, memory, inputs and result, and whether the lease had expired.

All of them are values that nothing changes later.  It must neither wait nor raise.
"""


class DecisionLoop:
    """The loop that runs the passes of one agent.

    ``clock`` is own time.  ``memory`` maps a service to what policy remembers of it; set it before
    ``run`` starts.  ``last_result`` is the result of the newest pass, None before the first.
    ``notify_alive`` is called after each pass that renews the lease, and ``note_pass`` after each
    pass, unless it is None.  ``decided`` is set once a pass has renewed the lease.  ``counters``
    counts passes.
    """

    def __init__(
        self,
        profile: Profile,
        clock: OwnTime,
        inbox: Inbox,
        sinks: Sinks,
        notify_alive: Callable[[], object],
    ) -> None:
        self.profile = profile
        self.clock = clock
        self.inbox = inbox
        self.sinks = sinks
        self.memory: dict[str, Memory] = {}
        self.last_result: PassResult | None = None
        self.decided = asyncio.Event()
        self.counters = LoopCounters()
        self.note_pass: NotePass | None = None
        self._notify_alive = notify_alive
        self._garbage = GarbageCollection()
        self._stalled = clock.stalled
        self._frozen_until: float | None = None

    async def run(self) -> NoReturn:
        """Run a pass whenever there is news or its time has come, until cancelled.

        Its time is the ``wake_at`` (own time) of the pass before, or a quarter of the lease.
        """
        while True:
            now, began_at = self.clock.now(), time.monotonic()
            result = self._run_pass()
            self._send(result)
            self.counters.count_pass(began_at, time.monotonic())
            if result.wanted is not None:
                self._notify_alive()
                self.decided.set()
                self._garbage.run_if_due(now)
            rest = self.profile.ttl / PASSES_PER_LEASE
            if result.wake_at is not None:
                rest = min(rest, max(0.0, result.wake_at - now))
            await self.inbox.wait_for_news(rest)

    async def send_last_want(self, ttl: float) -> None:
        """Run one more pass and renew the lease with it for ``ttl`` seconds, as the last Want.

        It waits ``CONFIRM_TIMEOUT`` seconds at most for the confirmation; without one it logs that.
        Call it after ``run`` was cancelled: no later pass may renew the lease.
        """
        result = self._run_pass()
        self._send(result, ttl, leaving=True)
        if result.wanted is None:
            return  # nothing has been decided yet, so nothing was sent
        lease = self.sinks.lease
        if self.inbox.lease.connected and not await lease.wait_confirmed(CONFIRM_TIMEOUT):
            log.warning("the lease did not confirm the last message: routes may be withdrawn")

    def _run_pass(self) -> PassResult:
        now = self.clock.now()
        expired = self.sinks.lease.acknowledge_expiry()
        if expired:
            self._restart_announced(now)
        before, self._stalled = self._stalled, self.clock.stalled
        if self._stalled - before >= FROZEN:
            self._frozen_until = now
        inputs = replace(self.inbox.copy_inputs(), frozen_until=self._frozen_until)
        result = advance(self.profile, self.memory, inputs, now)
        if self.note_pass is not None:
            self.note_pass(now, self.memory, inputs, result, expired)
        self.last_result = result
        self.memory = dict(result.memory)
        self.sinks.drains.apply_pass_result(result)
        self.sinks.memory_store.save_if_changed(result, self.memory, now)
        self.sinks.recorder.follow_pass(inputs.evidence.haproxy, result)
        return result

    def _send(self, result: PassResult, ttl: float | None = None, *, leaving: bool = False) -> None:
        """Send what a pass wants, and note the serial number with its changes of level."""
        serial = None
        if result.wanted is not None:
            levels = group_levels(self.profile, result.decisions)
            serial = self.sinks.lease.renew(result.wanted, ttl, leaving=leaving, levels=levels)
        self.sinks.history.record_decided(result.transitions, serial, self.clock.now())

    def _restart_announced(self, now: float) -> None:
        """Restart announced services at withdrawn: after an expiry the lease has no routes."""
        announced = restart_at_withdrawn(self.memory, now)
        if announced:
            withdrawn = Level.WITHDRAWN
            changes = [
                Transition(name, self.memory[name].level, withdrawn, EXPIRED, "", now, now)
                for name in announced
            ]
            self.sinks.recorder.record_lease_expired(tuple(announced))
            self.sinks.history.record_decided(changes, None, now)
            self.memory |= announced
