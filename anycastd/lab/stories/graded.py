"""The story of a region that steps back by degrees: profiles/graded.yaml against the other region.

Each rule of the profile is broken and mended once; see docs/policy.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from anycastd.lab.network import adapt
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.topology import PRIMARY, SECONDARY
from anycastd.lab.stories.report import StepReport
from anycastd.lab.stories.steps import (
    GOOD_ANSWERS,
    TABLE,
    Story,
    StoryStep,
    baseline,
    check_agents,
    check_best,
    check_lost,
    check_outage,
    check_rule,
    count_requests,
    recover,
    run_command,
    wait_moved,
)

_CROWD = adapt.SESSION_LIMIT + 20
_WEIGHT = "of its weight usable"
_LIMIT = "fewer than"
_PAGE = "status 503"


def degrade(
    lab: Lab, step: StepReport, fault: Callable[[Lab], float], rule: str, *, loses: bool = False
) -> None:
    """Break a rule of `healthy`: the other region takes over, before a request is lost."""
    at = fault(lab)
    switched = wait_moved(lab, step, at, SECONDARY, "degraded", "preferred")
    check_rule(lab, step, rule)
    if not loses:
        check_lost(lab, step, at, switched)


def _send_to_haproxy(command: str) -> Callable[[Lab], float]:
    """Say something to the first region's HAProxy, as an operator does."""

    def told(lab: Lab) -> float:
        now = time.monotonic()
        lab.primary.send_to_haproxy(command.format(map=adapt.maintenance_map(lab.primary.socket)))
        return now

    return told


def _start_all(lab: Lab) -> float:
    now = time.monotonic()
    for region in lab.regions:
        lab.faults.start_web_servers(region)
    return now


def _one_server_dead(lab: Lab, step: StepReport) -> None:
    name = f"{PRIMARY.short}-web1"

    def kill(lab: Lab) -> float:
        return lab.faults.kill_web_servers(PRIMARY.name, name)

    # A request that meets the dead server may wait longer than this client does (haproxy.cfg).
    degrade(lab, step, kill, _WEIGHT, loses=True)
    check_outage(step)


def _nobody_better(lab: Lab, step: StepReport) -> None:
    at = lab.faults.kill_web_servers(SECONDARY.name)
    wait_moved(lab, step, at, PRIMARY, "degraded", "standby")
    check_outage(step)


def _maintenance(lab: Lab, step: StepReport) -> None:
    at = _send_to_haproxy("add map {map} web on")(lab)
    wait_moved(lab, step, at, SECONDARY, "standby", "preferred")
    check_rule(lab, step, "maintenance.map has no web")
    check_outage(step)


def _nobody_serves(lab: Lab, step: StepReport) -> None:
    """Both regions lose what they have: HAProxy's 503 page is better than no answer."""
    at = lab.faults.kill_web_servers(SECONDARY.name)
    lab.faults.kill_web_servers(PRIMARY.name)
    rows = lab.wait_levels(20, {PRIMARY.name: "withdrawn", SECONDARY.name: "standby"})

    def pages() -> bool:
        last = lab.client.results(at)[-GOOD_ANSWERS:]
        return len(last) == GOOD_ANSWERS and all(answer.detail == _PAGE for answer in last)

    lab.wait("the client to see the 503 page, each time", pages, 20, lab.describe)
    step.table("after", TABLE, rows)
    count_requests(lab, step, at)
    check_best(step, rows, SECONDARY)
    check_agents(lab, step, "withdrawn", "standby")
    last = {answer.detail or "a good answer" for answer in lab.client.results(at)[-GOOD_ANSWERS:]}
    step.check(
        f"the client sees {SECONDARY.title}'s 503 page, and waits for nothing",
        last == {_PAGE},
        ", ".join(last),
    )


def _waits_for_a_word(lab: Lab, step: StepReport) -> None:
    at = _start_all(lab)
    wait_moved(lab, step, at, SECONDARY, "standby", "preferred", timeout=40)
    said = lab.primary.read_explain()
    step.check(
        "`anycastd explain` says that it waits for a person, and that nothing else comes",
        said.get("reason", {}).get("name") == "manual" and said.get("next") == [],
        f"{said.get('reason', {}).get('sentence')}; next: {said.get('next')}",
    )


_HERE = PRIMARY.title
_ACTS = (
    StoryStep("baseline", "Baseline: both regions announce", baseline),
    StoryStep(
        "weight-low",
        f"One of {_HERE}'s servers gets a tenth of its weight",
        lambda lab, step: degrade(lab, step, _send_to_haproxy("set weight web/web1 10%"), _WEIGHT),
    ),
    StoryStep(
        "weight-back",
        "It has its weight back",
        lambda lab, step: recover(lab, step, _send_to_haproxy("set weight web/web1 100%")),
    ),
    StoryStep(
        "crowd",
        f"{_CROWD} clients connect to {_HERE} and stay",
        lambda lab, step: degrade(
            lab, step, lambda lab: lab.faults.connect_idle_clients(_CROWD), _LIMIT
        ),
    ),
    StoryStep(
        "crowd-gone",
        "They are gone",
        lambda lab, step: recover(lab, step, lambda lab: lab.faults.disconnect_idle_clients()),
    ),
    StoryStep(
        "hung",
        f"{_HERE}'s web servers hang: HAProxy still has them as up, the self-test does not",
        lambda lab, step: degrade(
            lab,
            step,
            lambda lab: lab.faults.freeze_web_servers(PRIMARY.name),
            "VIP answers",
            loses=True,
        ),
    ),
    StoryStep(
        "hung-no-more",
        "They go on",
        lambda lab, step: recover(lab, step, lambda lab: lab.faults.thaw_web_servers(PRIMARY.name)),
    ),
    StoryStep(
        "maintenance", f"Maintenance: an entry in the map of {_HERE}'s HAProxy", _maintenance
    ),
    StoryStep(
        "maintenance-over",
        "The entry is taken away",
        lambda lab, step: recover(lab, step, _send_to_haproxy("del map {map} web")),
    ),
    StoryStep("one-server-dead", f"One of {_HERE}'s web servers is killed", _one_server_dead),
    StoryStep(
        "nobody-better", f"And all of {SECONDARY.title}'s: the one left serves on", _nobody_better
    ),
    StoryStep(
        "servers-back",
        "All web servers are started again",
        lambda lab, step: recover(lab, step, _start_all),
    ),
    StoryStep("nobody-serves", "All web servers of both regions are killed", _nobody_serves),
    StoryStep(
        "waits-for-a-word", f"They are started again; {_HERE} waits for a person", _waits_for_a_word
    ),
    StoryStep(
        "returned",
        "`anycastd return`",
        lambda lab, step: recover(lab, step, lambda lab: run_command(lab, "return")),
    ),
)
STORY = Story(_ACTS, profiles={PRIMARY.name: "graded.yaml"})
"""The story, step by step."""
