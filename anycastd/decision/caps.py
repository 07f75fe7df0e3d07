"""Collect the caps on a service's level: facts and waits, each with its reason (pure).

``policy`` explains the two kinds and takes the lowest cap.  ``levels.CapSource`` lists all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from anycastd.bgp.negotiated import name_family
from anycastd.decision.last_known import believed_until, is_expired
from anycastd.decision.levels import CapSource, Level
from anycastd.decision.memory import Memory
from anycastd.decision.verdict import TrueVerdict, Verdict
from anycastd.evidence.finding import Finding, Truth
from anycastd.profile.conditions import FailedAction
from anycastd.profile.model import Service
from anycastd.reasons import Reason

HOLD_DOWN_RESET = 3600.0
"""Seconds without a failure after which the hold-down begins at its shortest again."""

# Looking up a member is slow in Python 3.11, and each pass does it often.
_UNKNOWN, _PREFERRED = Truth.UNKNOWN, Level.PREFERRED


class Context(NamedTuple):
    """Everything besides the verdict that a decision about one service depends on.

    ``session_up``: True if a BGP session carries the VIP's address family, False if none does, None
    if not known.
    ``vip_present``: the VIP is on its interface; None if not known yet.
    ``leased_level``: the level of this service's routes on the lease, None if not known.
    ``drain``: the cap of a drain, None without a drain.
    ``returned_at`` (own time): when an operator last ran `anycastd return`, None if never.
    ``frozen_until`` (own time): evidence asked for before it may be of any age, None if all is new.
    """

    session_up: bool | None = None
    vip_present: bool | None = None
    leased_level: Level | None = None
    drain: Cap | None = None
    returned_at: float | None = None
    frozen_until: float | None = None


@dataclass(frozen=True, slots=True)
class Cap:
    """A level that may not be exceeded, with the reason and its source.

    ``detail`` is the evidence, as text for operators.
    ``ends_at`` (own time): when time alone ends the cap, None if it does not.
    ``asked_at`` (own time): when the evidence for it was requested, None if it has none.
    """

    level: Level
    reason: Reason
    detail: str = ""
    ends_at: float | None = None
    source: CapSource | None = None
    asked_at: float | None = None


def compute_hold_down(service: Service, failures: int) -> float:
    """Compute the hold-down in seconds after ``failures`` failures in a row.

    It doubles with each failure, up to ``return.hold_down_max`` of the profile; it is 0 without a
    failure.
    """
    if not failures:
        return 0.0
    timers = service.return_timers
    doublings = min(failures - 1, 32)
    longest = max(timers.hold_down, timers.hold_down_max)
    return min(timers.hold_down * float(2**doublings), longest)


def collect_facts(
    service: Service, verdict: Verdict, context: Context, memory: Memory, now: float
) -> Iterator[Cap]:
    """Yield the caps that apply whatever is announced now; ``now`` is own time in seconds.

    Besides the facts this yields one wait, ``CapSource.FALL``: the time until `healthy` is a fact.
    Each of them has its part in ``stays_preferred``, too.
    """
    steers = service.prepends_steer
    if not memory.adopted:
        yield Cap(Level.WITHDRAWN, Reason.NO_SPEAKER, source=CapSource.SPEAKER, asked_at=now)
    if context.drain is not None:
        source = context.drain.source or CapSource.DRAIN
        yield replace(context.drain, source=source, asked_at=now)
    if context.vip_present is False:
        detail = f"{service.vip} on {service.interface}"
        yield Cap(Level.WITHDRAWN, Reason.VIP_MISSING, detail, source=CapSource.VIP, asked_at=now)
    elif not memory.serve.value:
        floor = Level.WITHDRAWN
        if service.failed is FailedAction.STANDBY and verdict.alive and memory.serve.value is False:
            floor = Level.STANDBY
        yield _cap_from_finding(verdict.serve, floor, CapSource.SERVE)
    if memory.maintenance.value and service.maintenance is not None:
        stays = service.maintenance.then is FailedAction.STANDBY and steers
        floor = Level.STANDBY if stays else Level.WITHDRAWN
        planned = verdict.maintenance
        detail = "" if planned is None else _describe(planned) + ("" if steers else _UNSTEERED)
        asked = now if planned is None else planned.asked_at
        yield Cap(floor, Reason.MAINTENANCE, detail, source=CapSource.MAINTENANCE, asked_at=asked)
    if memory.sessions.value is False:
        detail = f"{name_family(service.prefix)} unicast"
        yield Cap(Level.STANDBY, Reason.NO_SESSION, detail, source=CapSource.SESSIONS, asked_at=now)
    if memory.serve.value and memory.healthy.value is False:
        yield from _collect_unhealthy(service, verdict, memory, now)


_UNSTEERED = "; prepends do not steer here, so it is withdrawn"


def _collect_unhealthy(
    service: Service, verdict: Verdict, memory: Memory, now: float
) -> Iterator[Cap]:
    """Cap a service that is not healthy: after `degraded.fall`, and after `return.spacing`.

    Where longer paths move no traffic it is withdrawn, and spacing does not apply.
    """
    steers = service.prepends_steer
    ends, reason = memory.healthy.began_at + service.degraded.fall, Reason.FALLING
    if steers and memory.level is Level.PREFERRED and memory.changed_at is not None:
        spaced = memory.changed_at + service.return_timers.spacing
        if now >= ends and now < spaced:
            reason = Reason.SPACING
        ends = max(ends, spaced)
    if now < ends:
        below = verdict.healthy
        yield Cap(Level.PREFERRED, reason, _describe(below), ends, CapSource.FALL, below.asked_at)
    elif steers:
        yield _cap_from_finding(verdict.healthy, Level.DEGRADED, CapSource.UNHEALTHY)
    else:
        cap = _cap_from_finding(verdict.healthy, Level.WITHDRAWN, CapSource.UNHEALTHY)
        yield replace(cap, detail=cap.detail + _UNSTEERED)


def stays_preferred(verdict: TrueVerdict, context: Context, memory: Memory) -> bool:
    """Return whether a service is preferred, and nothing caps it or is new to its memory.

    So it is in nearly every pass, and then there is nothing to decide.  Each fact that can cap a
    level has its part here.  The waits have none: they only delay a step up, and no level is above
    this one.  When time alone ends this, it is the end of the answer: ``verdict.changes_at``.
    """
    serve, healthy, planned = memory.serve, memory.healthy, verdict.maintenance
    return (
        memory.level is _PREFERRED
        and memory.adopted
        and memory.sessions.value is True
        and context.session_up is not False
        and context.vip_present is not False
        and context.drain is None
        and serve.value is True
        and serve.unknown_began_at is None
        and healthy.value is True
        and healthy.unknown_began_at is None
        and memory.maintenance.value is False
        and (planned is None or planned.truth is Truth.TRUE)
        and (context.returned_at is None or context.returned_at == memory.returned_at)
        and not (memory.failed_at is not None and has_failed(memory))
    )


def collect_waits(
    service: Service, verdict: Verdict, context: Context, memory: Memory, now: float
) -> Iterator[Cap]:
    """Yield the caps that only delay a step up; ``now`` is own time in seconds.

    Their levels are for a service that is withdrawn; ``policy`` raises them to the present level.
    """
    if verdict.serve.truth is _UNKNOWN and not is_expired(memory.serve, verdict.believe_for, now):
        # Unknown announces nothing new; what is announced stays.
        ends = believed_until(memory.serve, verdict.believe_for)
        yield _cap_from_finding(verdict.serve, Level.WITHDRAWN, CapSource.UNKNOWN, ends_at=ends)
    serve, healthy = memory.serve, memory.healthy
    if not serve.value:
        return
    timers = service.return_timers
    steers = service.prepends_steer
    if now < (proved := serve.began_at + service.standby.after):
        yield Cap(Level.WITHDRAWN, Reason.PROVING, "", proved, CapSource.PROOF)
    if waits_for_thaw(verdict, context):  # for evidence from after the last freeze
        yield Cap(Level.WITHDRAWN, Reason.PROVING, "this agent was frozen", None, CapSource.PROOF)
    risen = max(serve.began_at, memory.sessions.began_at) + timers.rise
    if now < risen:
        yield Cap(Level.STANDBY, Reason.RISING, "", risen, CapSource.RISE)
    if memory.failed_at is not None:
        yield from _collect_hold_down(service, memory, memory.failed_at, now)
    if memory.changed_at is not None and now < (spaced := memory.changed_at + timers.spacing):
        yield Cap(Level.STANDBY, Reason.SPACING, "", spaced, CapSource.SPACING)
    if not healthy.value:
        floor = Level.DEGRADED if steers else Level.WITHDRAWN
        yield _cap_from_finding(verdict.healthy, floor, CapSource.HEALTH_RISE)
        return
    if now < (ends := healthy.began_at + timers.rise):
        floor = Level.DEGRADED if steers else Level.STANDBY
        yield Cap(floor, Reason.NOT_HEALTHY_LONG, "", ends, CapSource.HEALTH_RISE)
    if not steers and now < (proved := healthy.began_at + service.standby.after):
        yield Cap(Level.WITHDRAWN, Reason.PROVING, "", proved, CapSource.PROOF)


def _collect_hold_down(
    service: Service, memory: Memory, failed_at: float, now: float
) -> Iterator[Cap]:
    """Wait for the end of the hold-down after the last failure, or for an operator."""
    if not has_failed(memory):
        return
    if service.return_timers.manual:
        yield Cap(Level.STANDBY, Reason.MANUAL, source=CapSource.MANUAL)
    elif now < (ends := failed_at + compute_hold_down(service, memory.failures)):
        yield Cap(Level.STANDBY, Reason.HOLD_DOWN, "", ends, CapSource.HOLD_DOWN)


def has_failed(memory: Memory) -> bool:
    """Return whether a service has failed, and has not returned since."""
    failed_at, returned_at = memory.failed_at, memory.returned_at
    return failed_at is not None and (returned_at is None or returned_at < failed_at)


def waits_for_thaw(verdict: Verdict, context: Context) -> bool:
    """Return whether evidence is still to come that was asked for after the last freeze."""
    return context.frozen_until is not None and verdict.asked_at < context.frozen_until


def _cap_from_finding(
    finding: Finding, level: Level, source: CapSource, ends_at: float | None = None
) -> Cap:
    reason = finding.reason
    if source in _OF_HEALTHY and reason is Reason.TOO_FEW_SERVERS:
        reason = Reason.BELOW_HEALTHY
    return Cap(level, reason, _describe(finding), ends_at, source, finding.asked_at)


_OF_HEALTHY = (CapSource.UNHEALTHY, CapSource.HEALTH_RISE)


def _describe(finding: Finding) -> str:
    return f"{finding.rule.text}: {finding.value}" if finding.value else finding.rule.text
