"""The geographic story: each client is served by the region near it, until that region fails."""

from __future__ import annotations

import time
from collections.abc import Callable

from anycastd.lab.network.lab import Lab
from anycastd.lab.network.outage import count_by_server
from anycastd.lab.network.topology import Site
from anycastd.lab.network.two_sites import EDGE_LINK, SITES, build_topology
from anycastd.lab.stories.report import StepReport
from anycastd.lab.stories.shared import read_levels
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

_A, _B = SITES
_NEAR = {"client-a": _A, "client-b": _B}
_PUBLISHED = "5 to 15 s, until the routes have moved"


def _wait_levels(lab: Lab, *levels: str) -> None:
    """Wait until both regions' agents report these levels; raises TimedOutError after 30 s."""
    told = " and ".join(levels)
    lab.wait(f"the levels {told}", lambda: read_levels(lab) == list(levels), 30, lab.describe)


def _wait_answers(lab: Lab, client: str, site: Site, since: float) -> None:
    lab.wait_answers(site, GOOD_ANSWERS, 30, since, lab.clients[client])


def _check_client(lab: Lab, step: StepReport, client: str, site: Site, since: float) -> None:
    results = lab.clients[client].results(since)
    failed = sum(not each.ok for each in results)
    regions = {name.split()[0] for name in count_by_server(results)}
    step.add_check(
        f"{client} is answered by {site.title} alone, and loses nothing",
        regions == {site.name} and not failed,
        f"{len(results)} answers of {', '.join(sorted(regions))}, {failed} failed",
    )


def _baseline(lab: Lab, step: StepReport) -> None:
    _wait_levels(lab, "preferred", "preferred")
    began_at = time.monotonic()
    for client, site in _NEAR.items():
        _wait_answers(lab, client, site, began_at)
    step.add_table("baseline", title_table(lab), lab.read_table())
    step.add_table("baseline-b", "Region B's router's routes to the VIP", lab.read_table("edge-b"))
    for client, site in _NEAR.items():
        _check_client(lab, step, client, site, time.monotonic() - 0.4)
    check_agents(lab, step)


def _lose_region(lab: Lab, step: StepReport, fault: Callable[[str], float]) -> None:
    step.published = _PUBLISHED
    step.acted_at = at = fault(_A.name)
    _wait_levels(lab, "withdrawn", "preferred")
    _wait_answers(lab, "client-a", _B, at)
    wait_requests_ended(lab, at)
    switched = lab.monitors["edge-a"].moved_at(at, EDGE_LINK["b"])
    step.add_time("switched", "Region A's router sends to B", seconds_after(at, switched))
    outage = lab.client.outage(at)
    if outage:
        step.outage = outage.seconds
        step.add_time("outage", "outage, as the client near A sees it", outage.seconds)
    step.add_table("after", title_table(lab), lab.read_table())
    count_requests(lab, step, at)
    check_agents(lab, step, "withdrawn")
    check_outage(step)
    _check_client(lab, step, "client-b", _B, at)


def _recover_region(lab: Lab, step: StepReport, repair: Callable[[str], float]) -> None:
    step.acted_at = at = repair(_A.name)
    _wait_levels(lab, "preferred", "preferred")
    lab.wait(
        "Region A's router to send to A",
        lambda: lab.monitors["edge-a"].next_hops() == _A.next_hops,
        20,
        lab.describe,
    )
    _wait_answers(lab, "client-a", _A, time.monotonic())
    switched = lab.monitors["edge-a"].moved_at(at, *_A.next_hops)
    step.add_time("switched", "Region A's router sends to A again", seconds_after(at, switched))
    step.add_table("after", title_table(lab), lab.read_table())
    count_requests(lab, step, at)
    check_lost(lab, step, at, switched)
    _check_client(lab, step, "client-b", _B, at)


STORY = Story(
    (
        StoryStep("baseline", "Baseline: each client is served by the region near it", _baseline),
        StoryStep(
            "servers-killed",
            "The web servers of A are killed",
            lambda lab, step: _lose_region(lab, step, lab.faults.kill_web_servers),
        ),
        StoryStep(
            "servers-back",
            "The web servers of A are started again",
            lambda lab, step: _recover_region(lab, step, lab.faults.start_web_servers),
        ),
        StoryStep(
            "haproxy-killed",
            "HAProxy of A is killed",
            lambda lab, step: _lose_region(lab, step, lab.faults.kill_haproxy),
        ),
        StoryStep(
            "haproxy-back",
            "HAProxy of A is started again",
            lambda lab, step: _recover_region(lab, step, lab.faults.start_haproxy),
        ),
    ),
    "two regions at once: the nearest one answers",
    build_topology(),
    short=("baseline", "servers-killed", "servers-back"),
)
"""The story."""
