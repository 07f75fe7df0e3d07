"""What every story of the lab is told with: steps, waits, and checks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from anycastd.lab.network.lab import Lab, TimedOutError, paths_by_next_hop
from anycastd.lab.network.namespaces import LabError
from anycastd.lab.network.outage import RequestResult, count_by_server
from anycastd.lab.network.routers import Row
from anycastd.lab.network.topology import PRIMARY, SECONDARY, Region
from anycastd.lab.stories.report import StepReport, format_seconds

GOOD_ANSWERS = 50
"""So many good answers in a row, half a second of them, and the client is content."""
MAX_OUTAGE = 3.0
"""A story's own bound for an outage in seconds: this is a rehearsal, tests/bench measures."""
TABLE = "the MSEE's routes to the VIP"
_CLOCK_TOLERANCE = 0.005  # seconds between what the kernel stamps and what the client does


class StoryStep(NamedTuple):
    """A step to play: its name for programs, its title, and what is done in it."""

    name: str
    title: str
    play: Callable[[Lab, StepReport], None]


@dataclass(frozen=True, slots=True)
class Story:
    """Acts in their order; the profiles that differ, by region; ``weights`` at the MSEE."""

    acts: tuple[StoryStep, ...]
    profiles: Mapping[str, str] = field(default_factory=dict)
    weights: bool = False


def play_story(
    lab: Lab,
    acts: Sequence[StoryStep],
    begin: Callable[[str], None],
    done: Callable[[StepReport], None],
) -> list[StepReport]:
    """Play a story and return its steps.

    ``begin`` is called with the title before each step, ``done`` with each step.  A step in which
    something awaited did not happen fails and ends the story.
    """
    steps: list[StepReport] = []
    lab.client.start()
    for act in acts:
        step = StepReport(act.name, act.title)
        begin(f"{len(steps) + 1}. {act.title}")
        try:
            act.play(lab, step)
        except TimedOutError as late:
            step.check("what was awaited happened", passed=False, saw=str(late))
        steps.append(step)
        done(step)
        if not step.passed:
            break
    lab.client.stop()
    return steps


def baseline(lab: Lab, step: StepReport) -> None:
    """Wait until both regions are preferred, and begin to count anew."""
    rows = lab.wait_preferred()
    lab.wait_answers(PRIMARY, GOOD_ANSWERS, 20)
    lab.client.start()
    lab.wait_answers(PRIMARY, 2 * GOOD_ANSWERS, 20)
    step.table("baseline", TABLE, rows)
    count_requests(lab, step, 0.0)
    step.check(
        "the MSEE has both regions from both their gateways, at the profiles' paths",
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
    step.check(
        "HAProxy says in both regions that its web servers are up",
        len(ups) == sum(len(nva.web_servers) for nva in lab.regions.values())
        and all(status == "UP" for status in ups.values()),
        ", ".join(f"{name} {status}" for name, status in ups.items()),
    )
    servers = {words.split()[-1] for words in step.answers}
    step.check(
        f"every answer comes from {PRIMARY.title}, from both its web servers",
        not step.failed and servers == set(lab.primary.web_servers),
        summarize_requests(step),
    )


def wait_moved(
    lab: Lab, step: StepReport, at: float, region: Region, *levels: str, timeout: float = 20
) -> float | None:
    """Wait for both regions' ``levels``, and for the client to be at a region.

    Return when the MSEE switched to it.
    """
    both = dict(zip(lab.regions, levels, strict=True))
    rows = lab.wait_levels(timeout, both)
    lab.wait_answers(region, GOOD_ANSWERS, 20, at)
    wait_requests_ended(lab, at)
    switched = lab.monitors["msee"].moved_at(at, *region.gateways)
    step.time("switched", f"the MSEE sends to {region.title}", seconds_after(at, switched))
    step.table("after", TABLE, rows)
    outage = lab.client.outage(at)
    if outage:
        step.outage = outage.seconds
        step.time("outage", "outage, as the client sees it", outage.seconds)
    count_requests(lab, step, at)
    check_best(step, rows, region)
    check_agents(lab, step, *levels)
    return switched


def recover(lab: Lab, step: StepReport, mend: Callable[[Lab], float]) -> None:
    """Mend what was broken: the region is preferred again, and no request is lost."""
    at = mend(lab)
    switched = wait_moved(lab, step, at, PRIMARY, "preferred", "preferred", timeout=40)
    check_lost(lab, step, at, switched)


def run_command(lab: Lab, command: str) -> float:
    """Give the first region's agent a command; raises LabError if it is refused."""
    now = time.monotonic()
    done = lab.primary.run_command(command)
    if done.returncode:
        raise LabError(f"`anycastd {command}` ended with {done.returncode}: {done.stderr.strip()}")
    return now


def wait_requests_ended(lab: Lab, at: float) -> None:
    """Wait until every request that a fault at this moment may have met is over."""
    late = max(at, time.monotonic() - lab.client.timeout) + lab.client.timeout

    def over() -> bool:
        return any(answer.sent_at > late for answer in lab.client.results(at))

    lab.wait("the last requests to be over", over, 5)


def seconds_after(at: float, moment: float | None) -> float | None:
    """Return how long after ``at`` something was, in seconds; None if it was not."""
    return None if moment is None else moment - at


def best_next_hop(rows: tuple[Row, ...]) -> str:
    """Return the next hop of a table's best route."""
    return next((row.next_hop for row in rows if row.best), "none")


def count_requests(lab: Lab, step: StepReport, since: float) -> None:
    """Note the client's answers since a moment, by region and server."""
    answers = lab.client.results(since)
    step.answers = count_by_server(answers)
    step.failed = dict(Counter(answer.detail for answer in answers if not answer.ok))


def summarize_requests(step: StepReport) -> str:
    """Return the numbers of good and failed requests, in words."""
    good, bad = sum(step.answers.values()), sum(step.failed.values())
    return f"{good} good, {bad} failed"


def _open_at(answer: RequestResult, moment: float | None) -> bool:
    """Whether a request was on its way at ``moment``, give or take the stamps' precision."""
    return (
        moment is not None
        and answer.sent_at - _CLOCK_TOLERANCE <= moment <= answer.ended_at + _CLOCK_TOLERANCE
    )


def check_best(step: StepReport, rows: tuple[Row, ...], region: Region) -> None:
    """Check whose route is the best one of a table."""
    hop = best_next_hop(rows)
    step.check(
        f"the MSEE's best route is {region.title}'s", hop in region.gateways, f"best is {hop}"
    )


def check_agents(lab: Lab, step: StepReport, level: str, other: str = "preferred") -> None:
    """Note what the agents say; they have to name the levels that are to be seen."""
    levels = {}
    for region in (PRIMARY, SECONDARY):
        status = lab.status(region.name) or {}
        for service in status.get("services", {}).values():
            levels[region.name] = service["level"]
            step.agents[region.title] = f"{service['level']}: {service['reason']['sentence']}"
    step.check(
        f"the agents say so too: {PRIMARY.title} {level}, {SECONDARY.title} {other}",
        levels == {PRIMARY.name: level, SECONDARY.name: other},
        ", ".join(levels.get(region.name, "no answer") for region in (PRIMARY, SECONDARY)),
    )


def check_lost(lab: Lab, step: StepReport, at: float, switched: float | None) -> None:
    """Note what failed but for what anycast itself costs.

    It moves packets, not connections: one that is open in that moment is reset (RFC 4786).
    """
    answers = lab.client.results(at)
    lost = [answer for answer in answers if not answer.ok and not _open_at(answer, switched)]
    step.check(
        "no request fails, but for one that was open as the route moved",
        not lost,
        summarize_requests(step),
    )


def check_outage(step: StepReport) -> None:
    """Check that the client had its answers again soon."""
    saw = format_seconds(step.outage) if step.outage else "none seen"
    step.check(f"an outage of less than {MAX_OUTAGE:g} s", (step.outage or 0) < MAX_OUTAGE, saw)


def check_rule(lab: Lab, step: StepReport, rule: str) -> None:
    """Check that `anycastd explain` has a rule as false."""
    rules = lab.primary.read_explain().get("rules", [])
    false = [f"{each['rule']}: {each['value']}" for each in rules if each["truth"] == "false"]
    step.check(
        "`anycastd explain` names the rule",
        any(rule in each for each in false),
        "; ".join(false) or "every rule is true",
    )
