"""What happens next if nothing changes: the same passes, run forward in time (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, advance
from anycastd.decision.policy import Decision
from anycastd.profile.model import Profile

MAX_STEPS = 1000
"""Maximum number of passes: far more than the few timers of a service need."""


@dataclass(frozen=True, slots=True)
class ForecastStep:
    """The decision for a service from ``after`` seconds on."""

    after: float
    decision: Decision


def forecast_levels(
    profile: Profile, memory: Mapping[str, Memory], inputs: Inputs, now: float, ahead: float
) -> dict[str, tuple[ForecastStep, ...]]:
    """Run passes from ``now`` (own time) on for ``ahead`` seconds, always on the same evidence.

    Returns service name -> its present decision, then one for each change of level.  Raises
    KeyError where a rule names a HAProxy that the profile does not have.
    """
    steps: dict[str, list[ForecastStep]] = {name: [] for name in profile.services}
    at = now
    # Evidence never becomes too old here, so that only the policy's timers wake a pass.
    reports = {
        name: replace(report, asked_at=now + ahead)
        for name, report in inputs.region_reports.items()
    }
    inputs = replace(
        inputs, evidence=inputs.evidence.with_asked_at(now + ahead), region_reports=reports
    )
    for _ in range(MAX_STEPS):
        step = advance(profile, memory, inputs, at)
        memory = step.memory
        inputs = replace(inputs, drains=step.drains)
        for name, decision in step.decisions.items():
            if not steps[name] or steps[name][-1].decision.level is not decision.level:
                steps[name].append(ForecastStep(at - now, decision))
        if step.wake_at is None or step.wake_at > now + ahead:
            break
        at = step.wake_at
    return {name: tuple(found) for name, found in steps.items()}
