"""The watcher story: two watchers move a VIP between two web servers, by its next hop."""

from __future__ import annotations

import time

from anycastd.lab.network.faults import kill_processes
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.table import TableRow
from anycastd.lab.network.watchers import SITES, WEB, build_topology, make_web_server
from anycastd.lab.stories.report import StepReport
from anycastd.lab.stories.shared import read_levels, report_outage
from anycastd.lab.stories.steps import (
    GOOD_ANSWERS,
    Story,
    StoryStep,
    check_agents,
    check_lost,
    check_outage,
    count_requests,
    seconds_after,
    title_table,
    wait_requests_ended,
)

WINDOW = 2.0
"""Seconds between two changes of the route table, where Azure has 30."""
_TIMERS = {"rise": 1, "hold_down": 2.5, "hold_down_max": 2.5, "spacing": 2.5}
_WS1, _WS2 = WEB.values()


def _read_hops(rows: tuple[TableRow, ...]) -> dict[int, str]:
    """Return the length of a path -> its next hop."""
    return {len(row.path): row.next_hop for row in rows}


def _settle(
    lab: Lab, step: StepReport, at: float, server: str, hops: dict[int, str]
) -> float | None:
    """Wait until the watchers' routes are these, and one web server alone answers.

    ``hops``: length of a watcher's path -> its next hop.  Returns when the route table changed, or
    None; both times are of the monotonic clock, in seconds.
    """
    step.acted_at = at
    lab.wait_table("the watchers' routes", lambda rows: _read_hops(rows) == hops, 40)

    def answers() -> bool:
        last = sorted(lab.client.results(at), key=lambda each: each.number)[-GOOD_ANSWERS:]
        return len(last) == GOOD_ANSWERS and all(
            each.ok and each.server == server and each.sent_at > at for each in last
        )

    lab.wait(f"{GOOD_ANSWERS} good answers in a row from {server}", answers, 30, lab.describe)
    wait_requests_ended(lab, at)
    moved = lab.monitors["sdn"].moved_at(at, WEB[server])
    step.add_time("moved", f"the route table sends to {server}", seconds_after(at, moved))
    step.add_table("after", title_table(lab), lab.read_table())
    return moved


def _wait_calm(lab: Lab) -> None:
    """Wait until the route table would take a change at once, as at an attempt of the write-up."""
    last = lab.monitors["sdn"].changes()[-1].at
    lab.wait("the end of the window", lambda: time.monotonic() > last + WINDOW, WINDOW + 5)


def _check_replaced(lab: Lab, step: StepReport, at: float) -> None:
    """Check that no router was without a route: a change of the next hop replaces the route."""
    nodes = ("ars0", "ars1", "sdn")
    lost = [node for node in nodes if lab.monitors[node].lost_at(at) is not None]
    step.add_check(
        "the route is replaced, and not withdrawn first",
        not lost,
        f"lost at {', '.join(lost)}" if lost else "no router was without a route",
    )


def _baseline(lab: Lab, step: StepReport) -> None:
    lab.client.start()
    levels = ["preferred"] * len(SITES)
    lab.wait("both watchers preferred", lambda: read_levels(lab) == levels, 40, lab.describe)
    _settle(lab, step, time.monotonic(), "ws1", {1: _WS1, 3: _WS1})
    check_agents(lab, step)


def _kill_ws1(lab: Lab, step: StepReport) -> None:
    step.published = "0.9 to 5.4 s, by a command on the watcher"
    _wait_calm(lab)
    at = kill_processes([lab.programs["ws1"]])
    _settle(lab, step, at, "ws2", {1: _WS2, 3: _WS2})
    report_outage(lab, step, at)
    _check_replaced(lab, step, at)
    check_outage(step)
    check_agents(lab, step)


def _start_ws1(lab: Lab, step: StepReport) -> None:
    at = time.monotonic()
    server = make_web_server("ws1")
    lab.programs["ws1"] = lab.nodes.start(server.node, server.name, *server.argv)
    moved = _settle(lab, step, at, "ws1", {1: _WS1, 3: _WS1})
    count_requests(lab, step, at)
    _check_replaced(lab, step, at)
    check_lost(lab, step, at, moved)


def _stop_watcher(lab: Lab, step: StepReport) -> None:
    _wait_calm(lab)
    at = lab.faults.stop_speaker(SITES[0].name)
    moved = _settle(lab, step, at, "ws1", {3: _WS1})
    count_requests(lab, step, at)
    check_lost(lab, step, at, moved)


def _start_watcher(lab: Lab, step: StepReport) -> None:
    at = lab.faults.start_speaker(SITES[0].name)
    moved = _settle(lab, step, at, "ws1", {1: _WS1, 3: _WS1})
    count_requests(lab, step, at)
    check_lost(lab, step, at, moved)


def _kill_both(lab: Lab, step: StepReport) -> None:
    step.published = "not seen: the route stays"
    step.acted_at = at = kill_processes([lab.programs["ws1"], lab.programs["ws2"]])
    rows = lab.wait_table("no route", lambda rows: not rows, 20)
    step.add_table("after", title_table(lab), rows)
    lab.wait(
        "the watchers to report it",
        lambda: read_levels(lab) == ["withdrawn"] * len(SITES),
        20,
        lab.describe,
    )
    step.add_time("withdrawn", "both watchers have withdrawn", time.monotonic() - at)
    check_agents(lab, step, "withdrawn", "withdrawn")


STORY = Story(
    (
        StoryStep("baseline", "Baseline: both watchers announce ws1 as next hop", _baseline),
        StoryStep("ws1-killed", "The web server ws1 is killed", _kill_ws1),
        StoryStep("ws1-back", "The web server ws1 is started again", _start_ws1),
        StoryStep("watcher-stopped", "The speaker of watch1 is stopped", _stop_watcher),
        StoryStep("watcher-back", "The speaker of watch1 is started again", _start_watcher),
        StoryStep("both-killed", "Both web servers are killed", _kill_both),
    ),
    "watchers announce a VIP of other machines, by next hop",
    build_topology(WINDOW),
    return_timers=_TIMERS,
    notes={"window": f"{WINDOW:g} s, where Azure has 30 s"},
    short=("baseline", "ws1-killed", "ws1-back", "watcher-stopped"),
)
"""The story."""
