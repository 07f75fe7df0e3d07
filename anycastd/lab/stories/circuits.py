"""The story of two circuits: profiles/circuit.yaml where the far side prefers one by a weight.

A longer path moves nobody there, so the route goes where it would else become longer.
"""

from __future__ import annotations

import math
import time

from anycastd.lab.network import adapt
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.topology import PRIMARY, REGIONS, SECONDARY
from anycastd.lab.stories.report import StepReport, format_seconds
from anycastd.lab.stories.steps import (
    Story,
    StoryStep,
    baseline,
    check_lost,
    check_outage,
    check_rule,
    recover,
    run_command,
    wait_moved,
)

_HERE = PRIMARY.title
_DEAD = f"{PRIMARY.short}-web1"


def _less(lab: Lab, step: StepReport) -> None:
    at = lab.faults.kill_web_servers(PRIMARY.name, _DEAD)
    wait_moved(lab, step, at, SECONDARY, "withdrawn", "preferred")
    check_rule(lab, step, "backend web has at least 60 % usable")
    check_outage(step)


def _drain(lab: Lab, step: StepReport) -> None:
    at = time.monotonic()
    done = lab.primary.run_command("drain", "--reason", "the story's maintenance")
    switched = wait_moved(lab, step, at, SECONDARY, "withdrawn", "preferred")
    step.check("the command is accepted", done.returncode == 0, done.stderr.strip() or "it is")
    took = (switched or math.inf) - at
    step.check(
        "it is not waited with a longer path",
        took < adapt.DRAIN_TIMES["wait"] / 2,
        format_seconds(took),
    )
    check_lost(lab, step, at, switched)


_ACTS = (
    StoryStep(
        "baseline", "Baseline: both regions announce, the edge prefers one by a weight", baseline
    ),
    StoryStep("less", f"One of {_HERE}'s two web servers is killed", _less),
    StoryStep(
        "servers-back",
        "It is started again",
        lambda lab, step: recover(
            lab, step, lambda lab: lab.faults.start_web_servers(PRIMARY.name)
        ),
    ),
    StoryStep("drained", f"{_HERE} is drained: there is no longer path, it is withdrawn", _drain),
    StoryStep(
        "undrained",
        "`anycastd undrain`",
        lambda lab, step: recover(lab, step, lambda lab: run_command(lab, "undrain")),
    ),
)
STORY = Story(_ACTS, profiles={region.name: "circuit.yaml" for region in REGIONS}, weights=True)
"""The story, step by step."""
