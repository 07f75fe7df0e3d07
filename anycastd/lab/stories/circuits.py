"""The story of two circuits: profiles/circuit.yaml, where a weight decides, not the path length.

A longer path moves no traffic there, so the route is withdrawn where it would become longer.
"""

from __future__ import annotations

import math
import time

from anycastd.lab.network import adapt
from anycastd.lab.network.azure import PRIMARY, REGIONS, SECONDARY, build_topology
from anycastd.lab.network.lab import Lab
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

_PRIMARY = PRIMARY.title
_WEB_SERVER = f"{PRIMARY.short}-web1"


def _one_server_dead(lab: Lab, step: StepReport) -> None:
    at = lab.faults.kill_web_servers(PRIMARY.name, _WEB_SERVER)
    wait_moved(lab, step, at, SECONDARY, "withdrawn", "preferred")
    check_rule(lab, step, "backend web has at least 60 % usable")
    check_outage(step)


def _drain(lab: Lab, step: StepReport) -> None:
    at = time.monotonic()
    done = lab.primary.run_command("drain", "--reason", "the story's maintenance")
    accepted_at = time.monotonic()
    switched = wait_moved(lab, step, at, SECONDARY, "withdrawn", "preferred")
    step.add_check(
        "the command is accepted", done.returncode == 0, done.stderr.strip() or "exit status 0"
    )
    took = (switched or math.inf) - at
    late = (switched or math.inf) - accepted_at
    step.add_check(
        "the route moves at once, without a wait at a longer path",
        late < adapt.DRAIN_TIMES["wait"] / 2,
        format_seconds(took),
    )
    check_lost(lab, step, at, switched)


_STEPS = (
    StoryStep(
        "baseline",
        f"Baseline: both regions announce the VIP, the MSEE prefers {_PRIMARY} by a weight",
        baseline,
    ),
    StoryStep("less", f"One of {_PRIMARY}'s two web servers is killed", _one_server_dead),
    StoryStep(
        "servers-back",
        "The web server is started again",
        lambda lab, step: recover(
            lab, step, lambda lab: lab.faults.start_web_servers(PRIMARY.name)
        ),
    ),
    StoryStep("drained", f"{_PRIMARY} is drained: its route is withdrawn at once", _drain),
    StoryStep(
        "undrained",
        "The drain is ended: `anycastd undrain`",
        lambda lab, step: recover(lab, step, lambda lab: run_command(lab, "undrain")),
    ),
)
STORY = Story(
    _STEPS,
    "two circuits: a weight decides, and prepends move nothing",
    build_topology(weights=True),
    profiles={region.name: "circuit.yaml" for region in REGIONS},
)
"""The story, step by step."""
