"""A short random run of all faults; its judge; and that both find violations.

`make chaos` is the long one.  ANYCASTD_CHAOS_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from chaos.judge import Bounds, Judgement, judge
from chaos.plan import CALM, plan
from chaos.run import print_line, run
from support.appliance import Appliance, own_network
from support.bgp_wire import ReceivedRoute
from support.faults import CRASH_LOOP_WINDOW, FAULTS, MAX_DEATHS
from support.http_load import Request
from support.machine import Entry, Machine
from support.route_log import Change

SEED = int(os.environ.get("ANYCASTD_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
COUNT = 40


@pytest.mark.root
@pytest.mark.slow
def test_a_short_run(tmp_path: Path) -> None:
    """No route stays too long or changes without need, all recovers, memory does not grow."""
    print_line(f"seed {SEED}, {COUNT} faults")
    pythons = os.environ.get("ANYCASTD_EXABGP_PYTHONS", sys.executable).split(os.pathsep)
    with own_network(), Machine(Appliance(tmp_path, python=pythons[0])) as machine:
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
    assert len({step.fault.name for step in steps}) > len(FAULTS) - 5
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
