"""Verdict, Memory and now -> Decision: the machine that decides what is announced.

Levels, best first::

    PREFERRED   the profile's path
    DEGRADED    longer: it serves with less, a healthier region takes over
    STANDBY     the longest path: it wins only where nobody else serves
    WITHDRAWN   not announced

Every source gives a *cap*, a level that may not be exceeded, with its reason; the new level is
the lowest cap.  There are two kinds:

* A **fact** caps at its level, whatever is announced now: it lowers at once.
* A **wait** caps at its level or the present one, whichever is higher: it never lowers anything,
  it only delays a promotion.

``Source`` is the table of all of them; the picture in docs/policy.md is drawn from it.

So losing the ability to serve is never delayed, and no wait ever leaves the VIP nowhere: after a
short proof the route is back at STANDBY, and timers only delay what comes after.

Where longer paths move nobody (``prepends_steer: false``) there is no DEGRADED: what caps there
caps at WITHDRAWN, as does maintenance.  A change of the path needs ``spacing`` since the last one,
unless it is that somebody cannot serve, or the first announcement after that.

Unknown holds the last known value of a condition for the time that the verdict allows, and
promotes nothing meanwhile.  A failure (it served and does not any more, or all sessions went
away) starts the hold-down, which doubles with every further failure and is forgotten after an
hour of calm; with ``manual`` it ends when a person says so.  Maintenance is no failure.  All
times are seconds on the clock that ``now`` comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from anycastd.findings import Finding, Truth
from anycastd.health import Verdict
from anycastd.known import NEVER, Known, end, expired, learn, observe
from anycastd.levels import Kind, Level, Source
from anycastd.profile import Failed, Service
from anycastd.reasons import Reason

CALM = 3600.0
"""Seconds without a failure after which the doubled hold-down is forgotten."""


class Around(NamedTuple):
    """What a decision needs besides the verdict.

    ``sessions``: at least one BGP session is up (True), all are down (False), not known (None).
    ``vip``: the VIP stands on its interface (None: not known yet).
    ``held``: the level at which the lease already holds this service's routes, None if unknown.
    ``drain``: the cap of a drain, None without one.
    ``returned``: when somebody last said `anycastd return`, None if never.
    """

    sessions: bool | None = None
    vip: bool | None = None
    held: Level | None = None
    drain: Cap | None = None
    returned: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What one service's machine remembers from pass to pass; times as ``now``.

    ``restored``: failures and changes are known from before a restart; ``announced``: as is that it
    was announced then.
    """

    level: Level = Level.WITHDRAWN
    level_since: float = 0.0
    changed: float | None = None
    adopted: bool = False
    serve: Known = NEVER
    healthy: Known = NEVER
    sessions: Known = NEVER
    planned: Known = NEVER
    failures: int = 0
    failed_at: float | None = None
    returned_at: float | None = None
    restored: bool = False
    announced: bool = False


@dataclass(frozen=True, slots=True)
class Cap:
    """A ceiling: ``level``, why, and who sets it; ``until`` is when time alone lifts it.

    ``asked`` is when the evidence behind it was asked for.
    """

    level: Level
    reason: Reason
    detail: str = ""
    until: float | None = None
    source: Source | None = None
    asked: float | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of level, the only history record; times as ``now``, seconds.

    ``sent_at`` and ``acknowledged_at`` are None while the lease has not been told, or has not
    confirmed.
    """

    service: str
    old: Level
    new: Level
    reason: Reason
    detail: str
    evidence_at: float
    decided_at: float
    sent_at: float | None = None
    acknowledged_at: float | None = None


class Decision(NamedTuple):
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
    memory = _learned(verdict, around, memory, now)
    caps = tuple(_facts(service, verdict, around, memory, now))
    waits = tuple(_waits(service, verdict, memory, now))
    if waits:
        # It never lowers anything; one that holds nothing back any more is no reason for anything.
        here = memory.level
        waits = tuple(cap if cap.level >= here else replace(cap, level=here) for cap in waits)
        caps += tuple(cap for cap in waits if cap.level is not Level.PREFERRED)
    binding = min(caps, key=_level) if caps else _UNCAPPED
    level = binding.level

    transition = None
    if level is not memory.level:
        evidence = verdict.asked if binding.asked is None else binding.asked
        transition = Transition(
            service.name, memory.level, level, binding.reason, binding.detail, evidence, now
        )
        memory = replace(memory, level=level, level_since=now, changed=now)
    wake = [verdict.until, end(memory.serve, verdict.hold), end(memory.healthy, verdict.hold)]
    if caps:
        wake += [cap.until for cap in caps]
    ahead = [at for at in wake if at is not None and at > now]
    decision = Decision(
        service=service.name,
        level=level,
        since=memory.level_since,
        cap=binding,
        caps=caps,
        verdict=verdict,
        wake_at=min(ahead) if ahead else None,
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


def carry(memory: Memory, now: float) -> dict[str, Any]:
    """Give what outlives the process: a count, and how many seconds ago what happened (or None)."""

    def ago(at: float | None) -> float | None:
        return None if at is None else round(max(0.0, now - at), 3)

    return {
        "failures": memory.failures,
        "failed": ago(memory.failed_at),
        "changed": ago(memory.changed),
        "returned": ago(memory.returned_at),
        "announced": memory.level is not Level.WITHDRAWN,
    }


def restore(carried: Mapping[str, Any], now: float) -> Memory:
    """Make a Memory of what ``carry`` gave at ``now``; raises ValueError for anything else.

    It proves nothing: what was announced is the lease's to say, and who serves is for looks.
    """

    def at(name: str) -> float | None:
        seconds = carried.get(name)
        if seconds is None:
            return None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise ValueError(f"{seconds!r} is no time ago")  # noqa: TRY004 - it came from a file
        # A time ahead of us would hold back for ever, and one long ago is as good as any.
        return now - min(max(0.0, seconds), _LONG_AGO)

    failures = carried.get("failures")
    if isinstance(failures, bool) or not isinstance(failures, int) or failures < 0:
        raise ValueError(f"{failures!r} is no number of failures")
    failed_at = at("failed")
    if failures and failed_at is None:
        failed_at = now
    return Memory(
        level_since=now,
        failures=min(failures, _FAILURES_MAX),
        failed_at=failed_at if failures else None,
        changed=at("changed"),
        returned_at=at("returned"),
        restored=True,
        announced=carried.get("announced") is True,
    )


_LONG_AGO = 31_536_000.0
_FAILURES_MAX = 1000


_UNCAPPED = Cap(Level.PREFERRED, Reason.SERVING)


def _level(cap: Cap) -> Level:
    return cap.level


def _facts(
    service: Service, verdict: Verdict, around: Around, memory: Memory, now: float
) -> Iterator[Cap]:
    steers = service.prepends_steer
    if not memory.adopted:
        yield Cap(Level.WITHDRAWN, Reason.NO_SPEAKER, source=Source.SPEAKER, asked=now)
    if around.drain is not None:
        yield replace(around.drain, source=Source.DRAIN, asked=now)
    if around.vip is False:
        detail = f"{service.vip} on {service.interface}"
        yield Cap(Level.WITHDRAWN, Reason.VIP_MISSING, detail, source=Source.VIP, asked=now)
    elif not memory.serve.value:
        floor = Level.WITHDRAWN
        if service.failed is Failed.STANDBY and verdict.alive and memory.serve.value is False:
            floor = Level.STANDBY
        yield _because(verdict.serve, floor, Source.SERVE)
    if memory.planned.value and service.maintenance is not None:
        stays = service.maintenance.then is Failed.STANDBY and steers
        floor = Level.STANDBY if stays else Level.WITHDRAWN
        planned = verdict.maintenance
        detail = "" if planned is None else _evidence(planned) + ("" if steers else _UNSTEERED)
        asked = now if planned is None else planned.asked
        yield Cap(floor, Reason.MAINTENANCE, detail, source=Source.MAINTENANCE, asked=asked)
    if memory.sessions.value is False:
        yield Cap(Level.STANDBY, Reason.NO_SESSION, source=Source.SESSIONS, asked=now)
    if memory.serve.value and memory.healthy.value is False:
        yield from _unhealthy(service, verdict, memory, now)


_UNSTEERED = "; prepends do not steer here, so it is withdrawn"


def _unhealthy(service: Service, verdict: Verdict, memory: Memory, now: float) -> Iterator[Cap]:
    """Degrade after `fall`, and not right after another change; withdraw where no path steers."""
    steers = service.prepends_steer
    ends, reason = memory.healthy.since + service.degraded.fall, Reason.FALLING
    if steers and memory.level is Level.PREFERRED and memory.changed is not None:
        spaced = memory.changed + service.back.spacing
        if now >= ends and now < spaced:
            reason = Reason.SPACING
        ends = max(ends, spaced)
    if now < ends:
        below = verdict.healthy
        yield Cap(Level.PREFERRED, reason, _evidence(below), ends, Source.FALL, below.asked)
    elif steers:
        yield _because(verdict.healthy, Level.DEGRADED, Source.HEALTHY)
    else:
        cap = _because(verdict.healthy, Level.WITHDRAWN, Source.HEALTHY)
        yield replace(cap, detail=cap.detail + _UNSTEERED)


def _waits(service: Service, verdict: Verdict, memory: Memory, now: float) -> Iterator[Cap]:
    if verdict.serve.truth is Truth.UNKNOWN and not expired(memory.serve, verdict.hold, now):
        # Unknown announces nothing new; what is announced stays.
        ends = end(memory.serve, verdict.hold)
        yield _because(verdict.serve, Level.WITHDRAWN, Source.UNKNOWN, until=ends)
    serve, healthy = memory.serve, memory.healthy
    if not serve.value:
        return
    back = service.back
    steers = service.prepends_steer
    proved = serve.since + service.standby.after
    if now < proved:
        yield Cap(Level.WITHDRAWN, Reason.PROVING, "", proved, Source.PROOF)
    risen = max(serve.since, memory.sessions.since) + back.rise
    if now < risen:
        yield Cap(Level.STANDBY, Reason.RISING, "", risen, Source.RISE)
    failed_at, returned_at = memory.failed_at, memory.returned_at
    if failed_at is not None and (returned_at is None or returned_at < failed_at):
        if back.manual:
            yield Cap(Level.STANDBY, Reason.MANUAL, source=Source.MANUAL)
        elif now < (ends := failed_at + hold_down(service, memory.failures)):
            yield Cap(Level.STANDBY, Reason.HOLD_DOWN, "", ends, Source.HOLD_DOWN)
    if memory.changed is not None and now < (spaced := memory.changed + back.spacing):
        yield Cap(Level.STANDBY, Reason.SPACING, "", spaced, Source.SPACING)
    if not healthy.value:
        floor = Level.DEGRADED if steers else Level.WITHDRAWN
        yield _because(verdict.healthy, floor, Source.HEALTH)
        return
    if now < (ends := healthy.since + back.rise):
        floor = Level.DEGRADED if steers else Level.STANDBY
        yield Cap(floor, Reason.NOT_HEALTHY_LONG, "", ends, Source.HEALTH)
    if not steers and now < (proved := healthy.since + service.standby.after):
        yield Cap(Level.WITHDRAWN, Reason.PROVING, "", proved, Source.PROOF)


def _because(finding: Finding, level: Level, source: Source, until: float | None = None) -> Cap:
    reason = finding.reason
    if source in _OF_HEALTHY and reason is Reason.TOO_FEW_SERVERS:
        reason = Reason.BELOW_HEALTHY
    return Cap(level, reason, _evidence(finding), until, source, finding.asked)


_OF_HEALTHY = (Source.HEALTHY, Source.HEALTH)


def _evidence(finding: Finding) -> str:
    return f"{finding.rule}: {finding.value}" if finding.value else finding.rule


def _learned(verdict: Verdict, around: Around, memory: Memory, now: float) -> Memory:
    """Take over what is seen; the very same memory where nothing is new."""
    if around.vip is False:
        # Without its VIP it serves nobody, whatever HAProxy shows: a failure like any other.
        serve = observe(memory.serve, value=False, now=now)
    else:
        serve = learn(memory.serve, verdict.serve, verdict.hold, now)
    healthy = learn(memory.healthy, verdict.healthy, verdict.hold, now)
    sessions = observe(memory.sessions, around.sessions, now)
    planned = memory.planned
    if verdict.maintenance is None:
        planned = observe(planned, value=False, now=now)
    elif verdict.maintenance.truth is not Truth.UNKNOWN:
        planned = observe(planned, verdict.maintenance.truth is Truth.FALSE, now)
    returned = memory.returned_at if around.returned is None else around.returned
    if (
        serve is memory.serve
        and healthy is memory.healthy
        and sessions is memory.sessions
        and planned is memory.planned
        and returned == memory.returned_at
    ):
        return memory
    learned = replace(
        memory,
        serve=serve,
        healthy=healthy,
        sessions=sessions,
        planned=planned,
        returned_at=returned,
    )
    return _count_failure(memory, learned, now)


def _count_failure(before: Memory, after: Memory, now: float) -> Memory:
    planned = after.planned.value is True  # whoever works on the servers meant to
    stopped_serving = before.serve.value is True and after.serve.value is False and not planned
    lost_sessions = before.sessions.value is True and after.sessions.value is False
    if not (stopped_serving or lost_sessions):
        return after
    calm = before.failed_at is None or now - before.failed_at >= CALM
    return replace(after, failures=1 if calm else before.failures + 1, failed_at=now)


def _adopt(memory: Memory, held: Level, service: Service, now: float) -> Memory:
    """Begin at the level that the lease holds: the agent before us earned it moments ago."""
    memory = replace(memory, adopted=True, level=held, level_since=now)
    if held is Level.WITHDRAWN:
        # That it is not announced any more is a change, and at worst it has just happened.
        unseen = memory.announced or not memory.restored
        return replace(memory, changed=now) if unseen else memory
    if not memory.restored:
        # Whatever kept it below is not known any more: the longest waits that these may have been.
        if held is Level.STANDBY:
            memory = replace(memory, failures=1, failed_at=now)
        memory = replace(memory, changed=now)
    return replace(
        memory,
        serve=Known(True, now - service.standby.after),
        healthy=Known(True, now) if held is Level.PREFERRED else memory.healthy,
    )


__all__ = [
    "Around",
    "Cap",
    "Decision",
    "Kind",
    "Known",
    "Level",
    "Memory",
    "Source",
    "Transition",
    "carry",
    "decide",
    "hold_down",
    "restore",
]
