"""Choose the MED of a service by the step of a check (pure).

The check has a hysteresis of its own.  Here is what keeps the route quiet: between a change of the
MED and the last change of the route, in either direction, `return.spacing` has passed.  A change of
the MED delays nothing: no withdrawal and no change of level waits for it.  Where the level changes,
the MED changes with it at no cost, and while nothing is announced a change is no change.

While the step is not known, the last one counts for the check's `deadline`, and after that the
highest MED: the least attractive one (RFC 4271 section 9.1.2.2, c).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from anycastd.decision.memory import MedMemory, Memory
from anycastd.decision.next_hop import RouteChange
from anycastd.evidence.checks.evaluate import find_step
from anycastd.evidence.checks.observation import CheckObservation
from anycastd.profile.checks import Check
from anycastd.profile.model import Service
from anycastd.profile.route_choice import MedSteps
from anycastd.reasons import Reason


class MedChoice(NamedTuple):
    """The MED that is announced, and the one that the check asks for.

    ``detail`` is what the check found.  ``ends_at`` (own time): when the one that is asked for is
    announced, if nothing changes.  ``wake_at`` (own time) is when time alone may change the choice.
    """

    med: int
    wanted: int
    detail: str
    ends_at: float | None = None
    wake_at: float | None = None
    change: RouteChange | None = None


class MedContext(NamedTuple):
    """What a choice depends on, besides check and memory.

    ``quiet``: a route is announced, at the level of the pass before.  ``leased``: the MED of the
    leased routes, where it is to be adopted.  ``frozen_until`` is as in ``Context``.
    """

    quiet: bool
    leased: int | None = None
    frozen_until: float | None = None


def choose_med(
    service: Service,
    check: Check,
    observation: CheckObservation | None,
    context: MedContext,
    memory: Memory,
    now: float,
) -> tuple[MedChoice, Memory]:
    """Choose the MED of ``service``, which has ``med_steps``, at ``now`` (own time, seconds)."""
    steps, med = service.med_steps, memory.med
    if steps is None:
        raise ValueError(f"{service.name} has no MED by a check")
    if context.leased in steps.steps:  # in the pass that takes the leased routes over
        med = MedMemory(context.leased, med.changed_at if memory.restored else now)
    step = find_step(check, observation, now)
    if step is not None:
        if med.unknown_began_at is not None:
            med = replace(med, unknown_began_at=None)
    elif med.unknown_began_at is None:
        med = replace(med, unknown_began_at=now)
    wanted, known_until = _find_wanted(steps, check, observation, med, step, now)
    detail = _describe(check, observation, step)
    ends_at: float | None = None
    change: RouteChange | None = None
    before = med.announced
    if before is None or not context.quiet:
        med = med if wanted == before else replace(med, announced=wanted)
    elif wanted != before:
        times = [at for at in (memory.changed_at, med.changed_at) if at is not None]
        ends_at = max(times, default=now) + service.return_timers.spacing if times else now
        asked_at = now if observation is None else observation.asked_at
        old = context.frozen_until is not None and asked_at < context.frozen_until
        if now >= ends_at and not (old and wanted < before):
            med = replace(med, announced=wanted, changed_at=now)
            text = f"MED {before} -> {wanted}; {detail}"
            change, ends_at = RouteChange(Reason.MED_CHANGED, text, asked_at), None
    times = [at for at in (ends_at, known_until) if at is not None and at > now]
    announced = wanted if med.announced is None else med.announced
    choice = MedChoice(announced, wanted, detail, ends_at, min(times, default=None), change)
    return choice, memory if med is memory.med else replace(memory, med=med)


def _find_wanted(
    steps: MedSteps,
    check: Check,
    observation: CheckObservation | None,
    med: MedMemory,
    step: int | None,
    now: float,
) -> tuple[int, float | None]:
    """Return the MED that the check asks for, and when it is not known any more (own time)."""
    if step is not None:
        expires_at = None if observation is None else observation.asked_at + check.deadline
        return steps.steps[min(step, len(steps.steps) - 1)], expires_at
    highest = max(steps.steps)
    stale = observation is not None and observation.step is not None
    until = (med.unknown_began_at or 0.0) + check.deadline
    if med.announced is None or stale or now >= until:
        return highest, None
    return med.announced, until


def _describe(check: Check, observation: CheckObservation | None, step: int | None) -> str:
    if observation is None:
        return f"check {check.name} has no result yet"
    if step is None:
        return f"check {check.name} is not known: {observation.unseen or observation.detail}"
    return f"check {check.name} at step {step}: {observation.detail}"
