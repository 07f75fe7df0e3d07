"""Decide the level of one service: the lowest of its caps (pure).

This text explains the whole state machine: levels, facts, waits, what is unknown, failures.

Levels, best first::

    PREFERRED   the path of the profile
    DEGRADED    a longer path: the service works with less, and a healthy region takes over
    STANDBY     the longest path: traffic comes here only if no other region serves
    WITHDRAWN   not announced

Everything that limits the level is a *cap*: a level that may not be exceeded, with its reason.
The new level is the lowest cap.  There are two kinds of caps:

* A **fact** caps at its level, whatever is announced now.  So it lowers the level at once.
* A **wait** caps at its level or at the present level, whichever is higher.  So it never lowers the
  level, it only delays the step up.

``levels.CapSource`` is the table of all caps; the picture in docs/policy.md is drawn from it.

So the withdrawal of a service that cannot serve is never delayed.  And no wait removes the VIP from
all regions: after a short proof the route is back at STANDBY, and the other waits only delay the
steps after that.

**Spacing.**  A step up from STANDBY or DEGRADED, and a step down to DEGRADED, wait until
``return.spacing`` has passed since the last change.  All other changes do not wait for it.

**Paths that do not steer.**  Where longer paths move no traffic (``prepends_steer: false``),
DEGRADED is not used: a service that is not healthy is withdrawn, and so is one in maintenance.

**Unknown.**  While a condition is unknown, its last known value counts, for as long as the verdict
allows (``Verdict.believe_for``).  Meanwhile nothing is promoted.  A service that is withdrawn and
waits to be known returns at STANDBY first: the spacing counts from the end of this wait.

**Frozen.**  Own time stands still while this process does not run.  So what was asked before a long
stall may be of any age: it promotes nothing.

**Failures.**  A service fails if it served and cannot serve any more, or if the last BGP session
that carries its address family is lost.  A failure starts the hold-down, which doubles with every
further failure and is forgotten after an hour without one.  With ``return: manual`` it ends when an
operator runs `anycastd return`.  A service that is above STANDBY after its hold-down has returned:
its failure counts for no later wait, also where ``return: manual`` is switched on afterwards.
Maintenance is not a failure.

All times are own time in seconds, the clock of ``now``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from anycastd.decision.caps import (
    HOLD_DOWN_RESET,
    Cap,
    Context,
    collect_facts,
    collect_waits,
    compute_hold_down,
    has_failed,
    stays_preferred,
    waits_for_thaw,
)
from anycastd.decision.last_known import (
    LastKnown,
    believed_until,
    update_from_finding,
    update_from_value,
)
from anycastd.decision.levels import CapSource, Level
from anycastd.decision.med import MedChoice
from anycastd.decision.memory import Memory
from anycastd.decision.next_hop import HopChoice
from anycastd.decision.verdict import TrueVerdict, Verdict
from anycastd.evidence.finding import Truth
from anycastd.profile.model import Service
from anycastd.reasons import Reason


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of level of one service, as it is logged and remembered; times in own time.

    Where ``old`` is ``new``, only the next hop or the MED of its route has changed.
    ``evidence_at`` is when the evidence behind it was requested.  ``sent_at`` is None until it is
    sent to the lease process, ``acknowledged_at`` is None until ExaBGP has confirmed it.
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
    """The result of one pass for one service.

    ``level_began_at`` (own time) is when this level began.  ``cap`` is the lowest of ``caps``: the
    reason why the level is not higher (Reason.SERVING if there is no cap).  ``wake_at`` (own time)
    is when time alone may change the decision; None: never.  ``transition`` is set if the level has
    changed in this pass.  ``hop_choice`` is the next hop of a service that has several,
    ``med_choice`` the MED by a check.  ``changes`` are those of an announced route besides its
    level.
    """

    service: str
    level: Level
    level_began_at: float
    cap: Cap
    caps: tuple[Cap, ...]
    verdict: Verdict
    wake_at: float | None
    transition: Transition | None = None
    hop_choice: HopChoice | None = None
    med_choice: MedChoice | None = None
    changes: tuple[Transition, ...] = ()

    @property
    def next_hop(self) -> str | None:
        """Return the next hop that is chosen; None where the profile has no choice."""
        return None if self.hop_choice is None else self.hop_choice.address

    @property
    def med(self) -> int | None:
        """Return the MED by a check; None where the profile has none."""
        return None if self.med_choice is None else self.med_choice.med


def decide_level(
    service: Service, verdict: Verdict, context: Context, memory: Memory, now: float
) -> tuple[Decision, Memory]:
    """Decide the level of ``service`` at ``now`` (own time, seconds).

    Returns the decision, and the memory for the next pass.
    """
    if isinstance(verdict, TrueVerdict) and stays_preferred(verdict, context, memory):
        began_at, ends_at = memory.level_began_at, verdict.changes_at
        return Decision(
            service.name, Level.PREFERRED, began_at, _UNCAPPED, (), verdict, ends_at
        ), memory
    if not memory.adopted and context.leased_level is not None:
        memory = _adopt(memory, context.leased_level, service, now)
    memory = _update_memory(verdict, context, memory, now)
    caps = tuple(collect_facts(service, verdict, context, memory, now))
    waits = tuple(collect_waits(service, verdict, context, memory, now))
    if waits:
        # A wait never lowers the level; one that delays nothing is left out, it is no reason.
        here = memory.level
        waits = tuple(cap if cap.level >= here else replace(cap, level=here) for cap in waits)
        caps += tuple(cap for cap in waits if cap.level is not Level.PREFERRED)
    lowest = min(caps, key=_level) if caps else _UNCAPPED
    level = lowest.level

    transition = None
    if level is not memory.level:
        evidence_at = verdict.asked_at if lowest.asked_at is None else lowest.asked_at
        transition = Transition(
            service.name, memory.level, level, lowest.reason, lowest.detail, evidence_at, now
        )
        memory = replace(memory, level=level, level_began_at=now, changed_at=now)
    elif (
        level is _WITHDRAWN
        and memory.serve.value
        and (lowest.source is _WAITS_TO_KNOW or waits_for_thaw(verdict, context))
    ):
        # The spacing counts from the end of this wait, so that the return has two steps.
        memory = replace(memory, changed_at=now)
    if memory.failed_at is not None and level > _STANDBY and has_failed(memory):
        ends_at = memory.failed_at + compute_hold_down(service, memory.failures)
        if now >= ends_at:
            # Not now: a failure of this same moment is a new one.
            memory = replace(memory, returned_at=memory.failed_at)
    wake_at = _next_wake(verdict, memory, caps, now)
    decision = Decision(  # by position: by name takes twice as long
        service.name, level, memory.level_began_at, lowest, caps, verdict, wake_at, transition
    )
    return decision, memory


_UNCAPPED = Cap(Level.PREFERRED, Reason.SERVING)
_WITHDRAWN, _STANDBY = Level.WITHDRAWN, Level.STANDBY
_WAITS_TO_KNOW = CapSource.UNKNOWN


def _level(cap: Cap) -> Level:
    return cap.level


def _next_wake(verdict: Verdict, memory: Memory, caps: tuple[Cap, ...], now: float) -> float | None:
    """Return the earliest time after ``now`` at which time alone may change the decision."""
    changes_at, serve, healthy = verdict.changes_at, memory.serve, memory.healthy
    if not caps and serve.unknown_began_at is None and healthy.unknown_began_at is None:
        return changes_at if changes_at is not None and changes_at > now else None
    times = [
        changes_at,
        believed_until(serve, verdict.believe_for),
        believed_until(healthy, verdict.believe_for),
        *(cap.ends_at for cap in caps),
    ]
    ahead = [at for at in times if at is not None and at > now]
    return min(ahead) if ahead else None


def _update_memory(verdict: Verdict, context: Context, memory: Memory, now: float) -> Memory:
    """Update the memory from the evidence; return the same object if nothing is new."""
    if context.vip_present is False:
        # Without its VIP the service cannot serve, whatever HAProxy shows: that is a failure.
        serve = update_from_value(memory.serve, value=False, now=now)
    else:
        serve = update_from_finding(memory.serve, verdict.serve, verdict.believe_for, now)
    healthy = update_from_finding(memory.healthy, verdict.healthy, verdict.believe_for, now)
    sessions = update_from_value(memory.sessions, context.session_up, now)
    maintenance = memory.maintenance
    if verdict.maintenance is None:
        maintenance = update_from_value(maintenance, value=False, now=now)
    elif verdict.maintenance.truth is not Truth.UNKNOWN:
        maintenance = update_from_value(maintenance, verdict.maintenance.truth is Truth.FALSE, now)
    returned_at = context.returned_at
    if returned_at is None or (memory.returned_at or returned_at) > returned_at:
        returned_at = memory.returned_at  # the later one of the two
    if (
        serve is memory.serve
        and healthy is memory.healthy
        and sessions is memory.sessions
        and maintenance is memory.maintenance
        and returned_at == memory.returned_at
    ):
        return memory
    updated = replace(
        memory,
        serve=serve,
        healthy=healthy,
        sessions=sessions,
        maintenance=maintenance,
        returned_at=returned_at,
    )
    return _count_failure(memory, updated, now)


def _count_failure(before: Memory, after: Memory, now: float) -> Memory:
    """Count a failure if this pass has seen one; see the top of this file for what is one."""
    planned = after.maintenance.value is True
    stopped_serving = before.serve.value is True and after.serve.value is False and not planned
    lost_sessions = before.sessions.value is True and after.sessions.value is False
    if not (stopped_serving or lost_sessions):
        return after
    calm = before.failed_at is None or now - before.failed_at >= HOLD_DOWN_RESET
    return replace(after, failures=1 if calm else before.failures + 1, failed_at=now)


def count_failures(memory: Memory, now: float) -> int:
    """Count the failures in a row that still count at ``now`` (own time); forgotten ones do not."""
    failed_at = memory.failed_at
    if failed_at is None or (now - failed_at >= HOLD_DOWN_RESET and not has_failed(memory)):
        return 0
    return memory.failures


def _adopt(memory: Memory, leased: Level, service: Service, now: float) -> Memory:
    """Begin at the level of the leased routes: the agent before this one announced them."""
    memory = replace(memory, adopted=True, level=leased, level_began_at=now)
    if leased is Level.WITHDRAWN:
        # If it was announced before, the withdrawal was a change, possibly of just now.
        unseen = memory.announced or not memory.restored
        return replace(memory, changed_at=now) if unseen else memory
    if not memory.restored:
        # The waits of the agent before this one are not known: assume the longest possible ones.
        if leased is Level.STANDBY:
            memory = replace(memory, failures=1, failed_at=now)
        memory = replace(memory, changed_at=now)
    # Where longer paths move no traffic, nothing is announced that is not healthy.
    was_healthy = leased is Level.PREFERRED or not service.prepends_steer
    return replace(
        memory,
        serve=LastKnown(True, now - service.standby.after),
        healthy=LastKnown(True, now) if was_healthy else memory.healthy,
    )
