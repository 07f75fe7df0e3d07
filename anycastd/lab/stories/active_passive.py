"""The active-passive story: two machines with equal paths, of which the lower MED answers.

The service is asked by HTTP, without HAProxy.  It dies and returns, its machine gets a maintenance
file, and its machine's load grows until the other one is preferred.
"""

from __future__ import annotations

import os
import time

from anycastd.lab.network.datacenter import build_topology, make_machine
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.table import TableRow
from anycastd.lab.network.topology import VIP
from anycastd.lab.stories.report import StepReport
from anycastd.lab.stories.shared import find_own_file, report_outage, wait_shared
from anycastd.lab.stories.steps import (
    Story,
    StoryStep,
    check_agents,
    check_lost,
    check_outage,
    check_rule,
    count_requests,
    wait_requests_ended,
)

_MAINTENANCE = "maintenance"
_LOAD = "loadavg"
_EDITS = {
    "checks.app.http": f'"http://{VIP}/health"',
    "checks.no-maintenance.file": f"{{directory}}/{_MAINTENANCE}",
}
SITES = (
    make_machine("a", "active-passive-primary.yaml", proxied=False, edits=_EDITS),
    make_machine("b", "active-passive-secondary.yaml", proxied=False, edits=_EDITS),
)
"""Both machines."""
_A, _B = SITES


def _read_meds(rows: tuple[TableRow, ...]) -> dict[str, int | None]:
    return {row.next_hop: row.med for row in rows}


def _wait_med(lab: Lab, med: int) -> None:
    lab.wait_table(f"a MED of {med}", lambda rows: _read_meds(rows).get(_A.address) == med, 30)


def _set_load(lab: Lab, per_core: float) -> float:
    """Set the load average of the machines' system; returns the time just before (monotonic, s).

    All namespaces of the lab have one kernel, so a file takes the place of its own figures.
    """
    now = time.monotonic()
    load = per_core * len(os.sched_getaffinity(0))
    file = find_own_file(lab, _A, _LOAD)
    file.write_text(f"{load:.2f} {load:.2f} {load:.2f} 1/100 1\n", encoding="ascii")
    return now


def _baseline(lab: Lab, step: StepReport) -> None:
    _set_load(lab, 0.1)
    lab.nodes.run(_A.host, "mount", "--bind", str(find_own_file(lab, _A, _LOAD)), "/proc/loadavg")
    lab.wait_preferred()
    _wait_med(lab, 100)
    lab.client.start()
    wait_shared(lab, step, time.monotonic(), (_A,))
    _check_meds(lab, step, 100)
    check_agents(lab, step)


def _check_meds(lab: Lab, step: StepReport, med: int) -> None:
    found = _read_meds(lab.read_table())
    step.add_check(
        f"A is announced with MED {med}, B with 200",
        found == {_A.address: med, _B.address: 200},
        ", ".join(f"{hop} {number}" for hop, number in found.items()),
    )


def _kill_service(lab: Lab, step: StepReport) -> None:
    step.published = "10 s until the withdrawal (two checks), 15 s until traffic has moved"
    at = lab.faults.kill_web_servers(_A.name)
    lab.wait_levels(20, {_A.name: "withdrawn"})
    wait_shared(lab, step, at, (_B,))
    wait_requests_ended(lab, at)
    report_outage(lab, step, at)
    check_agents(lab, step, "withdrawn")
    check_rule(lab, step, "check app passes")
    check_outage(step)


def _return(lab: Lab, step: StepReport, at: float) -> None:
    lab.wait_preferred()
    moved = wait_shared(lab, step, at, (_A,))
    count_requests(lab, step, at)
    check_agents(lab, step)
    check_lost(lab, step, at, moved)


def _start_service(lab: Lab, step: StepReport) -> None:
    _return(lab, step, lab.faults.start_web_servers(_A.name))


def _begin_maintenance(lab: Lab, step: StepReport) -> None:
    step.published = "up to 5 s (the file is looked for at each check), then a withdrawal"
    at = time.monotonic()
    find_own_file(lab, _A, _MAINTENANCE).touch()
    lab.wait_levels(20, {_A.name: "degraded"})
    moved = wait_shared(lab, step, at, (_B,))
    wait_requests_ended(lab, at)
    count_requests(lab, step, at)
    check_agents(lab, step, "degraded")
    check_lost(lab, step, at, moved)


def _end_maintenance(lab: Lab, step: StepReport) -> None:
    at = time.monotonic()
    find_own_file(lab, _A, _MAINTENANCE).unlink()
    _return(lab, step, at)


def _load_grows(lab: Lab, step: StepReport) -> None:
    step.published = "up to 30 s (the load is looked at each 30 s)"
    at = _set_load(lab, 2.5)
    _wait_med(lab, 250)
    moved = wait_shared(lab, step, at, (_B,))
    wait_requests_ended(lab, at)
    count_requests(lab, step, at)
    _check_meds(lab, step, 250)
    check_agents(lab, step)
    check_lost(lab, step, at, moved)


def _load_falls(lab: Lab, step: StepReport) -> None:
    at = _set_load(lab, 0.1)
    _wait_med(lab, 100)
    moved = wait_shared(lab, step, at, (_A,))
    count_requests(lab, step, at)
    _check_meds(lab, step, 100)
    check_lost(lab, step, at, moved)


STORY = Story(
    (
        StoryStep("baseline", "Baseline: A answers, since its MED is lower", _baseline),
        StoryStep("service-killed", "The service of A is killed", _kill_service),
        StoryStep("service-back", "The service of A is started again", _start_service),
        StoryStep("maintenance", "A gets a maintenance file", _begin_maintenance),
        StoryStep("maintenance-over", "The maintenance file is removed", _end_maintenance),
        StoryStep("loaded", "The load of A grows to 2.5 per core", _load_grows),
        StoryStep("calm", "The load of A falls again", _load_falls),
    ),
    "two machines by MED and by load, without HAProxy",
    build_topology(SITES, "two machines behind one router, preferred by MED"),
    short=("baseline", "service-killed", "service-back", "loaded", "calm"),
)
"""The story."""
