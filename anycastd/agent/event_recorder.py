"""Turn what the parts of the agent report into events.

Nothing in here may reach the decision loop: what fails is logged once, and costs its event.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from anycastd import __version__
from anycastd.agent.event_log import EventLog
from anycastd.agent.start_context import StartContext
from anycastd.decision.levels import Level
from anycastd.decision.pipeline import LeaseView, PassResult
from anycastd.decision.policy import Transition
from anycastd.evidence.haproxy.snapshot import Observation
from anycastd.lease.messages import Report
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime
from anycastd.views.event_commands import build_reload_refused, build_started, build_stopped
from anycastd.views.event_haproxy import (
    KnownInstance,
    find_instance_event,
    find_maintenance_events,
)
from anycastd.views.event_problems import Problems, find_problem_events
from anycastd.views.event_sessions import Sessions, find_session_events
from anycastd.views.events import Event, EventKind
from anycastd.views.transition_event import build_missed_event, build_transition_event

log = logging.getLogger(__name__)

PROBLEMS_INTERVAL = 2.0
"""Seconds between two looks at the problems, at least."""
PROBLEMS_SHARE = 0.01
"""Share of a core that the looks at the problems may take."""

_failed: set[str] = set()


def _guard(method: Callable[..., None]) -> Callable[..., None]:
    """Keep what fails in a method from whoever calls it; it is logged once."""

    @functools.wraps(method)
    def guarded(*arguments: object, **named: object) -> None:
        try:
            method(*arguments, **named)
        except Exception:
            if method.__name__ not in _failed:
                _failed.add(method.__name__)
                log.exception("a bug in the history: some events are missing")

    return guarded


class EventRecorder:
    """It records the events of one agent in ``events``; ``clock`` is own time."""

    def __init__(self, profile: Profile, clock: OwnTime, events: EventLog) -> None:
        self._profile = profile
        self._clock = clock
        self._events = events
        self._sessions: Sessions = {}
        self._repairs: tuple[str, int] | None = None
        self._instances: dict[str, KnownInstance] = {}
        self._problems: Problems = {}
        self._maintenance: dict[str, bool] | None = None  # None until the history was read
        self._first_levels: Mapping[str, Level] | None = None
        self._told_levels: dict[str, str] | None = None

    @_guard
    def record_start(self, text: str, context: StartContext) -> None:
        """Record that this agent starts with the profile of this ``text``, or why it goes on."""
        at = time.time()
        if context.failed_reload:
            self._events.record(build_reload_refused([context.failed_reload], at))
            return
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        by = (context.reloaded_by or "SIGHUP") if context.is_successor else None
        event = build_started(self._profile, __version__, digest, at, reloaded_by=by)
        self._events.record(event)

    @_guard
    def record_stop(self, *, withdraws: bool) -> None:
        """Record that this agent ends; ``withdraws``: its routes go with it."""
        self._events.record(build_stopped(time.time(), withdraws=withdraws))

    @_guard
    def record_transition(self, transition: Transition) -> None:
        """Record a change of level, once it is known what each of its stages took."""
        at = time.time() - (self._clock.now() - transition.decided_at)
        self._events.record(build_transition_event(self._profile, transition, at))

    @_guard
    def record_lease_expired(self, services: Sequence[str]) -> None:
        """Record that the lease expired while it had routes of these services."""
        text = f"the lease expired, its routes are withdrawn: {', '.join(services)} start anew"
        self._events.record(Event(time.time(), EventKind.LEASE_EXPIRED, text))

    @_guard
    def follow_lease(self, view: LeaseView) -> None:
        """Record what differs from the report before: sessions, and repairs of routes."""
        report = view.report
        if report is None or not view.connected:
            return
        at = time.time()
        self._sessions, events = find_session_events(self._profile, self._sessions, report, at)
        for event in events:
            self._events.record(event)
        self._follow_repairs(report, at)

    @_guard
    def follow_pass(self, looks: Mapping[str, Observation], result: PassResult) -> None:
        """Record what a pass has seen of HAProxy and its maintenance maps."""
        at = time.time()
        for name, look in looks.items():
            before, silence = self._instances.get(name), self._profile.haproxy[name].deadline
            self._instances[name], event = find_instance_event(name, before, look, silence, at)
            if event is not None:
                self._events.record(event)
        if self._maintenance is not None:
            for event in find_maintenance_events(self._maintenance, result.decisions, at):
                self._maintenance[event.service] = event.kind is EventKind.MAINTENANCE_BEGAN
                self._events.record(event)
        if self._first_levels is None and result.wanted is not None:
            self._first_levels = {
                name: decision.level if decision.transition is None else decision.transition.old
                for name, decision in result.decisions.items()
            }
            self._record_missed()

    @_guard
    def take_history(self, events: Sequence[Event]) -> None:
        """Take the events of earlier agents, oldest first: what was so when the last one ended."""
        own = {event.number for event in self._events.recent()}
        events = [event for event in events if event.number not in own]
        self._events.load(events)
        self._maintenance, self._told_levels = {}, {}
        for event in events:
            if event.kind is EventKind.TRANSITION:
                self._told_levels[event.service] = str(event.fields.get("to"))
            elif event.kind in (EventKind.MAINTENANCE_BEGAN, EventKind.MAINTENANCE_ENDED):
                self._maintenance[event.service] = event.kind is EventKind.MAINTENANCE_BEGAN
        self._record_missed()

    async def watch_problems(self, list_problems: Callable[[], Iterable[str]]) -> NoReturn:
        """Record the problems that begin and end, until cancelled.

        ``list_problems`` lists all problems, as the status has them.
        """
        while True:
            began_at = time.monotonic()
            self._compare_problems(list_problems)
            cost = time.monotonic() - began_at
            await asyncio.sleep(max(PROBLEMS_INTERVAL, cost / PROBLEMS_SHARE))

    @_guard
    def _compare_problems(self, list_problems: Callable[[], Iterable[str]]) -> None:
        # A session that was up and is down has an event of its own.
        lost = tuple(
            f"neighbor {address}: the session is"
            for address, known in self._sessions.items()
            if known.was_up
        )
        texts = [text for text in list_problems() if not text.startswith(lost)]
        self._problems, events = find_problem_events(self._problems, texts, time.time())
        for event in events:
            self._events.record(event)

    def _follow_repairs(self, report: Report, at: float) -> None:
        before = self._repairs
        self._repairs = report.lease_id, report.repairs
        if before is None or before[0] != report.lease_id or report.repairs <= before[1]:
            return
        number = report.repairs - before[1]
        routes = "1 route" if number == 1 else f"{number} routes"
        text = f"repaired {routes}: ExaBGP's table differed from what is wanted"
        fields = {"routes": number, "total": report.repairs}
        self._events.record(Event(at, EventKind.REPAIR, text, fields=fields))

    def _record_missed(self) -> None:
        """Record the services that were announced when the last agent ended, and are not now."""
        if self._first_levels is None or self._told_levels is None:
            return
        for name, level in self._first_levels.items():
            told = self._told_levels.get(name, Level.WITHDRAWN.label)
            if level is Level.WITHDRAWN and told != level.label:
                self._events.record(build_missed_event(self._profile, name, told, time.time()))
