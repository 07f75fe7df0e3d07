"""The story of two appliances in each region: one fails, a zone, a region; and drains."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from anycastd.lab.network.lab import Lab
from anycastd.lab.network.outage import count_by_server
from anycastd.lab.network.topology import Site
from anycastd.lab.network.twins import NORTH, WEST, build_twins
from anycastd.lab.stories.report import StepReport
from anycastd.lab.stories.shared import read_levels, report_outage
from anycastd.lab.stories.steps import (
    GOOD_ANSWERS,
    Story,
    StoryStep,
    check_agents,
    check_best,
    check_lost,
    check_outage,
    count_requests,
    seconds_after,
    title_table,
    wait_requests_ended,
)

_SITES = (*NORTH, *WEST)
_ONE, _TWO = NORTH
_PREFERRED = ("preferred",) * len(_SITES)
_GATEWAY_TIME = 0.5  # seconds from a route server to a gateway's kernel, on a busy machine
_REFUSED = 4  # exit status of `anycastd drain`


def _settle(
    lab: Lab, step: StepReport, at: float, levels: Collection[str], sites: Collection[Site]
) -> float | None:
    """Wait until the agents report these levels and exactly these sites answer.

    Returns when the region's routers changed, or None; both times are of the monotonic clock, s.
    """
    step.acted_at = at
    told = ", ".join(f"{site.title} {level}" for site, level in zip(_SITES, levels, strict=True))
    lab.wait(told, lambda: read_levels(lab) == list(levels), 40, lab.describe)
    names = {site.name for site in sites}

    def answer() -> bool:
        last = sorted(lab.client.results(at), key=lambda each: each.number)[-4 * GOOD_ANSWERS :]
        return len(last) == 4 * GOOD_ANSWERS and {each.region for each in last if each.ok} == names

    lab.wait(f"answers from {' and '.join(sorted(names))} alone", answer, 30, lab.describe)
    wait_requests_ended(lab, at)
    (first, *_) = sites
    moved = _find_move(lab, at, sites)
    step.add_time(
        "moved",
        f"{lab.topology.find_node(first.neighbors[0])} sends to {' and '.join(sorted(names))}",
        seconds_after(at, moved),
    )
    step.add_table("after", title_table(lab), lab.read_table())
    check_best(lab, step, lab.read_table(), first)
    return moved


def _find_move(lab: Lab, at: float, sites: Collection[Site]) -> float | None:
    """Return when a route server of these sites' region had exactly their paths."""
    (first, *_) = sites
    hops = {site.address for site in sites}
    changes = lab.monitors[first.servers[0]].changes(at)
    return next((each.at for each in changes if set(each.next_hops) == hops), None)


def _baseline(lab: Lab, step: StepReport) -> None:
    lab.client.start()
    _settle(lab, step, time.monotonic(), _PREFERRED, NORTH)
    step.answers = count_by_server(lab.client.results(time.monotonic() - 1))
    check_agents(lab, step)


def _lose(
    lab: Lab, step: StepReport, at: float, levels: Collection[str], sites: Collection[Site]
) -> None:
    _settle(lab, step, at, levels, sites)
    report_outage(lab, step, at)
    check_agents(lab, step, *levels)
    check_outage(step)


def _kill_appliance(lab: Lab, step: StepReport) -> None:
    at = lab.faults.kill_haproxy(_ONE.name)
    _lose(lab, step, at, ("withdrawn", *_PREFERRED[1:]), (_TWO,))


def _return(lab: Lab, step: StepReport, at: float) -> None:
    moved = _settle(lab, step, at, _PREFERRED, NORTH)
    count_requests(lab, step, at)
    check_lost(lab, step, at, moved)


def _start_appliance(lab: Lab, step: StepReport) -> None:
    _return(lab, step, lab.faults.start_haproxy(_ONE.name))


def _cut_zone(lab: Lab, step: StepReport) -> None:
    """Cut one zone off: nothing of it answers, and only the hold time ends its sessions."""
    at = time.monotonic()
    for port in ("nva2", "web2"):
        lab.nodes.run("ne-vnet", "ip", "link", "set", "dev", port, "down")
    # The agents of the zone go on, unseen: only the others' levels can be waited for.
    tables = [lab.monitors[node] for node in _ONE.servers]
    lab.wait(
        "both route servers to drop the zone's path",
        lambda: all(table.next_hops() == (_ONE.address,) for table in tables),
        30,
        lab.describe,
    )
    step.acted_at = at
    dropped = time.monotonic()
    lab.wait_answers(_ONE, GOOD_ANSWERS, 20, dropped)
    wait_requests_ended(lab, dropped)
    report_outage(lab, step, at)
    step.add_table("after", title_table(lab), lab.read_table())
    late = [each for each in lab.client.results(at) if each.sent_at > dropped + _GATEWAY_TIME]
    meanwhile = [each for each in lab.client.results(at) if each.ok and each.ended_at < dropped]
    step.add_check(
        "the other zone answers all the time, and alone after the hold time",
        bool(meanwhile) and all(each.ok for each in late),
        f"{sum(step.answers.values())} good, {sum(step.failed.values())} failed",
    )


def _connect_zone(lab: Lab, step: StepReport) -> None:
    at = time.monotonic()
    for port in ("nva2", "web2"):
        lab.nodes.run("ne-vnet", "ip", "link", "set", "dev", port, "up")
    _return(lab, step, at)


def _kill_region(lab: Lab, step: StepReport) -> None:
    at = min(lab.faults.kill_web_servers(site.name) for site in NORTH)
    _lose(lab, step, at, ("withdrawn", "withdrawn", "preferred", "preferred"), WEST)


def _start_region(lab: Lab, step: StepReport) -> None:
    at = min(lab.faults.start_web_servers(site.name) for site in NORTH)
    _return(lab, step, at)


def _drain(site: Site) -> Callable[[Lab], tuple[int, str]]:
    def run(lab: Lab) -> tuple[int, str]:
        done = lab.appliances[site.name].run_command("drain", "--reason", "the story's work")
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return run


def _drain_one(lab: Lab, step: StepReport) -> None:
    at = time.monotonic()
    code, said = _drain(_ONE)(lab)
    step.add_check("the drain of ne-1 is accepted: its twin serves", code == 0, said)
    moved = _settle(lab, step, at, ("withdrawn", *_PREFERRED[1:]), (_TWO,))
    count_requests(lab, step, at)
    check_lost(lab, step, at, moved)


def _wait_withdrawn(lab: Lab, site: Site) -> None:
    place = _SITES.index(site)
    lab.wait(
        f"{site.title} to be withdrawn",
        lambda: read_levels(lab)[place] == "withdrawn",
        30,
        lab.describe,
    )


def _drain_all(lab: Lab, step: StepReport) -> None:
    """Drain one appliance after the other: the last one that serves stays."""
    at = time.monotonic()
    for site in (_TWO, WEST[0]):
        code, said = _drain(site)(lab)
        step.add_check(f"the drain of {site.title} is accepted", code == 0, said)
        _wait_withdrawn(lab, site)
    code, said = _drain(WEST[1])(lab)
    step.add_check("the drain of we-2 is refused: nobody else serves", code == _REFUSED, said)
    levels = ("withdrawn", "withdrawn", "withdrawn", "preferred")
    moved = _settle(lab, step, at, levels, (WEST[1],))
    count_requests(lab, step, at)
    step.add_check(
        "the last appliance answers",
        moved is not None,
        f"{sum(step.answers.values())} good, {sum(step.failed.values())} failed",
    )


def _undrain_all(lab: Lab, step: StepReport) -> None:
    at = time.monotonic()
    for site in (_ONE, _TWO, WEST[0]):
        done = lab.appliances[site.name].run_command("undrain")
        step.add_check(
            f"the drain of {site.title} is ended",
            done.returncode == 0,
            " ".join(done.stdout.split()),
        )
    _settle(lab, step, at, _PREFERRED, NORTH)
    count_requests(lab, step, at)


STORY = Story(
    (
        StoryStep("baseline", "Baseline: both appliances of North Europe answer", _baseline),
        StoryStep("appliance-killed", "HAProxy of ne-1 is killed", _kill_appliance),
        StoryStep("appliance-back", "HAProxy of ne-1 is started again", _start_appliance),
        StoryStep("zone-dead", "The zone of ne-2 is cut off", _cut_zone),
        StoryStep("zone-back", "The zone of ne-2 is back", _connect_zone),
        StoryStep("region-dead", "All web servers of North Europe are killed", _kill_region),
        StoryStep(
            "region-back", "The web servers of North Europe are started again", _start_region
        ),
        StoryStep("drained", "ne-1 is drained", _drain_one),
        StoryStep("all-drained", "The others are drained, one after the other", _drain_all),
        StoryStep("undrained", "All drains are ended", _undrain_all),
    ),
    "two regions, two appliances each: one fails, a zone, a region",
    build_twins(),
    short=(
        "baseline",
        "appliance-killed",
        "appliance-back",
        "region-dead",
        "region-back",
        "drained",
    ),
)
"""The story."""
