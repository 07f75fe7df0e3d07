"""What every story of the lab is told with: steps, waits, and checks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from anycastd.lab.network.lab import Lab, TimedOutError, paths
from anycastd.lab.network.namespaces import LabError
from anycastd.lab.network.outage import Answer, who
from anycastd.lab.network.routers import Row
from anycastd.lab.network.topology import PRIMARY, SECONDARY, Region
from anycastd.lab.stories.report import Step, span

ENOUGH = 50
"""So many good answers in a row, half a second of them, and the client is content."""
OUTAGE = 3.0
"""A story's own bound for an outage in seconds: this is a rehearsal, tests/bench measures."""
TABLE = "the MSEE's routes to the VIP"
_STAMPS = 0.005  # seconds between what the kernel stamps and what the client does


class Act(NamedTuple):
    """A step to play: its name for programs, its title, and what is done in it."""

    name: str
    title: str
    play: Callable[[Lab, Step], None]


@dataclass(frozen=True, slots=True)
class Story:
    """Acts in their order; the profiles that differ, by region; ``weights`` at the MSEE."""

    acts: tuple[Act, ...]
    profiles: Mapping[str, str] = field(default_factory=dict)
    weights: bool = False


def tell(
    lab: Lab, acts: Sequence[Act], begin: Callable[[str], None], done: Callable[[Step], None]
) -> list[Step]:
    """Play a story and return its steps.

    ``begin`` is called with the title before each step, ``done`` with each step.  A step in which
    something awaited did not happen fails and ends the story.
    """
    steps: list[Step] = []
    lab.client.start()
    for act in acts:
        step = Step(act.name, act.title)
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


def baseline(lab: Lab, step: Step) -> None:
    """Wait until both regions are preferred, and begin to count anew."""
    rows = lab.wait_preferred()
    lab.wait_answers(PRIMARY, ENOUGH, 20)
    lab.client.start()
    lab.wait_answers(PRIMARY, 2 * ENOUGH, 20)
    step.table("baseline", TABLE, rows)
    count(lab, step, 0.0)
    step.check(
        "the MSEE has both regions from both their gateways, at the profiles' paths",
        paths(rows) == lab.expected(),
        f"{len(rows)} routes",
    )
    check_best(step, rows, PRIMARY)
    check_agents(lab, step, "preferred")
    ups = {
        f"{region} {server}": status
        for region, nva in lab.regions.items()
        for servers in nva.inventory().values()
        for server, status in servers.items()
    }
    step.check(
        "HAProxy says in both regions that its web servers are up",
        len(ups) == sum(len(nva.backends) for nva in lab.regions.values())
        and all(status == "UP" for status in ups.values()),
        ", ".join(f"{name} {status}" for name, status in ups.items()),
    )
    servers = {words.split()[-1] for words in step.answers}
    step.check(
        f"every answer comes from {PRIMARY.title}, from both its web servers",
        not step.failed and servers == set(lab.primary.backends),
        summary(step),
    )


def moved(
    lab: Lab, step: Step, at: float, region: Region, *levels: str, within: float = 20
) -> float | None:
    """Wait for both regions' ``levels``, and for the client to be at a region.

    Return when the MSEE switched to it.
    """
    both = dict(zip(lab.regions, levels, strict=True))
    rows = lab.wait_levels(within, both)
    lab.wait_answers(region, ENOUGH, 20, at)
    wait_over(lab, at)
    switched = lab.watches["msee"].first(at, *region.gateways)
    step.time("switched", f"the MSEE sends to {region.title}", after(at, switched))
    step.table("after", TABLE, rows)
    outage = lab.client.outage(at)
    if outage:
        step.outage = outage.seconds
        step.time("outage", "outage, as the client sees it", outage.seconds)
    count(lab, step, at)
    check_best(step, rows, region)
    check_agents(lab, step, *levels)
    return switched


def come_back(lab: Lab, step: Step, mend: Callable[[Lab], float]) -> None:
    """Mend what was broken: the region is preferred again, and no request is lost."""
    at = mend(lab)
    switched = moved(lab, step, at, PRIMARY, "preferred", "preferred", within=40)
    check_lost(lab, step, at, switched)


def say(lab: Lab, command: str) -> float:
    """Give the first region's agent a command; raises LabError if it is refused."""
    now = time.monotonic()
    done = lab.primary.command(command)
    if done.returncode:
        raise LabError(f"`anycastd {command}` ended with {done.returncode}: {done.stderr.strip()}")
    return now


def wait_over(lab: Lab, at: float) -> None:
    """Wait until every request that a fault at this moment may have met is over."""
    late = max(at, time.monotonic() - lab.client.give_up) + lab.client.give_up

    def over() -> bool:
        return any(answer.start > late for answer in lab.client.answers(at))

    lab.wait("the last requests to be over", over, 5)


def after(at: float, moment: float | None) -> float | None:
    """Return how long after ``at`` something was, in seconds; None if it was not."""
    return None if moment is None else moment - at


def best(rows: tuple[Row, ...]) -> str:
    """Return the next hop of a table's best route."""
    return next((row.next_hop for row in rows if row.best), "none")


def count(lab: Lab, step: Step, since: float) -> None:
    """Note the client's answers since a moment, by region and server."""
    answers = lab.client.answers(since)
    step.answers = who(answers)
    step.failed = dict(Counter(answer.why for answer in answers if not answer.ok))


def summary(step: Step) -> str:
    """Return the numbers of good and failed requests, in words."""
    good, bad = sum(step.answers.values()), sum(step.failed.values())
    return f"{good} good, {bad} failed"


def _open_at(answer: Answer, moment: float | None) -> bool:
    """Whether a request was on its way at ``moment``, give or take the stamps' precision."""
    return moment is not None and answer.start - _STAMPS <= moment <= answer.end + _STAMPS


def check_best(step: Step, rows: tuple[Row, ...], region: Region) -> None:
    """Check whose route is the best one of a table."""
    hop = best(rows)
    step.check(
        f"the MSEE's best route is {region.title}'s", hop in region.gateways, f"best is {hop}"
    )


def check_agents(lab: Lab, step: Step, level: str, other: str = "preferred") -> None:
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


def check_lost(lab: Lab, step: Step, at: float, switched: float | None) -> None:
    """Note what failed but for what anycast itself costs.

    It moves packets, not connections: one that is open in that moment is reset (RFC 4786).
    """
    answers = lab.client.answers(at)
    lost = [answer for answer in answers if not answer.ok and not _open_at(answer, switched)]
    step.check(
        "no request fails, but for one that was open as the route moved", not lost, summary(step)
    )


def check_outage(step: Step) -> None:
    """Check that the client had its answers again soon."""
    saw = span(step.outage) if step.outage else "none seen"
    step.check(f"an outage of less than {OUTAGE:g} s", (step.outage or 0) < OUTAGE, saw)


def check_rule(lab: Lab, step: Step, rule: str) -> None:
    """Check that `anycastd explain` has a rule as false."""
    rules = lab.primary.explanation().get("rules", [])
    false = [f"{each['rule']}: {each['value']}" for each in rules if each["truth"] == "false"]
    step.check(
        "`anycastd explain` names the rule",
        any(rule in each for each in false),
        "; ".join(false) or "every rule holds",
    )
