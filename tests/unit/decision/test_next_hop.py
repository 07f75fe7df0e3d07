"""The choice of a next hop: away at once, back by the timers, over restarts and reloads."""

from __future__ import annotations

import pytest

from anycastd.decision.levels import Level
from anycastd.reasons import Reason
from support.watcher_world import FIRST, SECOND, THIRD, Watcher, watcher_profile


def test_the_first_that_serves_is_announced() -> None:
    """In the order of the profile, to each neighbor, without a change afterwards."""
    one = Watcher().up()
    assert [each.next_hop for each in one.routes] == [FIRST, FIRST]
    assert Watcher(checks={"c1": False, "c2": True, "c3": True}).up().next_hop == SECOND


def test_away_at_once_in_one_pass_at_the_same_level() -> None:
    """The whole set of the same pass has the next one: one replacing UPDATE, and no withdrawal."""
    one = Watcher().up()
    decision = one.set(c1=False)
    assert (decision.level, one.next_hop) == (Level.PREFERRED, SECOND)
    assert one.changes == [f"NEXT_HOP_FAILED {FIRST} -> {SECOND}; check c1 passes: refused"]
    one.set(c2=False)  # no spacing on the way out
    assert one.next_hop == THIRD


def test_back_by_the_timers_of_return() -> None:
    """After the hold-down of the one that failed: 60 s here, which cover rise and spacing."""
    one = Watcher().up()
    one.set(c1=False)
    one.wait(5.0)
    one.set(c1=True)
    one.wait(54.0)
    assert one.next_hop == SECOND
    decision = one.wait(2.0)
    assert (one.next_hop, decision.level) == (FIRST, Level.PREFERRED)
    assert one.changes[-1] == f"NEXT_HOP_RETURNED {SECOND} -> {FIRST}; check c1 passes: connected"


def test_the_rise_and_the_spacing_count_where_it_was_down_for_long() -> None:
    """It must have served for `rise`; the last change of the route is `spacing` ago."""
    one = Watcher().up()
    one.set(c1=False)
    one.wait(100.0)
    one.set(c1=True)
    one.wait(9.0)
    assert one.next_hop == SECOND
    one.wait(2.0)
    assert one.next_hop == FIRST
    one.set(c1=False)
    one.wait(30.0)
    one.set(c2=False)
    assert one.next_hop == THIRD


def test_the_hold_down_doubles_with_each_failure() -> None:
    """A flapping first next hop is left for longer each time."""
    one = Watcher().up()
    for hold_down in (60.0, 120.0, 240.0):
        one.set(c1=False)
        one.wait(1.0)
        one.set(c1=True)
        one.wait(hold_down - 3.0)
        assert one.next_hop == SECOND
        one.wait(4.0)
        assert one.next_hop == FIRST


def test_a_failure_while_another_one_is_chosen_counts_too() -> None:
    """It may not come back between two of its failures."""
    one = Watcher().up()
    one.set(c1=False)
    one.wait(40.0)
    one.set(c1=True)
    one.wait(15.0)
    one.set(c1=False)
    one.set(c1=True)
    one.wait(115.0)
    assert one.next_hop == SECOND
    one.wait(6.0)
    assert one.next_hop == FIRST


def test_a_manual_return_waits_for_the_operator() -> None:
    """`anycastd return` ends the hold-down of each next hop."""
    one = Watcher(watcher_profile(("return: {rise", "return: {manual: true, rise"))).up()
    one.set(c1=False)
    one.set(c1=True)
    one.wait(2000.0)
    assert one.next_hop == SECOND
    one.returned_at = one.now
    one.wait(1.0)
    assert one.next_hop == FIRST


def test_none_serves_is_a_failure_with_words() -> None:
    """The service is withdrawn, and each check is named; it returns step by step."""
    one = Watcher().up()
    decision = one.set(c1=False, c2=False, c3=False)
    assert (decision.level, decision.cap.reason) == (Level.WITHDRAWN, Reason.NO_NEXT_HOP)
    assert (
        f"{FIRST}: check c1 passes: refused; {SECOND}: check c2 passes: refused"
        in decision.cap.detail
    )
    assert one.routes == ()
    decision = one.set(c3=True)
    assert decision.level is Level.WITHDRAWN
    decision = one.wait(1.5)
    assert (decision.level, one.next_hop) == (Level.STANDBY, THIRD)
    assert one.wait(70.0).level is Level.PREFERRED


def test_what_is_unknown_keeps_the_choice_and_is_never_chosen() -> None:
    """The last value counts for the deadline, 4.5 s here; then it is left."""
    one = Watcher().up()
    one.set(c1=None)
    one.wait(4.0)
    assert one.next_hop == FIRST
    one.set(c2=None)
    one.wait(1.0)
    assert one.next_hop == THIRD
    decision = one.set(c3=False)
    assert (decision.level, one.routes) == (Level.WITHDRAWN, ())


def test_of_two_the_one_that_has_not_failed_lately_is_chosen() -> None:
    """The first one has just come back and is held down."""
    one = Watcher().up()
    one.set(c1=False)
    one.wait(5.0)
    one.set(c1=True)
    one.set(c2=False)
    assert one.next_hop == THIRD
    one.set(c3=False)  # it is all there is
    assert one.next_hop == FIRST


@pytest.mark.parametrize("kept", [True, False])
def test_the_choice_outlives_the_agent(kept: bool) -> None:
    """It is that of the leased routes, and the hold-down goes on or begins anew."""
    one = Watcher().up()
    one.set(c1=False)
    one.wait(5.0)
    one.set(c1=True)
    again = one.restart(kept=kept)
    assert again.run_pass().level is Level.PREFERRED
    assert (again.next_hop, again.changes) == (SECOND, [])
    again.wait(53.0)
    assert again.next_hop == SECOND
    again.wait(2.0 if kept else 8.0)
    assert again.next_hop == FIRST
    assert len(again.changes) == 1


def test_a_new_agent_that_knows_nothing_yet_keeps_the_choice() -> None:
    """No check has a result at first: the last choice stays for the deadline."""
    one = Watcher().up()
    one.set(c1=False)
    again = one.restart(blind=True)
    again.run_pass()
    assert again.next_hop == SECOND
    again.wait(4.0)
    assert again.next_hop == SECOND
    again.wait(1.0)
    assert again.routes == ()


def test_an_expired_lease_does_not_bring_a_failed_one_back() -> None:
    """Nothing is announced: the first one is still held down, the second one is chosen."""
    one = Watcher().up()
    one.set(c1=False)
    one.wait(1.0)
    one.set(c1=True)
    assert one.expire().level is Level.STANDBY
    one.wait(2.0)
    assert one.next_hop == SECOND
    again = one.restart(in_time=False)
    again.wait(2.0)
    assert again.next_hop == SECOND


def test_a_reload_that_removes_the_chosen_one_replaces_it() -> None:
    """One that is known to serve takes its place; where none is, nothing is announced."""
    one = Watcher().up()
    fewer = watcher_profile((f"      - {{address: {FIRST}, serve: {{check: c1}}}}\n", ""))
    again = one.restart(profile=fewer)
    assert again.run_pass().level is Level.PREFERRED
    assert again.next_hop == SECOND
    unknown = one.restart(profile=fewer, blind=True)
    assert unknown.run_pass().level is Level.WITHDRAWN


def test_what_was_seen_before_a_freeze_brings_nothing_back() -> None:
    """Own time stood still, so the result may be of any age."""
    one = Watcher().up()
    one.set(c1=False)
    one.wait(50.0)
    one.set(c1=True)
    one.wait(9.0)
    one.checks.pop("c1")
    one.now += 1.0
    one.frozen_until = one.now
    one.wait(1.5)
    assert one.next_hop == SECOND
    one.set(c1=True)
    assert one.next_hop == FIRST


def test_serve_of_the_service_holds_for_all_next_hops() -> None:
    """Where it fails, no other next hop helps, and none of them has failed."""
    both = watcher_profile(("    next_hops:\n", "    serve: {check: c3}\n    next_hops:\n"))
    one = Watcher(both).up()
    decision = one.set(c3=False)
    assert (decision.level, decision.cap.reason) == (Level.WITHDRAWN, Reason.CHECK_FAILED)
    one.set(c3=True)
    one.wait(2.0)
    assert one.next_hop == FIRST


def test_healthy_of_the_chosen_one_counts() -> None:
    """It degrades the route while it is chosen, and not otherwise."""
    graded = watcher_profile(
        (f"{FIRST}, serve: {{check: c1}}", f"{FIRST}, serve: {{check: c1}}, healthy: {{check: c3}}")
    )
    one = Watcher(graded).up()
    one.set(c3=False)
    assert one.wait(12.0).level is Level.DEGRADED  # the last change is `spacing` ago
    one.set(c1=False)
    one.wait(60.0)
    assert (one.next_hop, one.run_pass().level) == (SECOND, Level.PREFERRED)
