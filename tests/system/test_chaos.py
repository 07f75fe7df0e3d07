"""A short random run of all faults; its judge; and that both find violations.

`make chaos` is the long one.  ANYCASTD_CHAOS_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from chaos.judge import Bounds
from chaos.plan import CALM, plan
from chaos.run import Outcome, print_line, run
from chaos.soak import MAX_GROWTH, PARTS, Sample, is_survived, judge_growth, save
from chaos.violations import Judgement, judge
from support.bgp_wire import ReceivedRoute
from support.faults import CRASH_LOOP_WINDOW, FAULTS, MAX_DEATHS
from support.http_load import Request
from support.machine import Entry
from support.route_log import Change
from support.surroundings import run_surrounded

SEED = int(os.environ.get("ANYCASTD_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
COUNT = 40


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.alone
def test_a_short_run(tmp_path: Path) -> None:
    """No route stays too long or changes without need, all recovers, memory does not grow."""
    print_line(f"seed {SEED}, {COUNT} faults")
    pythons = os.environ.get("ANYCASTD_EXABGP_PYTHONS", sys.executable).split(os.pathsep)
    with run_surrounded(tmp_path, pythons[0]) as machine:
        outcome = run(machine, SEED, COUNT, print_line)
        log = machine.appliance.log()
    assert not outcome.violation, f"ANYCASTD_CHAOS_SEED={SEED}\n{log}\n{outcome.violation}"
    assert sum(outcome.faults.values()) == COUNT
    for part, (before, after) in outcome.memory.items():
        assert after < before + 5, f"{part}: {before} MB, then {after} MB"


# What is planned ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_is_its_seeds(seed: int) -> None:
    """The same seed gives the same faults, of all kinds, and never a crash loop."""
    episodes = plan(seed, 300)
    assert episodes == plan(seed, 300)
    steps = [step for episode in episodes for step in episode.steps]
    assert len(steps) == 300
    assert len({step.fault.name for step in steps}) > 0.8 * len(FAULTS)
    for part in ("agent", "lease"):
        began, deaths = 0.0, []
        for episode in episodes:
            deaths += [
                began + step.at
                for step in episode.steps
                if "killed" in step.fault.name and part in step.fault.parts
            ]
            began += max(step.at + step.lasts for step in episode.steps) + CALM
        for first, last in zip(deaths, deaths[MAX_DEATHS:], strict=False):
            assert last - first >= CRASH_LOOP_WINDOW


# What is judged -----------------------------------------------------------------------------------


def judged(journal: list[Entry], *changes: Change, failed: tuple[float, ...] = ()) -> Judgement:
    """Judge what peer 0 received after a first route; peer 1 received the same."""
    both = [
        [Change(each.at, peer, each.route) for each in (PREFERRED, *changes)] for peer in (0, 1)
    ]
    requests = [Request(at, 0.01, "refused") for at in failed]
    bounds = Bounds(ttl=5, deadline=3)
    return judge(journal, both, requests, began_at=1.0, ended_at=100.0, bounds=bounds)


def change(at: float, asns: int) -> Change:
    """Build a change to a path of ``asns`` ASNs; 0 is a withdrawal."""
    path = (65010,) * asns
    route = (
        ReceivedRoute("203.0.113.10/32", path, "192.0.2.10", None, (), (), None) if asns else None
    )
    return Change(at, 0, route)


PREFERRED = change(0.5, 1)
DEAD = [Entry(10.0, "haproxy", "down"), Entry(20.0, "haproxy", "up")]


def test_a_withdrawal_in_time_and_a_return_in_two_steps_is_right() -> None:
    """A request that failed meanwhile is explained."""
    found = judged(DEAD, change(10.1, 0), change(20.5, 7), change(21.5, 1), failed=(15.0,))
    assert found.violations == []
    assert (found.changes, found.failed, found.unexplained) == (6, 1, [])
    assert found.stale["haproxy dead"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("journal", "changes", "word"),
    [
        (DEAD, [change(11.0, 0), change(20.5, 7), change(21.5, 1)], "stale"),
        (DEAD, [], "stale"),
        (DEAD, [change(10.1, 0), change(20.5, 1)], "hasty"),
        (DEAD, [change(10.1, 0), change(20.5, 7), change(21.5, 1), change(50.0, 4)], "needless"),
        ([], [change(50.0, 0), change(51.0, 7)], "needless"),
        (
            [Entry(10.0, "agent", "stop"), Entry(30.0, "agent", "cont")],
            [change(16.0, 0), change(30.5, 7), change(31.5, 1)],
            "stale",
        ),
        (
            [Entry(10.0, "exabgp", "stop"), Entry(30.0, "exabgp", "cont")],
            [change(18.0, 0), change(19.5, 7), change(20.5, 1)],
            "stale",
        ),
    ],
)
def test_what_is_wrong_is_found(journal: list[Entry], changes: list[Change], word: str) -> None:
    """A change too late, too soon or without need is a violation with its own text."""
    found = judged(journal, *changes)
    assert found.violations
    assert {each.split(":")[0] for each in found.violations} == {word}


def test_a_failure_without_a_reason_is_found() -> None:
    """Such a failure means that the journal is incomplete."""
    assert [each.sent_at for each in judged(DEAD[:0], failed=(50.0,)).unexplained] == [50.0]


# The kinds of faults that came later --------------------------------------------------------------


def span(part: str, start: str, end: str, began: float = 10.0, ended: float = 20.0) -> list[Entry]:
    """Build a period of a journal."""
    return [Entry(began, part, start), Entry(ended, part, end)]


IN_TIME = [change(10.1, 0), change(20.5, 7), change(21.5, 1)]
BOTH_DEAD = [*span("server 0", "down", "up"), *span("server 1", "down", "up")]
IN_MAINTENANCE = [
    Entry(10.0, "maintenance 0", "down"),
    Entry(10.0, "maintenance 1", "down"),
    *BOTH_DEAD[::2],
    Entry(10.5, "maintenance 0", "up"),
    Entry(10.5, "maintenance 1", "up"),
    *BOTH_DEAD[1::2],
]


@pytest.mark.parametrize(
    "journal",
    [
        IN_MAINTENANCE,
        [*span("maintenance 0", "down", "up"), *span("server 1", "down", "up")],
        span("frontend", "down", "up"),
        [*span("reload", "down", "up"), *span("frontend", "down", "up")],
        span("backend", "down", "up"),
    ],
)
def test_what_serves_nobody_must_be_withdrawn(journal: list[Entry]) -> None:
    """In time it is right, also with clients that failed; too late it is stale."""
    found = judged(journal, *IN_TIME, failed=(15.0,))
    assert (found.violations, found.unexplained) == ([], [])
    late = judged(journal, change(13.0, 0), *IN_TIME[1:])
    assert {each.split(":")[0] for each in late.violations} == {"stale"}


def test_dead_servers_back_from_maintenance_are_not_announced() -> None:
    """A route that comes back before its servers do is stale."""
    found = judged(IN_MAINTENANCE, change(10.1, 0), change(11.0, 7), change(12.0, 0), *IN_TIME[1:])
    assert {each.split(":")[0] for each in found.violations} == {"stale"}


@pytest.mark.parametrize(
    "journal",
    [
        span("haproxy", "storm", "calm"),
        span("haproxy", "scarce", "free"),
        span("leftover", "up", "down"),
        span("maintenance 0", "down", "up"),
        span("cli", "down", "up", 10.0, 11.0),
        span("agent", "hurt", "whole", 10.0, 13.0),
        span("lease", "slow", "fast", 10.0, 13.0),
    ],
)
def test_what_serves_somebody_moves_nothing(journal: list[Entry]) -> None:
    """A route that changes meanwhile changes without need."""
    assert judged(journal).violations == []
    found = judged(journal, *IN_TIME)
    assert {each.split(":")[0] for each in found.violations} == {"needless"}


def test_a_lost_socket_is_withdrawn_after_the_deadline() -> None:
    """Not before, not much later."""
    journal = [*span("cli", "down", "up"), *span("socket", "down", "up")]
    assert judged(journal, change(13.5, 0), *IN_TIME[1:]).violations == []
    found = judged(journal, change(16.0, 0), *IN_TIME[1:])
    assert {each.split(":")[0] for each in found.violations} == {"stale"}


def test_a_shorter_hold_time_allows_shorter_pauses() -> None:
    """A session that is lost in a pause of 4 s is an excuse only while 6 s were agreed on."""
    pause = [Entry(10.0, "machine", "stop"), Entry(14.0, "machine", "cont")]
    there = [change(13.0, 0), change(15.0, 7), change(16.0, 1)]
    assert judged(pause, *there).violations
    assert judged([*span("hold time", "short", "long", 5.0), *pause], *there).violations == []


def test_a_pause_delays_an_agent_that_starts() -> None:
    """What fails after the pause is seen when the agent runs; one that ran sees it at once."""
    killed, pause = [Entry(10.0, "agent", "touch")], span("machine", "stop", "cont", 10.5, 15.5)
    dead = span("haproxy", "down", "up", 15.9, 20.0)
    there = IN_TIME[1:]
    assert judged([*killed, *pause, *dead], change(17.2, 0), *there).violations == []
    for journal in ([*pause, *dead], [*killed, *dead]):
        late = judged(journal, change(17.2, 0), *there)
        assert {each.split(":")[0] for each in late.violations} == {"stale"}
    assert judged([*killed, *pause, *dead], change(18.5, 0), *there).violations


def test_pauses_delay_a_recovery() -> None:
    """Nobody proves anything meanwhile; without them, or long after them, a change is needless."""
    dead = span("haproxy", "down", "up", 10.0, 12.0)
    pauses = [
        *span("machine", "stop", "cont", 13.0, 17.0),
        *span("machine", "stop", "cont", 18, 22),
    ]
    gone, back = change(10.1, 0), [change(22.5, 7), change(24.0, 1)]
    assert judged([*dead, *pauses], gone, *back).violations == []
    for late in (judged(dead, gone, *back), judged([*dead, *pauses], gone, change(31.0, 7))):
        assert {each.split(":")[0] for each in late.violations} == {"needless"}


def test_a_route_is_not_back_in_one_step_after_a_long_pause() -> None:
    """It may be where an agent is paused again, or gets little CPU, before ExaBGP connects."""
    pause = [Entry(10.0, "machine", "stop"), Entry(20.0, "machine", "cont")]
    there = [change(19.0, 0), change(20.4, 1)]
    assert {each.split(":")[0] for each in judged(pause, *there).violations} == {"hasty"}
    before = [Entry(8.0, "machine", "stop"), Entry(9.0, "machine", "cont")]
    assert judged([*before, *pause], *there).violations == []
    assert judged([*span("cpu", "down", "up"), *pause], *there).violations == []


def test_a_flood_of_the_lease_is_no_reason_for_a_return_in_one_step() -> None:
    """An agent that gets through late begins at standby then."""
    killed = [Entry(10.0, "exabgp", "touch")]
    flood = [Entry(9.0, "flood lease", "up"), Entry(14.0, "flood lease", "down")]
    journal = [*flood[:1], *killed, *flood[1:]]
    there = [change(10.1, 0), change(14.5, 1)]
    assert {each.split(":")[0] for each in judged(journal, *there).violations} == {"hasty"}
    gentle = [change(10.1, 0), change(14.5, 7), change(15.5, 1)]
    assert judged(journal, *gentle).violations == []


def test_a_lease_process_that_is_stopped_is_found_after_a_pause() -> None:
    """Until then nobody can give ExaBGP another path."""
    stopped = span("lease", "stop", "cont", 9.0, 20.1)
    pause = span("machine", "stop", "cont", 10.0, 20.0)
    there = [change(19.0, 0), change(20.4, 1)]
    assert judged([*stopped, *pause], *there).violations == []
    assert {each.split(":")[0] for each in judged(pause, *there).violations} == {"hasty"}


# The soak -----------------------------------------------------------------------------------------


def lives(*memory: float, pid: int = 1) -> list[Sample]:
    """Build a sample each minute."""
    return [Sample(60.0 * n, pid, each, 10, 4.0) for n, each in enumerate(memory)]


def test_what_grows_is_found() -> None:
    """A line through all samples after the warm-up tells; a single one that is high does not."""
    flat = {"agent": lives(20, 30, 30, 31, 30, 34, 30, 30, 31, 30)}
    assert judge_growth(flat)[1] == []
    growing = {"agent": lives(*range(20, 40))}
    growth, wrong = judge_growth(growing)
    assert growth["agent"]["memory"] == pytest.approx(16.0)
    assert [each.split(" grew")[0] for each in wrong] == ["agent: memory"]
    assert judge_growth({"lease": [*lives(1, 1), *lives(1, 1, pid=2)]})[1]


def test_pieces_of_a_soak_add_up(tmp_path: Path) -> None:
    """Each piece is kept, and the totals are of all of them."""
    half = asdict(Outcome(1, faults={"a": 3}, seconds=10.0, stale={"x": 0.2}, requests=7))
    growth = {part: dict.fromkeys(MAX_GROWTH, 0.5) for part in PARTS}
    piece = {"began_at": 1.0, "halves": [half, half], "growth": growth, "violations": []}
    file = tmp_path / "build" / "soak.json"
    save(file, piece)
    other = piece | {"began_at": 2.0, "violations": ["stale"]}
    assert save(file, other | {"halves": [half], "growth": {}})["seconds"] == 30.0
    total = save(file, other)
    assert (total["pieces"], total["failed"], total["faults"]) == (2, 1, 12)
    assert (total["seconds"], total["longest_stale"]) == (40.0, {"x": 0.2})
    assert total["largest_growth"]["lease"]["memory"] == 0.5


def test_a_soak_ends_no_process() -> None:
    """The faults of its second half leave agent, lease process and ExaBGP alive."""
    names = {fault.name for fault in FAULTS.values() if is_survived(fault)}
    assert "haproxy killed" in names
    assert "agent out of descriptors" in names
    assert "agent stopped for a moment" in names
    assert not names & {"agent killed", "lease stopped", "exabgp out of memory", "exabgp stopped"}
