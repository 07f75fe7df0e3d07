"""The parts that the stories of the lab share: steps, waits and checks."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from anycastd.lab.network import adapt
from anycastd.lab.network.azure import AZURE, MSEE_AS
from anycastd.lab.network.lab import Lab, TimedOutError
from anycastd.lab.network.namespaces import LabError
from anycastd.lab.network.outage import RequestResult, count_by_server
from anycastd.lab.network.table import TableRow, paths_by_next_hop
from anycastd.lab.network.topology import Site, Topology
from anycastd.lab.stories.report import StepReport, format_seconds

GOOD_ANSWERS = 50
"""Good answers in a row after which a region counts as serving; they take half a second."""
MAX_OUTAGE = 3.0
"""Longest outage (s) that a story accepts; it is no measurement, tests/bench measures."""
_CLOCK_TOLERANCE = 0.005  # seconds between the kernel's time stamps and the client's


class StoryStep(NamedTuple):
    """One step of a story: its name for programs, its title, and the function that plays it."""

    name: str
    title: str
    play: Callable[[Lab, StepReport], None]


@dataclass(frozen=True, slots=True)
class Story:
    """A story: its steps in order, and its network.

    ``summary`` is its line in `anycastd lab --list`.  ``profiles`` (site name -> shipped profile)
    replace those of the sites.  ``return_timers`` and ``drain_times`` (s) replace those of the
    profiles, because a person waits for them; None keeps them.  ``notes`` are told at the start.
    ``short`` names the steps of the short form (`--short`); empty: all.
    """

    steps: tuple[StoryStep, ...]
    summary: str
    topology: Topology = AZURE
    profiles: Mapping[str, str] = field(default_factory=dict)
    return_timers: Mapping[str, float] | None = field(default_factory=lambda: adapt.RETURN_TIMERS)
    drain_times: Mapping[str, float] | None = field(default_factory=lambda: adapt.DRAIN_TIMES)
    notes: Mapping[str, str] = field(default_factory=dict)
    short: tuple[str, ...] = ()

    def choose_steps(self, *, short: bool) -> tuple[StoryStep, ...]:
        """Return the steps to play: all, or those of the short form."""
        chosen = self.short if short and self.short else [step.name for step in self.steps]
        return tuple(step for step in self.steps if step.name in chosen)


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
    for client in lab.clients.values():
        client.start()
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
    for client in lab.clients.values():
        client.stop()
    return reports


def title_table(lab: Lab) -> str:
    """Return the title of the observed router's table."""
    return _say_of(lab.topology.observed_title, "routes to the VIP")


def _say_of(title: str, what: str) -> str:
    """Say whose something is: `the MSEE's routes`, but `routes of the VNet's table`."""
    return f"{what} of {title}" if "'s " in title else f"{title}'s {what}"


def baseline(lab: Lab, step: StepReport) -> None:
    """Wait until every site is preferred, restart the client and check the initial state.

    Raises TimedOutError where they do not become preferred.
    """
    rows = lab.wait_preferred()
    first = lab.primary.site
    if lab.topology.shows_kernel:
        table = lab.monitors[lab.topology.observed]
        what = f"{lab.topology.observed_title} to use {first.title}"
        lab.wait(what, lambda: set(first.next_hops) & set(table.next_hops()), 60, lab.describe)
    lab.wait_answers(first, GOOD_ANSWERS, 20)
    lab.client.start()
    lab.wait_answers(first, 2 * GOOD_ANSWERS, 20)
    rows = lab.read_table() if lab.topology.shows_kernel else rows
    step.add_table("baseline", title_table(lab), rows)
    count_requests(lab, step, 0.0)
    observed = lab.topology.observed_title
    step.add_check(
        f"{observed} has the routes of {join_titles(lab.topology.sites)}, with the profiles' paths",
        paths_by_next_hop(rows) == lab.expected_paths(),
        f"{len(rows)} routes",
    )
    check_best(lab, step, rows, first)
    check_agents(lab, step)
    ups = {
        f"{name} {server}": status
        for name, nva in lab.appliances.items()
        for servers in nva.server_states().values()
        for server, status in servers.items()
    }
    proxied = [nva for nva in lab.appliances.values() if nva.site.haproxy]
    if proxied:
        step.add_check(
            "each HAProxy reports its web servers as up",
            len(ups) == sum(len(nva.web_servers) for nva in proxied)
            and all(status == "UP" for status in ups.values()),
            ", ".join(f"{name} {status}" for name, status in ups.items()),
        )
    # Two clients may take turns so evenly that each sees one server alone.
    results = [each for client in lab.clients.values() for each in client.results()]
    servers = {each.server for each in results if each.ok and each.region == first.name}
    step.add_check(
        f"every answer comes from {first.title}, and all its web servers answer",
        not step.failed
        and {name.split()[0] for name in step.answers} == {first.name}
        and servers == set(lab.primary.web_servers),
        summarize_requests(step),
    )


def wait_moved(
    lab: Lab, step: StepReport, at: float, site: Site, *levels: str, timeout: float = 20
) -> float | None:
    """Wait until the sites have these levels (in the lab's order) and one of them serves.

    ``at`` is the time of the fault.  Returns when the observed router switched to that site, or
    None; both are times of the monotonic clock, in seconds.

    Raises TimedOutError after ``timeout`` seconds, ValueError without a level for each site.
    """
    step.acted_at = at
    both = dict(zip(lab.appliances, levels, strict=True))
    rows = lab.wait_levels(timeout, both)
    lab.wait_answers(site, GOOD_ANSWERS, 20, at)
    wait_requests_ended(lab, at)
    topology = lab.topology
    rows = lab.read_table() if topology.shows_kernel else rows
    switched = lab.monitors[topology.observed].moved_at(at, *site.next_hops)
    step.add_time(
        "switched",
        f"{topology.observed_title} sends to {site.title}",
        seconds_after(at, switched),
    )
    step.add_table("after", title_table(lab), rows)
    outage = lab.client.outage(at)
    if outage:
        step.outage = outage.seconds
        step.add_time("outage", "outage, as the client sees it", outage.seconds)
    count_requests(lab, step, at)
    check_best(lab, step, rows, site)
    check_agents(lab, step, *levels)
    return switched


def recover(
    lab: Lab, step: StepReport, repair: Callable[[Lab], float], timeout: float = 40
) -> None:
    """Repair the fault and check that every site is preferred again without a lost request.

    ``repair`` returns when it acted (monotonic clock, s).  Raises TimedOutError after ``timeout``
    seconds.
    """
    at = repair(lab)
    levels = ["preferred"] * len(lab.appliances)
    switched = wait_moved(lab, step, at, lab.primary.site, *levels, timeout=timeout)
    check_lost(lab, step, at, switched)


def run_command(lab: Lab, command: str) -> float:
    """Run an `anycastd` command at the first site; raises LabError if it fails.

    Returns the time of the monotonic clock just before, in seconds.
    """
    now = time.monotonic()
    done = lab.primary.run_command(command)
    if done.returncode:
        raise LabError(f"`anycastd {command}` ended with {done.returncode}: {done.stderr.strip()}")
    return now


def wait_requests_ended(lab: Lab, at: float) -> None:
    """Wait until every request that a fault at this time may have affected has ended.

    ``at`` is a time of the monotonic clock, in seconds.  Raises TimedOutError 5 s after the
    client's timeout.
    """
    called_at = time.monotonic()
    ends_at = called_at + lab.client.timeout

    def have_ended() -> bool:
        # A request may have been lost on the way until just now: it ends with its timeout.
        return time.monotonic() > ends_at and any(
            result.sent_at > called_at for result in lab.client.results(at)
        )

    lab.wait("the last requests to end", have_ended, lab.client.timeout + 5)


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


def check_best(lab: Lab, step: StepReport, rows: tuple[TableRow, ...], site: Site) -> None:
    """Check that a table's best route is that of a site."""
    hop = best_next_hop(rows)
    step.add_check(
        f"{_say_of(lab.topology.observed_title, 'best route')} is {site.title}'s",
        hop in site.next_hops,
        f"best is {hop} {lab.topology.find_node(hop)}".rstrip(),
    )


def join_titles(sites: Iterable[Site]) -> str:
    """Return the titles of sites, as in `A, B and C`."""
    *titles, last = (site.title for site in sites)
    return f"{', '.join(titles)} and {last}" if titles else last


def check_agents(lab: Lab, step: StepReport, *levels: str) -> None:
    """Check that the agents report these levels, and add their reasons to the report.

    The levels are in the order of the sites; a site without one has to be preferred.
    """
    sites = lab.topology.sites
    wanted = [*levels, *["preferred"] * (len(sites) - len(levels))]
    seen = []
    for site in sites:
        status = lab.status(site.name) or {}
        service = next(iter(status.get("services", {}).values()), None)
        seen.append(service["level"] if service else "no answer")
        if service:
            step.agents[site.title] = f"{service['level']}: {service['reason']['sentence']}"
    *parts, last = (f"{site.title} {level}" for site, level in zip(sites, wanted, strict=True))
    told = f"{', '.join(parts)} and {last}" if parts else last
    step.add_check(f"the agents report {told}", seen == wanted, ", ".join(seen))


def check_lost(lab: Lab, step: StepReport, at: float, *switched: float | None) -> None:
    """Check that no request failed since ``at``, except those open when the route moved.

    Anycast moves packets, not connections: a connection that is open when the route moves is reset
    (RFC 4786).  ``at`` and ``switched`` are times of the monotonic clock, in seconds; the route may
    have moved more than once.
    """
    failed = [result for result in lab.client.results(at) if not result.ok]
    lost = [each for each in failed if not any(_was_open_at(each, moment) for moment in switched)]
    step.add_check(
        "no request fails, except one that was open when the route moved",
        not lost,
        summarize_requests(step),
    )


def check_outage(step: StepReport, limit: float = MAX_OUTAGE) -> None:
    """Check that the outage was shorter than ``limit`` seconds."""
    saw = format_seconds(step.outage) if step.outage else "none seen"
    step.add_check(f"the outage is shorter than {limit:g} s", (step.outage or 0) < limit, saw)


def check_premises(lab: Lab, step: StepReport) -> None:
    """Check what the customer sees: the MSEE's AS number alone, whatever was prepended."""
    rows = lab.read_table("ce")
    paths = {row.path for row in rows}
    step.add_check(
        f"on premises the path is {MSEE_AS} alone: private AS numbers are removed",
        paths == {(MSEE_AS,)},
        "; ".join(" ".join(map(str, path)) for path in paths) or "no route",
    )


def check_rule(lab: Lab, step: StepReport, rule: str) -> None:
    """Check that `anycastd explain` shows a rule as false; ``rule`` is a part of its text."""
    false: list[str] = []

    def is_named() -> bool:
        rules = lab.primary.read_explain().get("rules", [])
        false[:] = [
            f"{each['rule']}: {each['value']}" for each in rules if each["truth"] == "false"
        ]
        return any(rule in each for each in false)

    # The agent of a busy machine may not answer at once.
    with contextlib.suppress(TimedOutError):
        lab.wait("`anycastd explain` to name the rule", is_named, 10)
    step.add_check(
        "`anycastd explain` names the rule that is false",
        any(rule in each for each in false),
        "; ".join(false) or "no rule is false",
    )
