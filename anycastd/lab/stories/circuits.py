"""The story of two circuits: profiles/circuit.yaml where the far side prefers one by a weight.

A longer path moves nobody there, so the route goes where it would else become longer.
"""

from __future__ import annotations

import math
import time

from anycastd.lab.network import adapt
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.topology import PRIMARY, REGIONS, SECONDARY
from anycastd.lab.stories.report import Step, span
from anycastd.lab.stories.steps import (
    Act,
    Story,
    baseline,
    check_lost,
    check_outage,
    check_rule,
    come_back,
    moved,
    say,
)

_HERE = PRIMARY.title
_DEAD = f"{PRIMARY.short}-web1"


def _less(lab: Lab, step: Step) -> None:
    at = lab.faults.kill_backends(PRIMARY.name, _DEAD)
    moved(lab, step, at, SECONDARY, "withdrawn", "preferred")
    check_rule(lab, step, "backend web has at least 60 % usable")
    check_outage(step)


def _drain(lab: Lab, step: Step) -> None:
    at = time.monotonic()
    done = lab.primary.command("drain", "--reason", "the story's maintenance")
    switched = moved(lab, step, at, SECONDARY, "withdrawn", "preferred")
    step.check("the command is accepted", done.returncode == 0, done.stderr.strip() or "it is")
    took = (switched or math.inf) - at
    step.check("it is not waited with a longer path", took < adapt.DRAIN["wait"] / 2, span(took))
    check_lost(lab, step, at, switched)


_ACTS = (
    Act("baseline", "Baseline: both regions announce, the edge prefers one by a weight", baseline),
    Act("less", f"One of {_HERE}'s two web servers is killed", _less),
    Act(
        "servers-back",
        "It is started again",
        lambda lab, step: come_back(lab, step, lambda lab: lab.faults.start_backends(PRIMARY.name)),
    ),
    Act("drained", f"{_HERE} is drained: there is no longer path, it is withdrawn", _drain),
    Act(
        "undrained",
        "`anycastd undrain`",
        lambda lab, step: come_back(lab, step, lambda lab: say(lab, "undrain")),
    ),
)
STORY = Story(_ACTS, profiles={region.name: "circuit.yaml" for region in REGIONS}, weights=True)
"""The story, step by step."""
