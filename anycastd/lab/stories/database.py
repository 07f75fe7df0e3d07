"""The database story: three read replicas; reads go to those that are close to the primary.

A web server stands for each replica, and a file for what its query would say of its lag.
"""

from __future__ import annotations

import time

from anycastd.lab.network.datacenter import build_topology, make_machine
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.topology import VIP, Site
from anycastd.lab.stories.report import StepReport
from anycastd.lab.stories.shared import (
    check_lost_shared,
    find_own_file,
    report_outage,
    wait_shared,
)
from anycastd.lab.stories.steps import (
    Story,
    StoryStep,
    check_agents,
    check_outage,
    check_rule,
    count_requests,
    wait_requests_ended,
)

_LAG = "lag"
_EDITS = {
    "checks.database.tcp": f'"{VIP}:80"',
    **{
        f"checks.{name}.command": f'["{{examples}}/checks/check-lag", "{limit}", /bin/cat, '
        f'"{{directory}}/{_LAG}"]'
        for name, limit in (("close", 10), ("usable", 300))
    },
}
SITES = tuple(
    make_machine(letter, "database.yaml", proxied=False, edits=_EDITS) for letter in "abc"
)
"""The three replicas."""
_A, _B, _C = SITES


def _set_lag(lab: Lab, sites: tuple[Site, ...], seconds: float) -> float:
    """Set the lag of replicas; returns the time of the monotonic clock just before, in seconds."""
    now = time.monotonic()
    for site in sites:
        file = find_own_file(lab, site, _LAG)
        new = file.with_suffix(".new")
        new.write_text(f"{seconds:g}\n", encoding="ascii")
        new.replace(file)
    return now


def _baseline(lab: Lab, step: StepReport) -> None:
    _set_lag(lab, SITES, 0.2)
    lab.wait_preferred()
    lab.client.start()
    wait_shared(lab, step, time.monotonic(), SITES)
    check_agents(lab, step)


def _lag_behind(lab: Lab, step: StepReport) -> None:
    step.published = "up to 10 s until the lag is looked at, then a withdrawal"
    at = _set_lag(lab, (_A,), 42)
    lab.wait_levels(20, {_A.name: "degraded"})
    wait_shared(lab, step, at, (_B, _C))
    wait_requests_ended(lab, at)
    count_requests(lab, step, at)
    check_agents(lab, step, "degraded")
    check_rule(lab, step, "check close passes")
    check_lost_shared(lab, step, at)


def _all_behind(lab: Lab, step: StepReport) -> None:
    step.published = "all withdraw: no reads at all"
    at = _set_lag(lab, SITES, 42)
    lab.wait_levels(20, {site.name: "degraded" for site in SITES})
    wait_shared(lab, step, at, SITES)
    wait_requests_ended(lab, at)
    count_requests(lab, step, at)
    check_agents(lab, step, "degraded", "degraded", "degraded")
    check_lost_shared(lab, step, at)


def _catch_up(lab: Lab, step: StepReport) -> None:
    at = _set_lag(lab, SITES, 0.3)
    lab.wait_preferred()
    wait_shared(lab, step, at, SITES)
    count_requests(lab, step, at)
    check_agents(lab, step)
    check_lost_shared(lab, step, at)


def _kill_replica(lab: Lab, step: StepReport) -> None:
    step.published = "up to 10 s until it is looked at"
    at = lab.faults.kill_web_servers(_B.name)
    lab.wait_levels(20, {_B.name: "withdrawn"})
    wait_shared(lab, step, at, (_A, _C))
    wait_requests_ended(lab, at)
    report_outage(lab, step, at)
    check_agents(lab, step, "preferred", "withdrawn")
    check_outage(step)


def _start_replica(lab: Lab, step: StepReport) -> None:
    at = lab.faults.start_web_servers(_B.name)
    lab.wait_preferred()
    wait_shared(lab, step, at, SITES)
    count_requests(lab, step, at)
    check_lost_shared(lab, step, at)


STORY = Story(
    (
        StoryStep("baseline", "Baseline: three replicas share the reads", _baseline),
        StoryStep("behind", "Replica A is 42 s behind", _lag_behind),
        StoryStep("all-behind", "All replicas are 42 s behind", _all_behind),
        StoryStep("caught-up", "All replicas have caught up", _catch_up),
        StoryStep("replica-killed", "Replica B is killed", _kill_replica),
        StoryStep("replica-back", "Replica B is started again", _start_replica),
    ),
    "read replicas: reads go to those near the primary database",
    build_topology(SITES, "three read replicas behind one router, equal paths"),
    notes={"replicas": "a web server stands for each, a file for what it says of its lag"},
    short=("baseline", "behind", "all-behind", "caught-up"),
)
"""The story."""
