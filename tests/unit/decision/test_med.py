"""The MED by the steps of a check: spaced in both directions, and never in the way of a level."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycastd.decision.levels import Level
from support.watcher_world import FIRST, SECOND, Watcher, watcher_profile


def settle() -> Watcher:
    """Return a watcher at preferred, with the last change of its route longer ago than spacing."""
    one = Watcher().up()
    one.wait(40.0)
    return one


def test_the_med_follows_the_step() -> None:
    """The n-th MED at step n; the last one beyond."""
    one = settle()
    assert {each.med for each in one.routes} == {50}
    one.step = 1
    one.wait(1.0)
    assert one.med == 100
    assert one.changes == ["MED_CHANGED MED 50 -> 100; check load at step 1: load"]
    one.step = 7
    one.wait(36.0)
    assert one.med == 200


def test_it_changes_once_in_a_spacing_in_either_direction() -> None:
    """A load that jumps up and down each second makes no flapping route."""
    one = settle()
    for second in range(300):
        one.step = second % 3
        one.wait(1.0)
    assert 2 <= len(one.changes) <= 300 / 35 + 1


def test_a_change_of_level_takes_the_med_along_and_waits_for_none() -> None:
    """The route is announced anew anyway; a withdrawal comes at once."""
    graded = watcher_profile(
        (f"{FIRST}, serve: {{check: c1}}", f"{FIRST}, serve: {{check: c1}}, healthy: {{check: c3}}")
    )
    one = Watcher(graded).up()
    one.wait(40.0)
    one.step = 1
    one.wait(1.0)
    assert one.med == 100
    one.step = 2
    one.set(c3=False)
    decision = one.wait(6.0)
    assert (decision.level, one.med) == (Level.DEGRADED, 200)
    one.step = 0
    assert one.set(c1=False, c2=False).level is Level.WITHDRAWN


def test_a_change_of_the_next_hop_waits_for_no_med() -> None:
    """And a change of the MED right after it waits for the spacing."""
    one = settle()
    one.step = 1
    one.wait(1.0)
    one.set(c1=False)
    assert one.next_hop == SECOND
    one.step = 2
    one.wait(30.0)
    assert one.med == 100
    one.wait(6.0)
    assert one.med == 200


def test_what_is_unknown_keeps_the_last_step_and_then_gets_the_highest() -> None:
    """For the check's deadline, 4.5 s; the highest MED attracts least."""
    one = settle()
    one.step = None
    one.wait(4.0)
    assert one.med == 50
    one.wait(1.0)
    assert one.med == 200
    never = Watcher(step=None)
    assert never.wait(3.0).level is Level.STANDBY
    assert never.med == 200


@pytest.mark.parametrize("kept", [True, False])
def test_it_outlives_the_agent(kept: bool) -> None:
    """The leased MED stays, and its spacing goes on, or begins anew where nothing is known."""
    one = settle()
    one.step = 1
    one.wait(1.0)
    one.wait(20.0)
    again = one.restart(kept=kept)
    again.step = 2
    again.wait(10.0)
    assert (again.med, again.changes) == (100, [])
    again.wait(6.0 if kept else 27.0)
    assert again.med == 200
    unseen = one.restart(kept=kept, blind=True)
    unseen.wait(3.0)
    assert unseen.med == 100


def test_a_step_from_before_a_freeze_attracts_nothing() -> None:
    """Own time stood still, so the load may be of any age."""
    one = Watcher(step=1).up()
    one.wait(40.0)
    one.seen["load"] = replace(one.seen["load"], step=0)
    one.step = None
    one.frozen_until = one.now + 0.5
    one.wait(2.0)
    assert one.med == 100


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("{address: 192.0.2.4,", "{address: 192.0.2.4, med: 7,"), {7, 50}),
        (("    standby:", "    degraded: {med: 9}\n    standby:"), {50}),
    ],
    ids=["of a neighbor", "of the level degraded"],
)
def test_a_med_of_its_own_comes_first(change: tuple[str, str], expected: set[int]) -> None:
    """A neighbor's MED is that of its routes always, that of degraded at this level."""
    graded = watcher_profile(
        change,
        (
            f"{FIRST}, serve: {{check: c1}}",
            f"{FIRST}, serve: {{check: c1}}, healthy: {{check: c3}}",
        ),
    )
    one = Watcher(graded).up()
    assert {each.med for each in one.routes} == expected
    one.set(c3=False)
    one.wait(50.0)
    assert {each.med for each in one.routes} == ({7, 50} if 7 in expected else {9})
