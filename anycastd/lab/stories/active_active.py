"""The active-active story: three machines share the VIP at equal paths, by ECMP at the router.

One loses its servers, one gets a maintenance file, and one dies without a word; each time the
others take over what it had.
"""

from __future__ import annotations

import time

from anycastd.lab.network.datacenter import build_topology, make_machine
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.table import paths_by_next_hop
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
    count_requests,
    summarize_requests,
    wait_requests_ended,
)

MAINTENANCE = "maintenance"
"""Name of the maintenance file, in the appliance's own directory."""
SITES = tuple(
    make_machine(
        letter,
        "active-active.yaml",
        proxied=True,
        edits={"checks.no-maintenance.file": f"{{directory}}/{MAINTENANCE}"},
    )
    for letter in "abc"
)
"""The three machines."""
_A, _B, _C = SITES
_HOLD_TIME = 9.0  # seconds, of the profile


def _baseline(lab: Lab, step: StepReport) -> None:
    rows = lab.wait_preferred()
    lab.client.start()
    wait_shared(lab, step, time.monotonic(), SITES)
    step.add_check(
        f"{lab.topology.observed_title} has equal paths to all machines",
        paths_by_next_hop(rows) == lab.expected_paths() and len({row.path for row in rows}) == 1,
        f"{len(rows)} routes",
    )
    check_agents(lab, step)


def _kill_servers(lab: Lab, step: StepReport) -> None:
    step.published = "10 s until the withdrawal (two checks), 15 s until traffic has moved"
    at = lab.faults.kill_web_servers(_A.name)
    lab.wait_levels(20, {_A.name: "withdrawn"})
    wait_shared(lab, step, at, (_B, _C))
    wait_requests_ended(lab, at)
    report_outage(lab, step, at)
    check_agents(lab, step, "withdrawn")
    check_outage(step)


def _return(lab: Lab, step: StepReport, at: float) -> None:
    lab.wait_preferred()
    wait_shared(lab, step, at, SITES)
    count_requests(lab, step, at)
    check_lost_shared(lab, step, at)


def _start_servers(lab: Lab, step: StepReport) -> None:
    _return(lab, step, lab.faults.start_web_servers(_A.name))


def _begin_maintenance(lab: Lab, step: StepReport) -> None:
    step.published = "up to 5 s (the file is looked for at each check), then a withdrawal"
    at = time.monotonic()
    find_own_file(lab, _B, MAINTENANCE).touch()
    lab.wait_levels(20, {_B.name: "degraded"})
    wait_shared(lab, step, at, (_A, _C))
    wait_requests_ended(lab, at)
    count_requests(lab, step, at)
    check_agents(lab, step, "preferred", "degraded")
    check_lost_shared(lab, step, at)


def _end_maintenance(lab: Lab, step: StepReport) -> None:
    at = time.monotonic()
    find_own_file(lab, _B, MAINTENANCE).unlink()
    _return(lab, step, at)


def _cut_host(lab: Lab, step: StepReport) -> None:
    step.published = "the hold time"
    at = time.monotonic()
    lab.nodes.run("rack", "ip", "link", "set", _C.host, "down")
    wait_shared(lab, step, at, (_A, _B), timeout=30)
    wait_requests_ended(lab, at)
    report_outage(lab, step, at)
    good, bad = sum(step.answers.values()), sum(step.failed.values())
    step.add_check(
        "until the hold time is over, the requests of one machine fail, and no others",
        0 < bad < good + bad and (step.outage or 0) < _HOLD_TIME + 3,
        summarize_requests(step),
    )


def _connect_host(lab: Lab, step: StepReport) -> None:
    at = time.monotonic()
    lab.nodes.run("rack", "ip", "link", "set", _C.host, "up")
    _return(lab, step, at)


STORY = Story(
    (
        StoryStep("baseline", "Baseline: three machines share the VIP", _baseline),
        StoryStep("servers-killed", "The web servers of A are killed", _kill_servers),
        StoryStep("servers-back", "The web servers of A are started again", _start_servers),
        StoryStep("maintenance", "B gets a maintenance file", _begin_maintenance),
        StoryStep("maintenance-over", "The maintenance file is removed", _end_maintenance),
        StoryStep("host-dead", "The link of C is cut: the machine is silent", _cut_host),
        StoryStep("host-back", "The link of C is back", _connect_host),
    ),
    "three machines share the VIP at equal paths (ECMP)",
    build_topology(SITES, "three machines behind one router, equal paths"),
    short=("baseline", "servers-killed", "servers-back", "maintenance", "maintenance-over"),
)
"""The story."""
