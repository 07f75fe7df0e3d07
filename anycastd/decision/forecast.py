"""What would happen next if nothing changed: the same pure core, run forward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, advance
from anycastd.decision.policy import Decision
from anycastd.profile.model import Profile

MAX_STEPS = 1000
"""Passes to run at most: far more than the few timers of a service can ask for."""


@dataclass(frozen=True, slots=True)
class ForecastStep:
    """From ``after`` seconds on, this is a service's decision."""

    after: float
    decision: Decision


def forecast(
    profile: Profile, memory: Mapping[str, Memory], inputs: Inputs, now: float, ahead: float
) -> dict[str, tuple[ForecastStep, ...]]:
    """Run the core ``ahead`` seconds forward from ``now`` on ever the same evidence.

    Gives for each service its decisions, the present one first, then one for each change of level.
    """
    stages: dict[str, list[ForecastStep]] = {name: [] for name in profile.services}
    at = now
    # As if they were taken over and over: never too old, so that only true timers wake a pass.
    others = {
        name: replace(other, asked_at=now + ahead) for name, other in inputs.region_reports.items()
    }
    inputs = replace(inputs, evidence=inputs.evidence.refreshed(now + ahead), region_reports=others)
    for _ in range(MAX_STEPS):
        step = advance(profile, memory, inputs, at)
        memory = step.memory
        inputs = replace(inputs, drains=step.drains)
        for name, decision in step.decisions.items():
            if not stages[name] or stages[name][-1].decision.level is not decision.level:
                stages[name].append(ForecastStep(at - now, decision))
        if step.wake_at is None or step.wake_at > now + ahead:
            break
        at = step.wake_at
    return {name: tuple(found) for name, found in stages.items()}
