"""The parts that the stories of the lab share: steps, waits and checks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from anycastd.lab.network.lab import Lab, TimedOutError, paths_by_next_hop
from anycastd.lab.network.namespaces import LabError
from anycastd.lab.network.outage import RequestResult, count_by_server
from anycastd.lab.network.routers import TableRow
from anycastd.lab.network.topology import PRIMARY, SECONDARY, Region, find_node
from anycastd.lab.stories.report import StepReport, format_seconds

GOOD_ANSWERS = 50
"""Good answers in a row after which a region counts as serving; they take half a second."""
MAX_OUTAGE = 3.0
"""Longest outage (s) that a story accepts; it is no measurement, tests/bench measures."""
TABLE = "the MSEE's routes to the VIP"
"""Title of a table."""
_CLOCK_TOLERANCE = 0.005  # seconds between the kernel's time stamps and the client's


class StoryStep(NamedTuple):
    """One step of a story: its name for programs, its title, and the function that plays it."""

    name: str
    title: str
    play: Callable[[Lab, StepReport], None]


@dataclass(frozen=True, slots=True)
class Story:
    """A story: its steps in order, and what its network needs.

    ``profiles`` (region name -> shipped profile) replace the usual ones; ``weights`` as in
    ``LabSettings``.
    """

    steps: tuple[StoryStep, ...]
    profiles: Mapping[str, str] = field(default_factory=dict)
    weights: bool = False


def play_story(
    lab: Lab,
    steps: Sequence[StoryStep],
    on_begin: Callable[[str], None],
    on_end: Callable[[StepReport], None],
) -> list[StepReport]:
    """Play the steps of a story and return their reports.

    ``on_begin`` is called with the title before each step, ``on_end`` with the report after it.
    The story ends early at the first step that fails; a wait that times out is a failure.  Raises
    LabError where a fault cannot be caused, and OSError where a router does not answer.
    """
    reports: list[StepReport] = []
    lab.client.start()
    for step in steps:
        report = StepReport(step.name, step.title)
        on_begin(f"{len(reports) + 1}. {step.title}")
        try:
            step.play(lab, report)
        except TimedOutError as error:
            report.add_check("every wait ends in time", passed=False, saw=str(error))
        reports.append(report)
        on_end(report)
        if not report.passed:
            break
    lab.client.stop()
    return reports


def baseline(lab: Lab, step: StepReport) -> None:
    """Wait until both regions are preferred, restart the client and check the initial state.

    Raises TimedOutError where they do not become preferred.
    """
    rows = lab.wait_preferred()
    lab.wait_answers(PRIMARY, GOOD_ANSWERS, 20)
    lab.client.start()
    lab.wait_answers(PRIMARY, 2 * GOOD_ANSWERS, 20)
    step.add_table("baseline", TABLE, rows)
    count_requests(lab, step, 0.0)
    step.add_check(
        "the MSEE has both regions' routes from all gateways, with the profiles' paths",
        paths_by_next_hop(rows) == lab.expected_paths(),
        f"{len(rows)} routes",
    )
    check_best(step, rows, PRIMARY)
    check_agents(lab, step, "preferred")
    ups = {
        f"{region} {server}": status
        for region, nva in lab.regions.items()
        for servers in nva.server_states().values()
        for server, status in servers.items()
    }
    step.add_check(
        "in both regions HAProxy reports its web servers as up",
        len(ups) == sum(len(nva.web_servers) for nva in lab.regions.values())
        and all(status == "UP" for status in ups.values()),
        ", ".join(f"{name} {status}" for name, status in ups.items()),
    )
    servers = {name.split()[-1] for name in step.answers}
    step.add_check(
        f"every answer comes from {PRIMARY.title}, from both its web servers",
        not step.failed and servers == set(lab.primary.web_servers),
        summarize_requests(step),
    )


def wait_moved(
    lab: Lab, step: StepReport, at: float, region: Region, *levels: str, timeout: float = 20
) -> float | None:
    """Wait until the regions have these levels (in the lab's order) and one of them serves.

    ``at`` is the time of the fault.  Returns when the MSEE switched to that region, or None; both
    are times of the monotonic clock, in seconds.

    Raises TimedOutError after ``timeout`` seconds, ValueError without a level for each region.
    """
    step.acted_at = at
    both = dict(zip(lab.regions, levels, strict=True))
    rows = lab.wait_levels(timeout, both)
    lab.wait_answers(region, GOOD_ANSWERS, 20, at)
    wait_requests_ended(lab, at)
    switched = lab.monitors["msee"].moved_at(at, *region.gateways)
    step.add_time("switched", f"the MSEE sends to {region.title}", seconds_after(at, switched))
    step.add_table("after", TABLE, rows)
    outage = lab.client.outage(at)
    if outage:
        step.outage = outage.seconds
        step.add_time("outage", "outage, as the client sees it", outage.seconds)
    count_requests(lab, step, at)
    check_best(step, rows, region)
    check_agents(lab, step, *levels)
    return switched


def recover(lab: Lab, step: StepReport, repair: Callable[[Lab], float]) -> None:
    """Repair the fault and check that the region is preferred again without a lost request.

    ``repair`` returns when it acted (monotonic clock, s).  Raises TimedOutError after 40 s.
    """
    at = repair(lab)
    switched = wait_moved(lab, step, at, PRIMARY, "preferred", "preferred", timeout=40)
    check_lost(lab, step, at, switched)


def run_command(lab: Lab, command: str) -> float:
    """Run an `anycastd` command in the first region; raises LabError if it fails.

    Returns the time of the monotonic clock just before, in seconds.
    """
    now = time.monotonic()
    done = lab.primary.run_command(command)
    if done.returncode:
        raise LabError(f"`anycastd {command}` ended with {done.returncode}: {done.stderr.strip()}")
    return now


def wait_requests_ended(lab: Lab, at: float) -> None:
    """Wait until every request that a fault at this time may have affected has ended.

    ``at`` is a time of the monotonic clock, in seconds.  Raises TimedOutError after 5 s.
    """
    last_affected = max(at, time.monotonic() - lab.client.timeout) + lab.client.timeout

    def have_ended() -> bool:
        return any(result.sent_at > last_affected for result in lab.client.results(at))

    lab.wait("the last requests to end", have_ended, 5)


def seconds_after(at: float, moment: float | None) -> float | None:
    """Return the seconds from ``at`` to ``moment`` (both monotonic); None without ``moment``."""
    return None if moment is None else moment - at


def best_next_hop(rows: tuple[TableRow, ...]) -> str:
    """Return the next hop of a table's best route, or ``none``."""
    return next((row.next_hop for row in rows if row.best), "none")


def count_requests(lab: Lab, step: StepReport, since: float) -> None:
    """Count the requests by server and by failure, into the report.

    Those are counted that ended at ``since`` (monotonic clock, s) or later.
    """
    results = lab.client.results(since)
    step.answers = count_by_server(results)
    step.failed = dict(Counter(result.detail for result in results if not result.ok))


def summarize_requests(step: StepReport) -> str:
    """Return the numbers of good and failed requests as text."""
    good, bad = sum(step.answers.values()), sum(step.failed.values())
    return f"{good} good, {bad} failed"


def _was_open_at(result: RequestResult, moment: float | None) -> bool:
    """Return whether a request was under way at a time, within the tolerance of the clocks."""
    return (
        moment is not None
        and result.sent_at - _CLOCK_TOLERANCE <= moment <= result.ended_at + _CLOCK_TOLERANCE
    )


def check_best(step: StepReport, rows: tuple[TableRow, ...], region: Region) -> None:
    """Check that a table's best route is that of a region."""
    hop = best_next_hop(rows)
    step.add_check(
        f"the MSEE's best route is {region.title}'s",
        hop in region.gateways,
        f"best is {hop} {find_node(hop)}".rstrip(),
    )


def check_agents(lab: Lab, step: StepReport, level: str, other: str = "preferred") -> None:
    """Check that the agents report these levels, and add their reasons to the report."""
    levels = {}
    for region in (PRIMARY, SECONDARY):
        status = lab.status(region.name) or {}
        for service in status.get("services", {}).values():
            levels[region.name] = service["level"]
            step.agents[region.title] = f"{service['level']}: {service['reason']['sentence']}"
    step.add_check(
        f"the agents report {PRIMARY.title} {level} and {SECONDARY.title} {other}",
        levels == {PRIMARY.name: level, SECONDARY.name: other},
        ", ".join(levels.get(region.name, "no answer") for region in (PRIMARY, SECONDARY)),
    )


def check_lost(lab: Lab, step: StepReport, at: float, switched: float | None) -> None:
    """Check that no request failed since ``at``, except those open when the route moved.

    Anycast moves packets, not connections: a connection that is open when the route moves is reset
    (RFC 4786).  ``at`` and ``switched`` are times of the monotonic clock, in seconds.
    """
    results = lab.client.results(at)
    lost = [result for result in results if not result.ok and not _was_open_at(result, switched)]
    step.add_check(
        "no request fails, except one that was open when the route moved",
        not lost,
        summarize_requests(step),
    )


def check_outage(step: StepReport) -> None:
    """Check that the outage was shorter than ``MAX_OUTAGE`` seconds."""
    saw = format_seconds(step.outage) if step.outage else "none seen"
    step.add_check(
        f"the outage is shorter than {MAX_OUTAGE:g} s", (step.outage or 0) < MAX_OUTAGE, saw
    )


def check_rule(lab: Lab, step: StepReport, rule: str) -> None:
    """Check that `anycastd explain` shows a rule as false; ``rule`` is a part of its text."""
    rules = lab.primary.read_explain().get("rules", [])
    false = [f"{each['rule']}: {each['value']}" for each in rules if each["truth"] == "false"]
    step.add_check(
        "`anycastd explain` names the rule that is false",
        any(rule in each for each in false),
        "; ".join(false) or "no rule is false",
    )
