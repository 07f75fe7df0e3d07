"""Verdict, Memory and now -> Decision: the machine that decides what is announced.

Levels, best first::

    PREFERRED   the profile's path
    DEGRADED    longer: it serves with less, a healthier region takes over
    STANDBY     the longest path: it wins only where nobody else serves
    WITHDRAWN   not announced

Every source gives a *cap*, a level that may not be exceeded, with its reason; the new level is
the lowest cap.  There are two kinds:

* A **fact** caps at its level, whatever is announced now: it lowers at once.
  Not serving (WITHDRAWN, or STANDBY where the profile says so and HAProxy lives), the VIP missing
  (WITHDRAWN), below `healthy` for longer than `fall` (DEGRADED), no session up (STANDBY).
* A **wait** caps at its level or the present one, whichever is higher: it never lowers anything,
  it only delays a promotion.  Proving (`standby.after`: to STANDBY), rise, hold-down and spacing
  (all: from STANDBY upwards).

So losing the ability to serve is never delayed, and no wait ever leaves the VIP nowhere: after a
short proof the route is back at STANDBY, and timers only delay what comes after.

Unknown holds the last known value of a condition for the time that the verdict allows, and
promotes nothing meanwhile.  A failure (it served and does not any more, or all sessions went
away) starts the hold-down, which doubles with every further failure and is forgotten after an
hour of calm.  All times are seconds on the clock that ``now`` comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from anycastd.health import Finding, Outcome, Truth, Verdict
from anycastd.profile import Failed, Service
from anycastd.reasons import Reason

CALM = 3600.0
"""Seconds without a failure after which the doubled hold-down is forgotten."""


class Level(IntEnum):
    """What is announced, best last, so that the lowest cap is ``min``."""

    WITHDRAWN = 0
    STANDBY = 1
    DEGRADED = 2
    PREFERRED = 3

    @property
    def word(self) -> str:
        """The level as it is written everywhere."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Around:
    """What a decision needs besides the verdict.

    ``sessions``: at least one BGP session is up (True), all are down (False), not known (None).
    ``vip``: the VIP stands on its interface (None: not known yet).
    ``held``: the level at which the lease already holds this service's routes, None if unknown.
    """

    sessions: bool | None = None
    vip: bool | None = None
    held: Level | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """The last known value of a condition: since when it has that value, since when it is unknown.

    ``value`` is None before the first known value.
    """

    value: bool | None = None
    since: float = 0.0
    unknown_since: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What one service's machine remembers from pass to pass; times as ``now``."""

    level: Level = Level.WITHDRAWN
    level_since: float = 0.0
    changed: float | None = None
    adopted: bool = False
    serve: Known = Known()
    healthy: Known = Known()
    sessions: Known = Known()
    failures: int = 0
    failed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Cap:
    """A ceiling: ``level``, who sets it and why; ``until`` is when time alone lifts it."""

    level: Level
    reason: Reason
    detail: str = ""
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of level, the only history record; times as ``now``, seconds."""

    service: str
    old: Level
    new: Level
    reason: Reason
    detail: str
    evidence_at: float
    decided_at: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one pass for one service.

    ``cap`` is the binding one: why it is not higher (Reason.SERVING when nothing holds it).
    ``wake_at`` is when time alone may change the decision.
    """

    service: str
    level: Level
    since: float
    cap: Cap
    caps: tuple[Cap, ...]
    verdict: Verdict
    wake_at: float | None
    transition: Transition | None = None


def decide(
    service: Service, verdict: Verdict, around: Around, memory: Memory, now: float
) -> tuple[Decision, Memory]:
    """Take one decision at ``now`` (seconds) and give it with the memory for the next one."""
    if not memory.adopted and around.held is not None:
        memory = _adopt(memory, around.held, service, now)
    before = memory
    memory = replace(
        memory,
        # Without its VIP it serves nobody, whatever HAProxy shows: a failure like any other.
        serve=_observe(memory.serve, False, now)
        if around.vip is False
        else _learn(memory.serve, verdict.serve, verdict.hold, now),
        healthy=_learn(memory.healthy, verdict.healthy, verdict.hold, now),
        sessions=_observe(memory.sessions, around.sessions, now),
    )
    memory = _count_failure(before, memory, now)

    waits = (
        replace(cap, level=max(cap.level, memory.level))
        for cap in _waits(service, verdict, memory, now)
    )
    # A wait that holds nothing back any more is no reason for anything.
    holding = tuple(cap for cap in waits if cap.level is not Level.PREFERRED)
    caps = tuple(_facts(service, verdict, around, memory, now)) + holding
    binding = min(caps, key=lambda cap: cap.level, default=_UNCAPPED)
    level = binding.level

    transition = None
    if level is not memory.level:
        transition = Transition(
            service.name, memory.level, level, binding.reason, binding.detail, verdict.asked, now
        )
        memory = replace(memory, level=level, level_since=now, changed=now)
    wake = [cap.until for cap in caps]
    wake += [verdict.until, _end(memory.serve, verdict.hold), _end(memory.healthy, verdict.hold)]
    decision = Decision(
        service=service.name,
        level=level,
        since=memory.level_since,
        cap=binding,
        caps=caps,
        verdict=verdict,
        wake_at=min((at for at in wake if at is not None and at > now), default=None),
        transition=transition,
    )
    return decision, memory


def hold_down(service: Service, failures: int) -> float:
    """Seconds of hold-down after that many failures in a row: doubled each time, up to a cap."""
    if not failures:
        return 0.0
    back = service.back
    doublings = min(failures - 1, 32)
    return min(back.hold_down * float(2**doublings), max(back.hold_down, back.hold_down_max))


_UNCAPPED = Cap(Level.PREFERRED, Reason.SERVING)


def _facts(
    service: Service, verdict: Verdict, around: Around, memory: Memory, now: float
) -> Iterator[Cap]:
    if not memory.adopted:
        yield Cap(Level.WITHDRAWN, Reason.NO_SPEAKER)
    if around.vip is False:
        yield Cap(Level.WITHDRAWN, Reason.VIP_MISSING, f"{service.vip} on {service.interface}")
    elif not memory.serve.value:
        floor = Level.WITHDRAWN
        if service.failed is Failed.STANDBY and verdict.alive and memory.serve.value is False:
            floor = Level.STANDBY
        yield _because(verdict.serve, floor)
    if memory.sessions.value is False:
        yield Cap(Level.STANDBY, Reason.NO_SESSION)
    if memory.serve.value and memory.healthy.value is False:
        falls_at = memory.healthy.since + service.degraded.fall
        if now >= falls_at:
            yield _because(verdict.healthy, Level.DEGRADED)
        else:
            detail = _evidence(verdict.healthy.decisive)
            yield Cap(Level.PREFERRED, Reason.FALLING, detail, falls_at)


def _waits(service: Service, verdict: Verdict, memory: Memory, now: float) -> Iterator[Cap]:
    back = service.back
    if verdict.serve.truth is Truth.UNKNOWN and not _expired(memory.serve, verdict.hold, now):
        # Unknown announces nothing new; what is announced stays.
        yield _because(verdict.serve, Level.WITHDRAWN, until=_end(memory.serve, verdict.hold))
    if not memory.serve.value:
        return
    well_since = max(memory.serve.since, memory.sessions.since)
    yield from _until(
        memory.serve.since + service.standby.after, now, Level.WITHDRAWN, Reason.PROVING
    )
    yield from _until(well_since + back.rise, now, Level.STANDBY, Reason.RISING)
    if memory.failed_at is not None:
        ends = memory.failed_at + hold_down(service, memory.failures)
        yield from _until(ends, now, Level.STANDBY, Reason.HOLD_DOWN)
    if memory.changed is not None:
        yield from _until(memory.changed + back.spacing, now, Level.STANDBY, Reason.SPACING)
    if memory.healthy.value:
        ends = memory.healthy.since + back.rise
        yield from _until(ends, now, Level.DEGRADED, Reason.NOT_HEALTHY_LONG)
    else:
        yield _because(verdict.healthy, Level.DEGRADED)


def _until(ends: float, now: float, level: Level, reason: Reason) -> Iterator[Cap]:
    if now < ends:
        yield Cap(level, reason, until=ends)


def _because(outcome: Outcome, level: Level, until: float | None = None) -> Cap:
    finding = outcome.decisive
    reason = finding.reason
    if level is Level.DEGRADED and reason is Reason.TOO_FEW_SERVERS:
        reason = Reason.BELOW_HEALTHY
    return Cap(level, reason, _evidence(finding), until)


def _evidence(finding: Finding) -> str:
    return f"{finding.rule}: {finding.value}" if finding.value else finding.rule


def _learn(known: Known, outcome: Outcome, hold: float, now: float) -> Known:
    """Take over a condition's value; hold the last one while it is unknown, for a bounded time."""
    if outcome.truth is not Truth.UNKNOWN:
        return _observe(known, outcome.truth is Truth.TRUE, now)
    if known.unknown_since is None:
        known = replace(known, unknown_since=now)
    if not _expired(known, hold, now):
        return known
    since = known.unknown_since
    return replace(_observe(known, outcome.then is Truth.TRUE, now), unknown_since=since)


def _observe(known: Known, value: bool | None, now: float) -> Known:
    if value is None:
        return known
    if value is known.value:
        return replace(known, unknown_since=None)
    return Known(value, now)


def _end(known: Known, hold: float) -> float | None:
    return None if known.unknown_since is None else known.unknown_since + hold


def _expired(known: Known, hold: float, now: float) -> bool:
    ends = _end(known, hold)
    return ends is not None and now >= ends


def _count_failure(before: Memory, after: Memory, now: float) -> Memory:
    stopped_serving = before.serve.value is True and after.serve.value is False
    lost_sessions = before.sessions.value is True and after.sessions.value is False
    if not (stopped_serving or lost_sessions):
        return after
    calm = before.failed_at is None or now - before.failed_at >= CALM
    return replace(after, failures=1 if calm else before.failures + 1, failed_at=now)


def _adopt(memory: Memory, held: Level, service: Service, now: float) -> Memory:
    """Begin at the level that the lease holds: the agent before us earned it moments ago."""
    memory = replace(memory, adopted=True, level=held, level_since=now)
    if held is Level.WITHDRAWN:
        return memory
    if held is Level.STANDBY:
        # Whatever kept it there is not known any more: the longest wait that it may have been.
        memory = replace(memory, failures=1, failed_at=now)
    return replace(
        memory,
        serve=Known(True, now - service.standby.after),
        healthy=Known(True, now) if held is Level.PREFERRED else memory.healthy,
    )
