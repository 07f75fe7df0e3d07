"""Ways down and back: manual return, maintenance, paths that do not steer, restarts."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycastd.decision.caps import Cap, Context
from anycastd.decision.levels import CapSource, Level
from anycastd.decision.memory import Memory, dump_memory, load_memory
from anycastd.reasons import Reason
from support.policy_driver import MAP, Machine
from support.profiles import profile
from support.snapshots import NO, UNPROVED, YES

WITHDRAWN, STANDBY, DEGRADED, PREFERRED = Level
UP = Context(session_up=True, vip_present=True)
RETURN = "return: {rise: 10, hold_down: 60, hold_down_max: 900, spacing: 35}"
MANUAL = (RETURN, "return: manual")
UNSTEERED = ("  local_as: 65010", "  prepends_steer: false\n  local_as: 65010")


def maintained(then: str) -> tuple[str, str]:
    """Return the change that gives the service a maintenance map."""
    name, key = MAP
    return (
        "    failed:",
        f"    maintenance: {{map: {name}, key: {key}, then: {then}}}\n    failed:",
    )


def test_a_manual_return_waits_for_a_person_at_standby() -> None:
    """After a failure it stays at standby until `anycastd return`; then rise and spacing remain."""
    machine = Machine(profile(MANUAL)).up()
    machine.at(101.0, NO, NO)
    machine.at(102.0, YES, YES)
    for hour in range(1, 30):
        waiting = machine.at(3600.0 * hour, YES, YES)
        assert (waiting.level, waiting.cap.reason) == (STANDBY, Reason.MANUAL)
        assert waiting.cap.ends_at is None
    machine.context = Context(session_up=True, vip_present=True, returned_at=108_000.0)
    assert machine.at(108_000.0, YES, YES).level is PREFERRED


def test_a_manual_return_is_for_one_failure() -> None:
    """A command from before a failure does not count for it; a start needs no command."""
    machine = Machine(profile(MANUAL)).up()
    machine.context = Context(session_up=True, vip_present=True, returned_at=100.5)
    machine.at(101.0, NO, NO)
    machine.at(102.0, YES, YES)
    assert machine.at(5000.0, YES, YES).cap.reason is Reason.MANUAL


def test_what_was_asked_before_a_freeze_announces_nothing() -> None:
    """After an agent was frozen a look that it asked for before is old, whatever own time says."""
    machine = Machine().up()
    machine.memory = replace(machine.memory, level=WITHDRAWN)
    machine.context = UP._replace(frozen_until=200.5)
    waiting = machine.at(200.0, YES, YES)
    assert (waiting.level, waiting.cap.reason) == (WITHDRAWN, Reason.PROVING)
    assert machine.at(200.5, YES, YES).level > WITHDRAWN


def test_after_a_freeze_the_return_has_two_steps() -> None:
    """The spacing counts from the first look after the freeze, however late that comes."""
    machine = Machine().up()
    machine.memory = replace(machine.memory, level=WITHDRAWN)
    machine.context = UP._replace(frozen_until=300.0)
    assert machine.at(200.0, YES, YES).level is WITHDRAWN
    assert machine.at(299.0, YES, YES).level is WITHDRAWN
    first = machine.at(300.0, YES, YES)
    assert (first.level, first.cap.reason) == (Level.STANDBY, Reason.SPACING)
    assert machine.at(340.0, YES, YES).level is PREFERRED


def test_a_freeze_lowers_nothing() -> None:
    """What is announced stays: only a promotion needs a look from after the freeze."""
    machine = Machine().up()
    machine.context = UP._replace(frozen_until=200.5)
    assert machine.at(200.0, YES, YES).level is PREFERRED


def test_return_ends_a_hold_down_too() -> None:
    """`anycastd return` ends the hold-down, and no other wait."""
    machine = Machine().up()
    machine.at(101.0, NO, NO)
    machine.at(102.0, YES, YES)
    machine.at(103.0, YES, YES)
    machine.context = Context(session_up=True, vip_present=True, returned_at=104.0)
    assert machine.at(104.0, YES, YES).cap.reason is Reason.RISING
    assert machine.at(137.9, YES, YES).cap.reason is Reason.SPACING
    assert machine.at(138.0, YES, YES).level is PREFERRED


def test_maintenance_steps_back_and_is_no_failure() -> None:
    """At once to standby; back when the entry is gone, after the spacing and no hold-down."""
    machine = Machine(profile(maintained("standby"))).up()
    planned = machine.at(101.0, YES, YES, entry="on")
    assert (planned.level, planned.cap.reason) == (STANDBY, Reason.MAINTENANCE)
    machine.at(102.0, NO, NO, entry="on")
    assert machine.at(110.0, YES, YES, entry="off").level is WITHDRAWN
    machine.at(111.0, YES, YES)
    assert machine.memory.failures == 0
    assert machine.at(145.9, YES, YES).cap.reason is Reason.SPACING
    assert machine.at(146.0, YES, YES).level is PREFERRED


def test_maintenance_may_withdraw_and_outlasts_a_silent_haproxy() -> None:
    """Maintenance continues until the map can be read again."""
    machine = Machine(profile(maintained("withdraw"))).up()
    assert machine.at(101.0, YES, YES, entry="on").level is WITHDRAWN
    machine.at(102.0, gone=True)
    assert machine.memory.maintenance.value


def test_a_dead_haproxy_is_in_no_maintenance() -> None:
    """It has not switched anything: its end is a failure, with the hold-down."""
    machine = Machine(profile(maintained("standby"))).up()
    dead = machine.at(101.0, gone=True)
    assert (dead.level, dead.cap.reason) == (WITHDRAWN, Reason.HAPROXY_GONE)
    assert not any(cap.source is CapSource.MAINTENANCE for cap in dead.caps)
    assert machine.memory.failures == 1
    machine.at(102.0, YES, YES)
    machine.at(103.0, YES, YES)
    assert machine.at(160.9, YES, YES).cap.reason is Reason.HOLD_DOWN
    assert machine.at(161.0, YES, YES).level is PREFERRED


def test_where_no_path_steers_degraded_is_withdrawn() -> None:
    """The reason says so; it returns only while healthy; a wait still leaves the VIP announced."""
    machine = Machine(profile(UNSTEERED)).up()
    assert machine.at(101.0, YES, NO, NO).cap.reason is Reason.FALLING
    gone = machine.at(106.0, YES, NO, NO)
    assert (gone.level, gone.cap.reason) == (WITHDRAWN, Reason.BELOW_HEALTHY)
    assert "prepends do not steer" in gone.cap.detail
    for second in range(107, 200):
        assert machine.at(float(second), YES, NO, NO).level is WITHDRAWN
    assert machine.at(200.0, YES, YES, YES).level is WITHDRAWN
    assert machine.at(201.0, YES, YES, YES).level is STANDBY
    levels = {machine.at(201.0 + second, YES, YES, YES).level for second in range(60)}
    assert levels == {STANDBY, PREFERRED}


def test_without_steering_a_new_agent_believes_that_the_route_was_healthy() -> None:
    """It was announced, so it was; one answer that HAProxy misses says nothing else."""
    machine = Machine(profile(UNSTEERED), context=UP._replace(leased_level=STANDBY))
    for second in range(100, 110):
        assert machine.at(float(second), UNPROVED, UNPROVED).level is STANDBY
    assert machine.miss(110.5, 109.6).level is STANDBY
    for second in range(111, 130):
        assert machine.at(float(second), UNPROVED, UNPROVED).level is STANDBY


def test_where_no_path_steers_maintenance_withdraws() -> None:
    """Standby would still attract traffic."""
    machine = Machine(profile(UNSTEERED, maintained("standby"))).up()
    assert machine.at(101.0, YES, YES, entry="on").level is WITHDRAWN


def test_degrading_waits_for_the_spacing() -> None:
    """One change of the path at a time: no other change follows a promotion at once."""
    machine = Machine()
    for second in range(37):
        machine.at(float(second), YES, YES)
    assert machine.memory.level is PREFERRED
    for second in range(37, 71):
        assert machine.at(float(second), YES, NO, NO).level is PREFERRED
    waiting = machine.at(70.9, YES, NO, NO)
    assert (waiting.cap.reason, waiting.cap.source) == (Reason.SPACING, CapSource.FALL)
    assert waiting.cap.ends_at == 71.0
    assert machine.at(71.0, YES, NO, NO).level is DEGRADED


@pytest.mark.parametrize("leased", [STANDBY, DEGRADED])
def test_an_adopted_route_waits_for_the_spacing(leased: Level) -> None:
    """The time of the last change is not known after a restart, so it may have been just now."""
    machine = Machine(context=Context(session_up=True, vip_present=True, leased_level=leased))
    for second in range(35):
        assert machine.at(float(second), YES, YES).level is leased
    assert machine.at(60.0, YES, YES).level is PREFERRED


def failed_twice() -> Machine:
    """Bring a machine to standby after its second failure, at 120 s."""
    machine = Machine().up()
    for at in (110.0, 120.0):
        machine.at(at, NO, NO)
        machine.at(at + 1.0, YES, YES)
        machine.at(at + 2.0, YES, YES)
    assert machine.memory.level is STANDBY
    return machine


def test_timers_survive_a_restart() -> None:
    """With the saved memory the next agent ends the hold-down when this one would have ended it."""
    before = failed_twice()
    carried = json.loads(json.dumps(dump_memory(before.memory, 130.0)))
    times = {"failed": 10.0, "changed": 8.0, "returned": None}
    assert carried == {"failures": 2, **times, "announced": True}
    after = Machine(memory=load_memory(carried, 4997.0))
    after.context = Context(session_up=True, vip_present=True, leased_level=STANDBY)
    leased = after.at(5000.0, YES, YES)
    assert (leased.level, leased.transition) == (STANDBY, None)
    # 120 s of hold-down, of which 13 s are over.
    assert after.at(5106.9, YES, YES).cap.reason is Reason.HOLD_DOWN
    assert after.at(5107.0, YES, YES).level is PREFERRED


def test_a_hold_down_survives_a_reboot_and_nothing_is_proved_by_it() -> None:
    """No route is leased then: the proof starts again, and the hold-down continues."""
    carried = dump_memory(failed_twice().memory, 130.0)
    after = Machine(memory=load_memory(carried, 20.0))
    assert after.at(50.0, YES, YES).level is WITHDRAWN
    assert after.at(51.0, YES, YES).level is STANDBY
    assert after.at(129.9, YES, YES).cap.reason is Reason.HOLD_DOWN
    assert after.at(130.0, YES, YES).level is PREFERRED


def test_a_start_without_a_failure_has_no_hold_down() -> None:
    """The memory of an agent without failures delays nothing."""
    after = Machine(memory=load_memory(dump_memory(Machine().up().memory, 200.0), 0.0))
    after.at(0.0, YES, YES)
    after.at(1.0, YES, YES)
    assert after.at(36.0, YES, YES).level is PREFERRED


@pytest.mark.parametrize("kept", [True, False])
def test_the_end_of_a_lease_is_a_change_of_the_route(*, kept: bool) -> None:
    """It was announced when the agent died and is not now: the spacing counts from the start."""
    memory = load_memory(dump_memory(Machine().up().memory, 200.0), 200.0) if kept else Memory()
    drained = Cap(WITHDRAWN, Reason.DRAINED)
    machine = Machine(memory=memory, context=Context(True, True, WITHDRAWN, drained))
    assert machine.at(200.0, YES, YES).level is WITHDRAWN
    machine.context = UP
    assert machine.at(220.0, YES, YES).level is STANDBY
    assert machine.at(254.9, YES, YES).cap.reason is Reason.SPACING
    assert machine.at(255.0, YES, YES).level is PREFERRED


TIMES = st.none() | st.floats(allow_nan=True) | st.integers()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(failures=st.integers(min_value=0), failed=TIMES, changed=TIMES, returned=TIMES)
def test_whatever_was_carried_the_hold_down_is_bounded(
    failures: int, **times: float | None
) -> None:
    """Impossible times delay for at most `hold_down_max`, never for ever."""
    memory = load_memory({"failures": failures, **times}, 1000.0)
    assert memory.level is WITHDRAWN
    assert not memory.adopted
    for at in (memory.failed_at, memory.changed_at, memory.returned_at):
        assert at is None or (math.isfinite(at) and at <= 1000.0)
    machine = Machine(memory=memory)
    machine.at(1000.0, YES, YES)
    assert machine.at(1001.0, YES, YES).level is STANDBY
    assert machine.at(1901.1, YES, YES).level is PREFERRED


@pytest.mark.parametrize(
    "carried",
    [
        {},
        {"failures": -1},
        {"failures": True},
        {"failures": 1.5},
        {"failures": 1, "failed": "x"},
        {"failures": 1, "changed": False},
    ],
)
def test_what_carry_did_not_give_is_refused(carried: dict[str, object]) -> None:
    """The caller gets ValueError, and begins without it."""
    with pytest.raises(ValueError, match="is no"):
        load_memory(carried, 7.0)


def test_a_failure_without_its_time_was_just_now() -> None:
    """Assume the longest possible wait."""
    assert load_memory({"failures": 1}, 7.0) == Memory(
        level_began_at=7.0, failures=1, failed_at=7.0, restored=True
    )


def test_a_drain_caps_whatever_else_is_so() -> None:
    """It lowers the level at once, and nothing is promoted while it lasts."""
    machine = Machine().up()
    machine.context = Context(True, True, None, Cap(STANDBY, Reason.MAINTENANCE))
    drained = machine.at(101.0, YES, YES)
    assert (drained.level, drained.cap.source) == (STANDBY, CapSource.DRAIN)
    assert machine.at(5000.0, YES, YES).level is STANDBY
    machine.context = UP
    assert machine.at(5001.0, YES, YES).level is PREFERRED


def test_a_return_by_timers_is_a_return() -> None:
    """An old failure does not count where `return: manual` is switched on later."""
    machine = Machine().up()
    machine.at(101.0, NO, NO)
    for second in range(102, 400):
        machine.at(float(second), YES, YES)
    assert machine.at(400.0, YES, YES).level is PREFERRED
    machine.profile = profile(MANUAL)
    drain = Cap(WITHDRAWN, Reason.DRAINED, source=CapSource.DRAIN)
    machine.context = UP._replace(drain=drain)
    assert machine.at(500.0, YES, YES).level is WITHDRAWN
    machine.context = UP
    back = [machine.at(float(second), YES, YES) for second in range(501, 600)]
    assert all(each.cap.reason is not Reason.MANUAL for each in back)
    assert back[-1].level is PREFERRED


def test_a_later_return_by_timers_is_not_undone_by_an_older_command() -> None:
    """The agent keeps the time of the last `anycastd return` for as long as it runs."""
    machine = Machine().up()
    machine.context = UP._replace(returned_at=50.0)
    machine.at(101.0, NO, NO)
    for second in range(102, 400):
        machine.at(float(second), YES, YES)
    machine.profile = profile(MANUAL)
    assert machine.at(400.0, YES, YES).level is PREFERRED
    assert machine.memory.returned_at == 101
    settled = machine.memory
    machine.at(401.0, YES, YES)
    assert machine.memory is settled  # a pass without news changes nothing


@pytest.mark.parametrize("failed_ago", [30.0, 5_000.0])
def test_a_level_that_was_adopted_is_a_return_after_the_hold_down(failed_ago: float) -> None:
    """A memory of an older release does not say that the service has returned."""
    dump = {"failures": 1, "failed": failed_ago, "changed": 20.0, "returned": None}
    machine = Machine(memory=load_memory({**dump, "announced": True}, 1000.0))
    machine.context = UP._replace(leased_level=PREFERRED)
    assert machine.at(1000.0, YES, YES).level is PREFERRED
    returned = machine.memory.returned_at
    assert (returned is None) == (failed_ago < 60)


def test_a_failure_in_the_moment_of_the_return_counts() -> None:
    """The search found it: both had the same time, and the new failure had no hold-down."""
    machine = Machine().up()
    machine.at(101.0, NO, NO)
    seconds = range(102, 400)
    second = next(each for each in seconds if machine.at(each, YES, YES).level is PREFERRED)
    machine.at(second, NO, NO)
    machine.at(second + 1.0, YES, YES)
    held = machine.at(second + 80.0, YES, YES)
    assert (held.level, held.cap.reason) == (STANDBY, Reason.HOLD_DOWN)
