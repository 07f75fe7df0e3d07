"""What caps a level: facts and waits, each with its reason (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from anycastd.decision.last_known import believed_until, is_expired
from anycastd.decision.levels import CapSource, Level
from anycastd.decision.memory import Memory
from anycastd.decision.verdict import Verdict
from anycastd.evidence.finding import Finding, Truth
from anycastd.profile.model import FailedAction, Service
from anycastd.reasons import Reason

CALM = 3600.0


class Context(NamedTuple):
    """What a decision needs besides the verdict.

    ``sessions``: at least one BGP session is up (True), all are down (False), not known (None).
    ``vip``: the VIP stands on its interface (None: not known yet).
    ``held``: the level at which the lease already holds this service's routes, None if unknown.
    ``drain``: the cap of a drain, None without one.
    ``returned``: when somebody last said `anycastd return`, None if never.
    """

    session_up: bool | None = None
    vip_present: bool | None = None
    leased_level: Level | None = None
    drain: Cap | None = None
    returned_at: float | None = None


@dataclass(frozen=True, slots=True)
class Cap:
    """A ceiling: ``level``, why, and who sets it; ``until`` is when time alone lifts it.

    ``asked`` is when the evidence behind it was asked for.
    """

    level: Level
    reason: Reason
    detail: str = ""
    ends_at: float | None = None
    source: CapSource | None = None
    asked_at: float | None = None


def hold_down_time(service: Service, failures: int) -> float:
    """Seconds of hold-down after that many failures in a row: doubled each time, up to a cap."""
    if not failures:
        return 0.0
    back = service.return_timers
    doublings = min(failures - 1, 32)
    return min(back.hold_down * float(2**doublings), max(back.hold_down, back.hold_down_max))


def collect_facts(
    service: Service, verdict: Verdict, around: Context, memory: Memory, now: float
) -> Iterator[Cap]:
    steers = service.prepends_steer
    if not memory.adopted:
        yield Cap(Level.WITHDRAWN, Reason.NO_SPEAKER, source=CapSource.SPEAKER, asked_at=now)
    if around.drain is not None:
        yield replace(around.drain, source=CapSource.DRAIN, asked_at=now)
    if around.vip_present is False:
        detail = f"{service.vip} on {service.interface}"
        yield Cap(Level.WITHDRAWN, Reason.VIP_MISSING, detail, source=CapSource.VIP, asked_at=now)
    elif not memory.serve.value:
        floor = Level.WITHDRAWN
        if service.failed is FailedAction.STANDBY and verdict.alive and memory.serve.value is False:
            floor = Level.STANDBY
        yield _because(verdict.serve, floor, CapSource.SERVE)
    if memory.maintenance.value and service.maintenance is not None:
        stays = service.maintenance.then is FailedAction.STANDBY and steers
        floor = Level.STANDBY if stays else Level.WITHDRAWN
        planned = verdict.maintenance
        detail = "" if planned is None else _evidence(planned) + ("" if steers else _UNSTEERED)
        asked = now if planned is None else planned.asked_at
        yield Cap(floor, Reason.MAINTENANCE, detail, source=CapSource.MAINTENANCE, asked_at=asked)
    if memory.sessions.value is False:
        yield Cap(Level.STANDBY, Reason.NO_SESSION, source=CapSource.SESSIONS, asked_at=now)
    if memory.serve.value and memory.healthy.value is False:
        yield from _unhealthy(service, verdict, memory, now)


_UNSTEERED = "; prepends do not steer here, so it is withdrawn"


def _unhealthy(service: Service, verdict: Verdict, memory: Memory, now: float) -> Iterator[Cap]:
    """Degrade after `fall`, and not right after another change; withdraw where no path steers."""
    steers = service.prepends_steer
    ends, reason = memory.healthy.began_at + service.degraded.fall, Reason.FALLING
    if steers and memory.level is Level.PREFERRED and memory.changed_at is not None:
        spaced = memory.changed_at + service.return_timers.spacing
        if now >= ends and now < spaced:
            reason = Reason.SPACING
        ends = max(ends, spaced)
    if now < ends:
        below = verdict.healthy
        yield Cap(Level.PREFERRED, reason, _evidence(below), ends, CapSource.FALL, below.asked_at)
    elif steers:
        yield _because(verdict.healthy, Level.DEGRADED, CapSource.HEALTHY)
    else:
        cap = _because(verdict.healthy, Level.WITHDRAWN, CapSource.HEALTHY)
        yield replace(cap, detail=cap.detail + _UNSTEERED)


def collect_waits(service: Service, verdict: Verdict, memory: Memory, now: float) -> Iterator[Cap]:
    if verdict.serve.truth is Truth.UNKNOWN and not is_expired(
        memory.serve, verdict.believe_for, now
    ):
        # Unknown announces nothing new; what is announced stays.
        ends = believed_until(memory.serve, verdict.believe_for)
        yield _because(verdict.serve, Level.WITHDRAWN, CapSource.UNKNOWN, until=ends)
    serve, healthy = memory.serve, memory.healthy
    if not serve.value:
        return
    back = service.return_timers
    steers = service.prepends_steer
    proved = serve.began_at + service.standby.after
    if now < proved:
        yield Cap(Level.WITHDRAWN, Reason.PROVING, "", proved, CapSource.PROOF)
    risen = max(serve.began_at, memory.sessions.began_at) + back.rise
    if now < risen:
        yield Cap(Level.STANDBY, Reason.RISING, "", risen, CapSource.RISE)
    failed_at, returned_at = memory.failed_at, memory.returned_at
    if failed_at is not None and (returned_at is None or returned_at < failed_at):
        if back.manual:
            yield Cap(Level.STANDBY, Reason.MANUAL, source=CapSource.MANUAL)
        elif now < (ends := failed_at + hold_down_time(service, memory.failures)):
            yield Cap(Level.STANDBY, Reason.HOLD_DOWN, "", ends, CapSource.HOLD_DOWN)
    if memory.changed_at is not None and now < (spaced := memory.changed_at + back.spacing):
        yield Cap(Level.STANDBY, Reason.SPACING, "", spaced, CapSource.SPACING)
    if not healthy.value:
        floor = Level.DEGRADED if steers else Level.WITHDRAWN
        yield _because(verdict.healthy, floor, CapSource.HEALTH)
        return
    if now < (ends := healthy.began_at + back.rise):
        floor = Level.DEGRADED if steers else Level.STANDBY
        yield Cap(floor, Reason.NOT_HEALTHY_LONG, "", ends, CapSource.HEALTH)
    if not steers and now < (proved := healthy.began_at + service.standby.after):
        yield Cap(Level.WITHDRAWN, Reason.PROVING, "", proved, CapSource.PROOF)


def _because(finding: Finding, level: Level, source: CapSource, until: float | None = None) -> Cap:
    reason = finding.reason
    if source in _OF_HEALTHY and reason is Reason.TOO_FEW_SERVERS:
        reason = Reason.BELOW_HEALTHY
    return Cap(level, reason, _evidence(finding), until, source, finding.asked_at)


_OF_HEALTHY = (CapSource.HEALTHY, CapSource.HEALTH)


def _evidence(finding: Finding) -> str:
    return f"{finding.text}: {finding.value}" if finding.value else finding.text
