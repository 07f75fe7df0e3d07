"""The graded story: a region with profiles/graded.yaml gives traffic away step by step.

Each rule of the profile becomes false once, and true again; see docs/policy.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from anycastd.lab.network import adapt
from anycastd.lab.network.azure import PRIMARY, SECONDARY
from anycastd.lab.network.lab import Lab
from anycastd.lab.stories.report import StepReport
from anycastd.lab.stories.steps import (
    GOOD_ANSWERS,
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
    title_table,
    wait_moved,
)

_IDLE_CLIENTS = adapt.SESSION_LIMIT + 20
_WEIGHT_RULE = "of its weight usable"
_SESSION_RULE = "fewer than"
_ERROR_PAGE = "status 503"


def degrade(
    lab: Lab, step: StepReport, fault: Callable[[Lab], float], rule: str, *, loses: bool = False
) -> None:
    """Make a rule of `healthy` false and check that the other region takes over.

    ``fault`` breaks something and returns when (monotonic clock, s).  ``rule`` is a part of the
    rule's text.  Unless ``loses``, no request may be lost.  Raises TimedOutError where the other
    region does not take over.
    """
    at = fault(lab)
    switched = wait_moved(lab, step, at, SECONDARY, "degraded", "preferred")
    check_rule(lab, step, rule)
    if not loses:
        check_lost(lab, step, at, switched)


def _send_to_haproxy(command: str) -> Callable[[Lab], float]:
    """Return a fault that sends a command to the first region's HAProxy."""

    def send(lab: Lab) -> float:
        now = time.monotonic()
        lab.primary.send_to_haproxy(command.format(map=adapt.maintenance_map(lab.primary.socket)))
        return now

    return send


def _start_all(lab: Lab) -> float:
    now = time.monotonic()
    for region in lab.appliances:
        lab.faults.start_web_servers(region)
    return now


def _one_server_dead(lab: Lab, step: StepReport) -> None:
    name = f"{PRIMARY.short}-web1"

    def kill(lab: Lab) -> float:
        return lab.faults.kill_web_servers(PRIMARY.name, name)

    # A request that meets the dead server may wait longer than this client does (haproxy.cfg).
    degrade(lab, step, kill, _WEIGHT_RULE, loses=True)
    check_outage(step)


def _other_region_worse(lab: Lab, step: StepReport) -> None:
    at = lab.faults.kill_web_servers(SECONDARY.name)
    wait_moved(lab, step, at, PRIMARY, "degraded", "standby")
    check_outage(step)


def _maintenance(lab: Lab, step: StepReport) -> None:
    at = _send_to_haproxy("add map {map} web on")(lab)
    wait_moved(lab, step, at, SECONDARY, "standby", "preferred")
    check_rule(lab, step, "maintenance is off")
    check_outage(step)


def _no_region_serves(lab: Lab, step: StepReport) -> None:
    """Kill all web servers: the secondary stays announced, as a 503 page beats no answer."""
    step.acted_at = at = lab.faults.kill_web_servers(SECONDARY.name)
    lab.faults.kill_web_servers(PRIMARY.name)
    rows = lab.wait_levels(20, {PRIMARY.name: "withdrawn", SECONDARY.name: "standby"})

    def read_last() -> set[str]:
        # Requests that were sent before the route moved may still end with a time-out.
        last = sorted(lab.client.results(at), key=lambda each: each.number)[-GOOD_ANSWERS:]
        whole = len(last) == GOOD_ANSWERS
        return {result.detail or "a good answer" for result in last} if whole else set()

    lab.wait(
        "the client to get the 503 page each time",
        lambda: read_last() == {_ERROR_PAGE},
        20,
        lab.describe,
    )
    step.add_table("after", title_table(lab), rows)
    count_requests(lab, step, at)
    check_best(lab, step, rows, SECONDARY)
    check_agents(lab, step, "withdrawn", "standby")
    last = read_last()
    step.add_check(
        f"the client gets the 503 page of {SECONDARY.title} at once",
        last == {_ERROR_PAGE},
        ", ".join(last),
    )


def _waits_for_operator(lab: Lab, step: StepReport) -> None:
    at = _start_all(lab)
    wait_moved(lab, step, at, SECONDARY, "standby", "preferred", timeout=40)
    explanation = lab.primary.read_explain()
    step.add_check(
        "`anycastd explain` says that the region waits for an operator and for nothing else",
        explanation.get("reason", {}).get("name") == "manual" and explanation.get("next") == [],
        f"{explanation.get('reason', {}).get('sentence')}; next: {explanation.get('next')}",
    )


_PRIMARY = PRIMARY.title
_STEPS = (
    StoryStep("baseline", "Baseline: both regions announce the VIP", baseline),
    StoryStep(
        "weight-low",
        f"One of {_PRIMARY}'s servers gets a tenth of its weight",
        lambda lab, step: degrade(
            lab, step, _send_to_haproxy("set weight web/web1 10%"), _WEIGHT_RULE
        ),
    ),
    StoryStep(
        "weight-back",
        "The server gets its full weight again",
        lambda lab, step: recover(lab, step, _send_to_haproxy("set weight web/web1 100%")),
    ),
    StoryStep(
        "crowd",
        f"{_IDLE_CLIENTS} clients connect to {_PRIMARY} and stay",
        lambda lab, step: degrade(
            lab, step, lambda lab: lab.faults.connect_idle_clients(_IDLE_CLIENTS), _SESSION_RULE
        ),
    ),
    StoryStep(
        "crowd-gone",
        "The clients disconnect",
        lambda lab, step: recover(lab, step, lambda lab: lab.faults.disconnect_idle_clients()),
    ),
    StoryStep(
        "hung",
        f"{_PRIMARY}'s web servers hang: HAProxy still reports them as up, the self-test fails",
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
        "The web servers answer again",
        lambda lab, step: recover(lab, step, lambda lab: lab.faults.thaw_web_servers(PRIMARY.name)),
    ),
    StoryStep(
        "maintenance", f"Maintenance: an entry in the map of {_PRIMARY}'s HAProxy", _maintenance
    ),
    StoryStep(
        "maintenance-over",
        "The entry is removed",
        lambda lab, step: recover(lab, step, _send_to_haproxy("del map {map} web")),
    ),
    StoryStep("one-server-dead", f"One of {_PRIMARY}'s web servers is killed", _one_server_dead),
    StoryStep(
        "nobody-better",
        f"All web servers of {SECONDARY.title} are killed too: {_PRIMARY} serves with one",
        _other_region_worse,
    ),
    StoryStep(
        "servers-back",
        "All web servers are started again",
        lambda lab, step: recover(lab, step, _start_all),
    ),
    StoryStep("nobody-serves", "All web servers of both regions are killed", _no_region_serves),
    StoryStep(
        "waits-for-a-word",
        f"The web servers are started again; {_PRIMARY} waits for an operator",
        _waits_for_operator,
    ),
    StoryStep(
        "returned",
        "The operator lets it return: `anycastd return`",
        lambda lab, step: recover(lab, step, lambda lab: run_command(lab, "return")),
    ),
)
STORY = Story(
    _STEPS,
    "a region degrades step by step: weight, load, hung servers",
    profiles={PRIMARY.name: "graded.yaml"},
)
"""The story, step by step."""
