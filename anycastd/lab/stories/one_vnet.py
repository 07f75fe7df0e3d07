"""The story of one VNet: two servers behind one pair of route servers.

It plays the demonstration of its write-up (a graceful stop, a recovery, `kill -9` of the speaker),
then what a speaker alone does not see, and equal paths.  The route table takes one change per
window, 30 s on Azure; `one-vnet` has a fifteenth of it, and timers to match.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from anycastd.lab.network.lab import Lab
from anycastd.lab.network.one_vnet import PRIMARY, SECONDARY, SITES, build_topology
from anycastd.lab.network.shipped_files import find_shipped
from anycastd.lab.network.table import paths_by_next_hop
from anycastd.lab.stories.report import StepReport
from anycastd.lab.stories.steps import (
    GOOD_ANSWERS,
    Story,
    StoryStep,
    baseline,
    check_agents,
    check_lost,
    check_outage,
    count_requests,
    recover,
    seconds_after,
    summarize_requests,
    title_table,
    wait_moved,
    wait_requests_ended,
)

WINDOW, SHORT_WINDOW = 30.0, 2.0
"""Seconds between two changes of the route table: Azure's, and that of the shorter story."""
SHORT_TIMERS = {"rise": 1, "hold_down": 2.5, "hold_down_max": 2.5, "spacing": 2.5}
"""Return timers of the shorter story, in seconds."""
_LAST = {PRIMARY.name: "withdrawn", SECONDARY.name: "preferred"}


def _wait_calm(lab: Lab, window: float) -> None:
    """Wait until the route table would take a change at once, as at an attempt of the write-up."""
    table = lab.monitors["sdn"]
    last = table.changes()[-1].at
    lab.wait("the end of the window", lambda: time.monotonic() > last + window, window + 5)


def _stop_speaker(lab: Lab, step: StepReport, window: float) -> None:
    step.published = "below 2 s; its other attempts below 5, 4 and 2 s"
    _wait_calm(lab, window)
    step.acted_at = at = lab.faults.stop_speaker(PRIMARY.name)
    rows = lab.wait_levels(20, _LAST)
    lab.wait_answers(SECONDARY, GOOD_ANSWERS, 20, at)
    wait_requests_ended(lab, at)
    moment = lab.monitors["sdn"].moved_at(at, *SECONDARY.next_hops)
    _report_move(lab, step, at, moment, SECONDARY.title)
    step.add_table("after", title_table(lab), rows)
    check_outage(step)


def _report_move(lab: Lab, step: StepReport, at: float, moment: float | None, title: str) -> None:
    step.add_time("switched", f"the route table sends to {title}", seconds_after(at, moment))
    outage = lab.client.outage(at)
    if outage:
        step.outage = outage.seconds
        step.add_time("outage", "outage, as the client sees it", outage.seconds)
    count_requests(lab, step, at)


def _start_speaker(lab: Lab, step: StepReport) -> None:
    step.published = "below 5 s; its other attempts below 1, 3 and 1 s"
    at = lab.faults.start_speaker(PRIMARY.name)

    def have_both() -> bool:
        tables = [paths_by_next_hop(lab.read_table(node)) for node in PRIMARY.servers]
        return all(PRIMARY.next_hops[0] in table for table in tables)

    lab.wait("the route servers to have Primary's route", have_both, 30, lab.describe)
    step.add_time("standby", "both route servers have its route again", time.monotonic() - at)
    recover(lab, step, lambda _: at, timeout=_longest(lab))


def _longest(lab: Lab) -> float:
    """Return how long a return may take, with the lab's timers, in seconds."""
    timers: Mapping[str, float] = lab.settings.return_timers or {"hold_down": 60, "spacing": 35}
    return timers["hold_down"] + 2 * timers["spacing"] + 30


def _kill_speaker(lab: Lab, step: StepReport, window: float) -> None:
    """Kill the speaker; it is back within the window, so the second change has to wait."""
    step.published = "below 2 s; its other attempts below 1, 1 and 2 s"
    _wait_calm(lab, window)
    step.acted_at = at = lab.faults.kill_speaker(PRIMARY.name)
    table = lab.monitors["sdn"]
    lab.wait("the route table to change", lambda: table.moved_at(at, *SECONDARY.next_hops), 20)
    lab.wait_answers(SECONDARY, GOOD_ANSWERS, 20, at)
    wait_requests_ended(lab, at)
    switched = table.moved_at(at, *SECONDARY.next_hops)
    _report_move(lab, step, at, switched, SECONDARY.title)
    check_outage(step)
    lab.wait_levels(_longest(lab))
    lab.wait(
        "the route table to change back",
        lambda: table.next_hops() == PRIMARY.next_hops,
        window + 10,
        lab.describe,
    )
    back = table.moved_at(switched or at, *PRIMARY.next_hops)
    lab.wait_answers(PRIMARY, GOOD_ANSWERS, 20, back or at)
    rows = lab.read_table()
    step.add_time("back", "the route table sends to Primary again", seconds_after(at, back))
    step.add_table("after", title_table(lab), rows)
    since = at + (step.outage or 0) + 2 * lab.client.timeout
    late = [each for each in lab.client.results(since) if not each.ok]
    step.add_check(
        "out and in within one window: after the move no request fails, except one that was open "
        "when the route moved back",
        all(back is not None and abs(each.ended_at - back) < 1 for each in late),
        f"{len(late)} failed",
    )
    check_agents(lab, step)


def _kill_web_servers(lab: Lab, step: StepReport, window: float) -> None:
    step.published = "the route stays, since the speaker lives"
    _wait_calm(lab, window)
    at = lab.faults.kill_web_servers(PRIMARY.name)
    wait_moved(lab, step, at, SECONDARY, "withdrawn", "preferred")
    check_outage(step)


def _make_equal(lab: Lab, step: StepReport) -> None:
    """Give the secondary the primary's prepends: both are reached, by ECMP."""
    step.published = "equal paths are shared between both servers"
    lab.secondary.write_profile(find_shipped(f"profiles/{PRIMARY.profile}"))
    step.acted_at = at = time.monotonic()
    done = lab.secondary.run_command("reload")
    step.add_check(
        "the reload is accepted",
        done.returncode == 0,
        done.stderr.strip() if done.returncode else "exit status 0",
    )
    hops = {hop for site in SITES for hop in site.next_hops}
    table = lab.monitors["sdn"]
    lab.wait(
        "both next hops in the route table",
        lambda: set(table.next_hops()) == hops,
        _longest(lab),
        lab.describe,
    )
    shared_at = time.monotonic()

    def answered() -> bool:
        results = lab.client.results(shared_at)
        return len(results) > 2 * GOOD_ANSWERS and {each.region for each in results} >= {
            site.name for site in SITES
        }

    lab.wait("answers from both servers", answered, 20, lab.describe)
    switched = table.moved_at(at, *SECONDARY.next_hops)
    step.add_time("shared", "the route table has both", seconds_after(at, switched))
    rows = lab.read_table()
    step.add_table("equal", title_table(lab), rows)
    count_requests(lab, step, shared_at)
    step.add_check(
        "both paths are equally long, and the route table uses both",
        len(set(paths_by_next_hop(rows).values())) == 1 and all(row.best for row in rows),
        ", ".join(table.next_hops()),
    )
    check_lost(lab, step, at, switched)


def _lose_one_of_two(lab: Lab, step: StepReport, window: float) -> None:
    _wait_calm(lab, window)
    step.acted_at = at = lab.faults.kill_haproxy(PRIMARY.name)
    lab.wait_answers(SECONDARY, GOOD_ANSWERS, 20, at)
    wait_requests_ended(lab, at)
    table = lab.monitors["sdn"]
    alone = next(
        (each.at for each in table.changes(at) if each.next_hops == SECONDARY.next_hops), None
    )
    _report_move(lab, step, at, alone, "Secondary alone")
    step.add_table("after", title_table(lab), lab.read_table())
    step.add_check(
        "the route table has the other server alone",
        table.next_hops() == SECONDARY.next_hops,
        ", ".join(table.next_hops()),
    )
    check_outage(step)
    step.add_check("the other server answers alone", bool(step.answers), summarize_requests(step))


def _build_steps(window: float) -> tuple[StoryStep, ...]:
    return (
        StoryStep("baseline", "Baseline: both servers announce the VIP", baseline),
        StoryStep(
            "speaker-stopped",
            "The speaker of Primary is stopped (the write-up's Ctrl-C)",
            lambda lab, step: _stop_speaker(lab, step, window),
        ),
        StoryStep("speaker-back", "The speaker is started again", _start_speaker),
        StoryStep(
            "speaker-killed",
            "The speaker of Primary is killed (`kill -9`), and systemd starts it again",
            lambda lab, step: _kill_speaker(lab, step, window),
        ),
        StoryStep(
            "backends-killed",
            "Both web servers of Primary are killed; the speaker lives",
            lambda lab, step: _kill_web_servers(lab, step, window),
        ),
        StoryStep(
            "backends-back",
            "The web servers are started again",
            lambda lab, step: recover(
                lab,
                step,
                lambda lab: lab.faults.start_web_servers(PRIMARY.name),
                timeout=_longest(lab),
            ),
        ),
        StoryStep("equal", "Secondary gets Primary's path: equal paths, `ecmp: true`", _make_equal),
        StoryStep(
            "one-of-two",
            "HAProxy of Primary is killed",
            lambda lab, step: _lose_one_of_two(lab, step, window),
        ),
    )


_SUMMARY = "two servers in one VNet behind one Azure Route Server"
_NOTES = {"write-up": "its figures are from Azure, in 2021, with ExaBGP alone"}
STORY = Story(
    _build_steps(SHORT_WINDOW),
    _SUMMARY,
    build_topology(SHORT_WINDOW),
    return_timers=SHORT_TIMERS,
    notes={**_NOTES, "window": f"{SHORT_WINDOW:g} s, where Azure has 30 s"},
    short=("baseline", "speaker-stopped", "speaker-back", "speaker-killed", "equal", "one-of-two"),
)
"""The story, with a short window."""
SLOW_STORY = Story(
    _build_steps(WINDOW),
    "the same with Azure's 30 s window and the shipped timers",
    build_topology(WINDOW),
    return_timers=None,
    drain_times=None,
    notes={**_NOTES, "window": f"{WINDOW:g} s, as reported of Azure"},
)
"""The story, with Azure's window and the timers of the profiles."""
