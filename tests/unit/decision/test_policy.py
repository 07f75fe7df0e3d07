"""One service's decisions, driven second by second."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycastd.decision.caps import Context, compute_hold_down
from anycastd.decision.levels import Level
from anycastd.evidence.haproxy.conditions import BELIEVE_WITNESS_FOR
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Unreadable
from anycastd.reasons import Reason
from support.policy_driver import Machine
from support.profiles import profile
from support.snapshots import NO, UNPROVED, YES, server, snapshot

WITHDRAWN, STANDBY, DEGRADED, PREFERRED = (
    Level.WITHDRAWN,
    Level.STANDBY,
    Level.DEGRADED,
    Level.PREFERRED,
)
DEADLINE = 3.0


def test_start_is_gentle() -> None:
    """Withdrawn until proved for `after`, then standby, then preferred; each wait has a reason."""
    machine = Machine()
    first = machine.at(0.0, YES, YES)
    assert (first.level, first.cap.reason) == (WITHDRAWN, Reason.PROVING)
    assert first.wake_at == 1.0
    second = machine.at(1.0, YES, YES)
    assert second.level is STANDBY
    assert {cap.reason for cap in second.caps} >= {Reason.RISING, Reason.NOT_HEALTHY_LONG}
    assert Reason.HOLD_DOWN not in {cap.reason for cap in second.caps}
    # Spacing: the standby announcement at 1 s was a change, the next promotion is 35 s later.
    assert machine.at(35.9, YES, YES).level is STANDBY
    assert machine.at(36.0, YES, YES).level is PREFERRED
    settled = machine.at(36.1, YES, YES)
    assert (settled.cap.reason, settled.caps) == (Reason.SERVING, ())


@pytest.mark.parametrize("gone", [False, True])
def test_cannot_serve_is_never_delayed(gone: bool) -> None:
    """The pass that sees it withdraws, whatever timers run."""
    machine = Machine().up()
    decision = machine.at(100.001, NO, NO, gone=gone)
    assert decision.level is WITHDRAWN
    assert decision.transition is not None
    expected = Reason.HAPROXY_GONE if gone else Reason.TOO_FEW_SERVERS
    assert decision.cap.reason is expected


def test_return_is_standby_first_and_preferred_after_the_hold_down() -> None:
    """After a failure at 100 s: standby after 1 s of proof, preferred 60 s after the failure."""
    machine = Machine().up()
    machine.at(100.5, NO, NO)
    assert machine.at(101.0, YES, YES).level is WITHDRAWN
    assert machine.at(102.0, YES, YES).level is STANDBY
    leased = machine.at(150.0, YES, YES)
    assert (leased.level, leased.cap.reason) == (STANDBY, Reason.HOLD_DOWN)
    assert leased.cap.ends_at == 160.5
    assert machine.at(160.4, YES, YES).level is STANDBY
    assert machine.at(160.5, YES, YES).level is PREFERRED


def test_hold_down_doubles_up_to_a_cap_and_is_forgotten() -> None:
    """60, 120, 240, 480, then always 900 s; after one hour without a failure 60 s again."""
    service = profile().services["web"]
    waits = [compute_hold_down(service, failures) for failures in (0, 1, 2, 3, 4, 5, 500)]
    assert waits == [0, 60, 120, 240, 480, 900, 900]
    machine = Machine().up()
    for failure in (1, 2):
        machine.at(100.0 + 10 * failure, NO, NO)
        assert machine.memory.failures == failure
        machine.at(101.0 + 10 * failure, YES, YES)
    machine.at(120.0 + 3600.0, NO, NO)
    assert machine.memory.failures == 1


def test_serving_with_less_degrades_after_fall_only() -> None:
    """Below `healthy` for less than `fall` (5 s) changes nothing: a rolling deployment."""
    machine = Machine().up()
    falling = machine.at(101.0, YES, NO, NO)
    assert (falling.level, falling.cap.reason) == (PREFERRED, Reason.FALLING)
    assert falling.wake_at is not None
    machine.at(105.0, YES, YES, YES)
    machine.at(106.0, YES, NO, NO)
    assert machine.at(110.9, YES, NO, NO).level is PREFERRED
    degraded = machine.at(111.0, YES, NO, NO)
    assert (degraded.level, degraded.cap.reason) == (DEGRADED, Reason.BELOW_HEALTHY)
    machine.at(112.0, YES, YES, YES)
    assert machine.at(145.9, YES, YES, YES).level is DEGRADED  # spacing
    assert machine.at(146.0, YES, YES, YES).level is PREFERRED


def test_unknown_holds_what_is_announced_and_announces_nothing_new() -> None:
    """A reload (servers UP, unproved) changes nothing; a start with it stays withdrawn for long."""
    machine = Machine().up()
    for tenth in range(1, 590):
        assert machine.at(100.0 + tenth / 10, UNPROVED, UNPROVED).level is PREFERRED
    assert machine.at(160.0, NO, UNPROVED, NO).level is PREFERRED
    assert machine.at(160.0, NO, NO, NO).level is WITHDRAWN

    fresh = Machine()
    for second in range(600):
        assert fresh.at(float(second), UNPROVED, UNPROVED).level is WITHDRAWN
    assert fresh.at(600.0, UNPROVED, UNPROVED).cap.reason is Reason.PROVING
    assert fresh.at(601.0, UNPROVED, UNPROVED).level is STANDBY


def test_unknown_right_after_a_failure_does_not_announce() -> None:
    """HAProxy restarted: withdrawn until the new one has proved its servers."""
    machine = Machine().up()
    machine.at(101.0, gone=True)
    for tenth in range(100):
        assert machine.at(102.0 + tenth / 10, UNPROVED, UNPROVED).level is WITHDRAWN
    machine.at(112.0, YES, YES)
    assert machine.at(113.0, YES, YES).level is STANDBY


def test_waits_that_end_while_it_is_unknown_leave_two_steps() -> None:
    """Its proof was not over when it became unknown: it returns at standby, then the spacing."""
    machine = Machine().up()
    machine.at(101.0, NO, NO)
    assert machine.at(110.0, YES, YES).cap.reason is Reason.PROVING
    for second in range(111, 165):
        assert machine.at(float(second), UNPROVED, UNPROVED).level is WITHDRAWN
    assert machine.at(165.0, YES, YES).level is STANDBY
    assert machine.at(199.9, YES, YES).level is STANDBY
    assert machine.at(200.0, YES, YES).level is PREFERRED


def test_losing_all_sessions_is_a_failure() -> None:
    """Without a session the wanted level is standby, so that the return is gentle."""
    machine = Machine().up()
    machine.context = Context(session_up=False, vip_present=True)
    lost = machine.at(101.0, YES, YES)
    assert (lost.level, lost.cap.reason) == (STANDBY, Reason.NO_SESSION)
    machine.context = Context(session_up=True, vip_present=True)
    assert machine.at(102.0, YES, YES).level is STANDBY
    assert machine.at(161.0, YES, YES).level is PREFERRED


def test_not_knowing_the_sessions_changes_nothing() -> None:
    """That a lease process is restarted is no evidence against a neighbor."""
    machine = Machine().up()
    machine.context = Context(session_up=None, vip_present=True)
    assert machine.at(101.0, YES, YES).level is PREFERRED


def test_a_vip_that_is_not_there_is_not_announced() -> None:
    """Packets would arrive and find no address."""
    machine = Machine().up()
    machine.context = Context(session_up=True, vip_present=False)
    gone = machine.at(101.0, YES, YES)
    assert (gone.level, gone.cap.reason) == (WITHDRAWN, Reason.VIP_MISSING)
    assert machine.memory.failures == 1
    machine.context = Context(session_up=True, vip_present=True)
    assert machine.at(150.0, YES, YES).cap.reason is Reason.PROVING
    assert machine.at(151.0, YES, YES).level is STANDBY, "a failure like any other"
    assert machine.at(160.9, YES, YES).cap.reason is Reason.HOLD_DOWN


def test_failed_standby_keeps_the_vip_while_haproxy_lives() -> None:
    """`failed: standby` answers 503 at the longest path; without a HAProxy it is withdrawn."""
    machine = Machine(profile(("failed: withdraw", "failed: standby"))).up()
    assert machine.at(101.0, NO, NO).level is STANDBY
    assert machine.at(102.0, gone=True).level is WITHDRAWN


@pytest.mark.parametrize("leased", [PREFERRED, DEGRADED, STANDBY])
def test_what_the_lease_holds_is_adopted(leased: Level) -> None:
    """An agent that returns before its lease ends changes nothing, if the evidence agrees."""
    machine = Machine(context=Context(session_up=True, vip_present=True, leased_level=leased))
    first = machine.at(0.0, YES, YES) if leased is not DEGRADED else machine.at(0.0, YES, NO, NO)
    assert first.level is leased
    assert first.transition is None


def test_what_the_lease_holds_is_withdrawn_if_the_evidence_disagrees() -> None:
    """Leased routes are no proof."""
    machine = Machine(context=Context(session_up=True, vip_present=True, leased_level=PREFERRED))
    assert machine.at(0.0, NO, NO).level is WITHDRAWN


def test_nothing_is_announced_before_the_lease_was_heard() -> None:
    """Without a lease process nothing can be announced or adopted."""
    machine = Machine(context=Context())
    decision = machine.at(100.0, YES, YES)
    assert (decision.level, decision.cap.reason) == (WITHDRAWN, Reason.NO_SPEAKER)


MOMENTS = st.lists(
    st.tuples(
        st.sampled_from([0.05, 0.5, 1.0, 5.0, 20.0, 70.0]),
        st.sampled_from(
            [(YES, YES), (YES, NO, NO), (NO, NO), (UNPROVED, UNPROVED), (YES, UNPROVED), ()]
        ),
        st.sampled_from([True, True, True, False, None]),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(MOMENTS)
def test_whatever_happens_the_promises_hold(
    moments: list[tuple[float, tuple[Usable, ...], bool | None, bool]],
) -> None:
    """Search: withdrawn at once if it fails, announced if well, promotions keep their spacing."""
    machine = Machine()
    now = 0.0
    well_since: float | None = None
    changed: float | None = None
    for wait, servers, sessions, vip in moments:
        now += wait
        machine.context = Context(
            session_up=sessions, vip_present=vip, leased_level=Level.WITHDRAWN
        )
        before = machine.memory.level
        decision = machine.at(now, *servers)
        if YES not in servers and UNPROVED not in servers:
            assert decision.level is WITHDRAWN
        if YES in servers and vip:
            well_since = now if well_since is None else well_since
            if now - well_since > 1.0:
                assert decision.level >= STANDBY
        else:
            well_since = None
        if UNPROVED in servers and YES not in servers and before is WITHDRAWN:
            announced_by_word = machine.memory.serve.unknown_began_at is not None
            assert decision.level is WITHDRAWN or announced_by_word
        if decision.level > before and decision.level > STANDBY:
            assert changed is None or now - changed >= 35.0
        if decision.level is not before:
            changed = now
        assert decision.wake_at is None or decision.wake_at > now


@pytest.mark.parametrize("unproved_for", [5, 20, 59, 61, 300])
def test_a_missed_look_at_unproved_servers_has_a_time_of_its_own(unproved_for: int) -> None:
    """Silence counts from where it began, however long no check had confirmed the servers."""
    machine = Machine().up()
    began_at = 101.0 + unproved_for
    for second in range(101, int(began_at)):
        assert machine.at(float(second), UNPROVED, UNPROVED).level is PREFERRED
    assert machine.miss(began_at + 1, began_at).level is PREFERRED
    assert machine.miss(began_at + 2.9, began_at, 2).level is PREFERRED
    hung = machine.miss(began_at + 3, began_at, 3)
    assert (hung.level, hung.cap.reason) == (WITHDRAWN, Reason.HAPROXY_SILENT)


def test_silence_does_not_prolong_what_is_unproved() -> None:
    """Each silence has its own time; what was unknown before it goes on counting."""
    machine = Machine().up()
    for second in range(101, 160):
        machine.at(float(second), UNPROVED, UNPROVED)
    assert machine.miss(161.0, 160.0).level is PREFERRED
    assert machine.memory.serve.unknown_began_at == 101.0
    # The second look never comes: the last value ends all the same.
    assert machine.miss(165.9, 160.0).level is PREFERRED
    assert machine.miss(166.0, 160.0).level is WITHDRAWN


UNPROVED_DOWN = replace(server("s1", UNPROVED), status="DOWN", check="L4CON")


LOOKS = st.tuples(st.sampled_from(["down", "silent", "witnessed"]), st.integers(1, 70))


@given(st.lists(LOOKS, min_size=1, max_size=4))
def test_no_mixture_of_silence_and_doubt_is_believed_for_long(runs: list[tuple[str, int]]) -> None:
    """HAProxy calls its servers DOWN and proves nothing: the route ends within 66 s in any case."""
    machine = Machine().up()
    silent_from, missed = 0.0, 0
    looks = [found for found, count in [*runs, ("witnessed", 70)] for _ in range(count)]
    for now, found in enumerate(looks, 101):
        if found == "down":
            seen, missed = snapshot(asked_at=now), 0
            backend = replace(seen.backends["web"], servers=(UNPROVED_DOWN,))
            level = machine.judge(replace(seen, backends={"web": backend}), now).level
        else:
            silent_from, missed = silent_from if missed else now, missed + 1
            heard_at = now if found == "witnessed" else None
            look = Unreadable(now, silent_from, missed, "no answer", heard_at=heard_at)
            level = machine.judge(look, now).level
        assert level is WITHDRAWN or now < 101 + BELIEVE_WITNESS_FOR + 2 * DEADLINE
    assert machine.memory.failures == 1
