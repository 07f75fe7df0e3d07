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

from dataclasses import dataclass, replace
from typing import NamedTuple

from anycastd.decision.caps import CALM, Cap, Context, collect_facts, collect_waits
from anycastd.decision.last_known import LastKnown, believed_until, update, update_from_finding
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.verdict import Verdict
from anycastd.evidence.finding import Truth
from anycastd.profile.model import Service
from anycastd.reasons import Reason

"""Seconds without a failure after which the doubled hold-down is forgotten."""


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
    level_began_at: float
    cap: Cap
    caps: tuple[Cap, ...]
    verdict: Verdict
    wake_at: float | None
    transition: Transition | None = None


def decide(
    service: Service, verdict: Verdict, around: Context, memory: Memory, now: float
) -> tuple[Decision, Memory]:
    """Take one decision at ``now`` (seconds) and give it with the memory for the next one."""
    if not memory.adopted and around.leased_level is not None:
        memory = _adopt(memory, around.leased_level, service, now)
    memory = _learned(verdict, around, memory, now)
    caps = tuple(collect_facts(service, verdict, around, memory, now))
    waits = tuple(collect_waits(service, verdict, memory, now))
    if waits:
        # It never lowers anything; one that holds nothing back any more is no reason for anything.
        here = memory.level
        waits = tuple(cap if cap.level >= here else replace(cap, level=here) for cap in waits)
        caps += tuple(cap for cap in waits if cap.level is not Level.PREFERRED)
    binding = min(caps, key=_level) if caps else _UNCAPPED
    level = binding.level

    transition = None
    if level is not memory.level:
        evidence = verdict.asked_at if binding.asked_at is None else binding.asked_at
        transition = Transition(
            service.name, memory.level, level, binding.reason, binding.detail, evidence, now
        )
        memory = replace(memory, level=level, level_began_at=now, changed_at=now)
    wake = [
        verdict.changes_at,
        believed_until(memory.serve, verdict.believe_for),
        believed_until(memory.healthy, verdict.believe_for),
    ]
    if caps:
        wake += [cap.ends_at for cap in caps]
    ahead = [at for at in wake if at is not None and at > now]
    decision = Decision(
        service=service.name,
        level=level,
        level_began_at=memory.level_began_at,
        cap=binding,
        caps=caps,
        verdict=verdict,
        wake_at=min(ahead) if ahead else None,
        transition=transition,
    )
    return decision, memory


_UNCAPPED = Cap(Level.PREFERRED, Reason.SERVING)


def _level(cap: Cap) -> Level:
    return cap.level


def _learned(verdict: Verdict, around: Context, memory: Memory, now: float) -> Memory:
    """Take over what is seen; the very same memory where nothing is new."""
    if around.vip_present is False:
        # Without its VIP it serves nobody, whatever HAProxy shows: a failure like any other.
        serve = update(memory.serve, value=False, now=now)
    else:
        serve = update_from_finding(memory.serve, verdict.serve, verdict.believe_for, now)
    healthy = update_from_finding(memory.healthy, verdict.healthy, verdict.believe_for, now)
    sessions = update(memory.sessions, around.session_up, now)
    planned = memory.maintenance
    if verdict.maintenance is None:
        planned = update(planned, value=False, now=now)
    elif verdict.maintenance.truth is not Truth.UNKNOWN:
        planned = update(planned, verdict.maintenance.truth is Truth.FALSE, now)
    returned = memory.returned_at if around.returned_at is None else around.returned_at
    if (
        serve is memory.serve
        and healthy is memory.healthy
        and sessions is memory.sessions
        and planned is memory.maintenance
        and returned == memory.returned_at
    ):
        return memory
    learned = replace(
        memory,
        serve=serve,
        healthy=healthy,
        sessions=sessions,
        maintenance=planned,
        returned_at=returned,
    )
    return _count_failure(memory, learned, now)


def _count_failure(before: Memory, after: Memory, now: float) -> Memory:
    planned = after.maintenance.value is True  # whoever works on the servers meant to
    stopped_serving = before.serve.value is True and after.serve.value is False and not planned
    lost_sessions = before.sessions.value is True and after.sessions.value is False
    if not (stopped_serving or lost_sessions):
        return after
    calm = before.failed_at is None or now - before.failed_at >= CALM
    return replace(after, failures=1 if calm else before.failures + 1, failed_at=now)


def _adopt(memory: Memory, held: Level, service: Service, now: float) -> Memory:
    """Begin at the level that the lease holds: the agent before us earned it moments ago."""
    memory = replace(memory, adopted=True, level=held, level_began_at=now)
    if held is Level.WITHDRAWN:
        # That it is not announced any more is a change, and at worst it has just happened.
        unseen = memory.announced or not memory.restored
        return replace(memory, changed_at=now) if unseen else memory
    if not memory.restored:
        # Whatever kept it below is not known any more: the longest waits that these may have been.
        if held is Level.STANDBY:
            memory = replace(memory, failures=1, failed_at=now)
        memory = replace(memory, changed_at=now)
    return replace(
        memory,
        serve=LastKnown(True, now - service.standby.after),
        healthy=LastKnown(True, now) if held is Level.PREFERRED else memory.healthy,
    )
