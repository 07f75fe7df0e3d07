"""The story of a region that steps back by degrees: profiles/graded.yaml against the other region.

Each rule of the profile is broken and mended once; see docs/policy.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from anycastd.lab.network import adapt
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.topology import PRIMARY, SECONDARY
from anycastd.lab.stories.report import Step
from anycastd.lab.stories.steps import (
    ENOUGH,
    TABLE,
    Act,
    Story,
    baseline,
    check_agents,
    check_best,
    check_lost,
    check_outage,
    check_rule,
    come_back,
    count,
    moved,
    say,
)

_CROWD = adapt.SESSIONS + 20
_WEIGHT = "of its weight usable"
_LIMIT = "fewer than"
_PAGE = "status 503"


def degrade(
    lab: Lab, step: Step, fault: Callable[[Lab], float], rule: str, *, loses: bool = False
) -> None:
    """Break a rule of `healthy`: the other region takes over, before a request is lost."""
    at = fault(lab)
    switched = moved(lab, step, at, SECONDARY, "degraded", "preferred")
    check_rule(lab, step, rule)
    if not loses:
        check_lost(lab, step, at, switched)


def _tell(command: str) -> Callable[[Lab], float]:
    """Say something to the first region's HAProxy, as an operator does."""

    def told(lab: Lab) -> float:
        now = time.monotonic()
        lab.primary.tell_haproxy(command.format(map=adapt.maintenance_map(lab.primary.socket)))
        return now

    return told


def _start_all(lab: Lab) -> float:
    now = time.monotonic()
    for region in lab.regions:
        lab.faults.start_backends(region)
    return now


def _one_server_dead(lab: Lab, step: Step) -> None:
    name = f"{PRIMARY.short}-web1"

    def kill(lab: Lab) -> float:
        return lab.faults.kill_backends(PRIMARY.name, name)

    # A request that meets the dead server may wait longer than this client does (haproxy.cfg).
    degrade(lab, step, kill, _WEIGHT, loses=True)
    check_outage(step)


def _nobody_better(lab: Lab, step: Step) -> None:
    at = lab.faults.kill_backends(SECONDARY.name)
    moved(lab, step, at, PRIMARY, "degraded", "standby")
    check_outage(step)


def _maintenance(lab: Lab, step: Step) -> None:
    at = _tell("add map {map} web on")(lab)
    moved(lab, step, at, SECONDARY, "standby", "preferred")
    check_rule(lab, step, "maintenance.map has no web")
    check_outage(step)


def _nobody_serves(lab: Lab, step: Step) -> None:
    """Both regions lose what they have: HAProxy's 503 page is better than no answer."""
    at = lab.faults.kill_backends(SECONDARY.name)
    lab.faults.kill_backends(PRIMARY.name)
    rows = lab.wait_levels(20, {PRIMARY.name: "withdrawn", SECONDARY.name: "standby"})

    def pages() -> bool:
        last = lab.client.answers(at)[-ENOUGH:]
        return len(last) == ENOUGH and all(answer.why == _PAGE for answer in last)

    lab.wait("the client to see the 503 page, each time", pages, 20, lab.explain)
    step.table("after", TABLE, rows)
    count(lab, step, at)
    check_best(step, rows, SECONDARY)
    check_agents(lab, step, "withdrawn", "standby")
    last = {answer.why or "a good answer" for answer in lab.client.answers(at)[-ENOUGH:]}
    step.check(
        f"the client sees {SECONDARY.title}'s 503 page, and waits for nothing",
        last == {_PAGE},
        ", ".join(last),
    )


def _waits_for_a_word(lab: Lab, step: Step) -> None:
    at = _start_all(lab)
    moved(lab, step, at, SECONDARY, "standby", "preferred", within=40)
    said = lab.primary.explanation()
    step.check(
        "`anycastd explain` says that it waits for a person, and that nothing else comes",
        said.get("reason", {}).get("name") == "manual" and said.get("next") == [],
        f"{said.get('reason', {}).get('sentence')}; next: {said.get('next')}",
    )


_HERE = PRIMARY.title
_ACTS = (
    Act("baseline", "Baseline: both regions announce", baseline),
    Act(
        "weight-low",
        f"One of {_HERE}'s servers gets a tenth of its weight",
        lambda lab, step: degrade(lab, step, _tell("set weight web/web1 10%"), _WEIGHT),
    ),
    Act(
        "weight-back",
        "It has its weight back",
        lambda lab, step: come_back(lab, step, _tell("set weight web/web1 100%")),
    ),
    Act(
        "crowd",
        f"{_CROWD} clients connect to {_HERE} and stay",
        lambda lab, step: degrade(lab, step, lambda lab: lab.faults.crowd(_CROWD), _LIMIT),
    ),
    Act(
        "crowd-gone",
        "They are gone",
        lambda lab, step: come_back(lab, step, lambda lab: lab.faults.disperse()),
    ),
    Act(
        "hung",
        f"{_HERE}'s web servers hang: HAProxy still has them as up, the self-test does not",
        lambda lab, step: degrade(
            lab,
            step,
            lambda lab: lab.faults.freeze_backends(PRIMARY.name),
            "VIP answers",
            loses=True,
        ),
    ),
    Act(
        "hung-no-more",
        "They go on",
        lambda lab, step: come_back(lab, step, lambda lab: lab.faults.thaw_backends(PRIMARY.name)),
    ),
    Act("maintenance", f"Maintenance: an entry in the map of {_HERE}'s HAProxy", _maintenance),
    Act(
        "maintenance-over",
        "The entry is taken away",
        lambda lab, step: come_back(lab, step, _tell("del map {map} web")),
    ),
    Act("one-server-dead", f"One of {_HERE}'s web servers is killed", _one_server_dead),
    Act("nobody-better", f"And all of {SECONDARY.title}'s: the one left serves on", _nobody_better),
    Act(
        "servers-back",
        "All web servers are started again",
        lambda lab, step: come_back(lab, step, _start_all),
    ),
    Act("nobody-serves", "All web servers of both regions are killed", _nobody_serves),
    Act(
        "waits-for-a-word", f"They are started again; {_HERE} waits for a person", _waits_for_a_word
    ),
    Act(
        "returned",
        "`anycastd return`",
        lambda lab, step: come_back(lab, step, lambda lab: say(lab, "return")),
    ),
)
STORY = Story(_ACTS, profiles={PRIMARY.name: "graded.yaml"})
"""The story, step by step."""
