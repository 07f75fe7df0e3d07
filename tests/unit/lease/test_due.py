"""What the lease process leaves out: ticks at which the state machine has nothing to do."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from anycastd.bgp.session import Session
from anycastd.lease.commands import SessionChanged
from anycastd.lease.due import ALWAYS, find_due_at
from anycastd.lease.effects import Effect, KillSpeaker, Log
from anycastd.lease.messages import Reload
from anycastd.lease.owner import CRASH_WINDOW, MAX_CRASHES
from support.lease_rig import PEERS, LeaseRig, route, want

TICK = 0.05


def follow(rig: LeaseRig, seconds: float, *, answers: bool = True) -> tuple[list[Effect], int]:
    """Let time pass; a tick that is not due has no effect.  Returns all effects, and due ticks.

    ``answers``: the lease hears the answers of ExaBGP.
    """
    found: list[Effect] = []
    count = 0
    for _ in range(round(seconds / TICK)):
        rig.now += TICK
        is_due = rig.now >= find_due_at(rig.lease)
        effects = rig.lease.tick(rig.now)
        assert is_due or not effects, effects
        count += is_due
        found += effects
        if answers:
            rig.carry_out(effects)
            continue
        rig.exabgp.receive(effects)
        while rig.exabgp.outstanding:
            rig.exabgp.answer_next()  # and nobody hears it
    return found, count


def test_an_idle_minute_has_few_ticks_that_are_due() -> None:
    """Pings, and the table that is read back; else nothing is gained."""
    rig = LeaseRig()
    due = 0
    for serial in range(1, 61):
        rig.send(1, want(serial, route()))
        due += follow(rig, 1.0)[1]
    assert 10 <= due <= 120, "of 1,200"


def test_the_end_of_a_lease_is_due() -> None:
    """Routes end in the tick in which they always did."""
    rig = LeaseRig()
    rig.send(1, want(1, route(), ttl=5.0))
    follow(rig, 4.9)
    assert rig.exabgp.rib
    follow(rig, 0.15)
    assert not rig.exabgp.rib


def test_an_exabgp_that_does_not_answer_is_due() -> None:
    """It is killed in time."""
    rig = LeaseRig()
    timeout = rig.lease.settings.ping_interval + rig.lease.settings.answer_timeout
    found, _ = follow(rig, timeout + 2 * TICK, answers=False)
    assert any(isinstance(effect, KillSpeaker) for effect in found)


def test_the_end_of_a_ban_is_due() -> None:
    """Agents that crashed in a loop may announce again after a while."""
    rig = LeaseRig()
    for number in range(1, MAX_CRASHES + 2):
        rig.lease.on_connected(number, rig.now)
        rig.send(number, want(1, route(), epoch=number))
        if number <= MAX_CRASHES:
            rig.lease.on_disconnected(number)
    assert (rig.lease.owner.crash_looping, find_due_at(rig.lease)) == (True, ALWAYS)
    found, _ = follow(rig, CRASH_WINDOW + TICK)
    assert any(isinstance(effect, Log) and "announce again" in effect.text for effect in found)
    assert find_due_at(rig.lease) > rig.now


ACTIONS: dict[str, Callable[[LeaseRig, int], object]] = {
    "want": lambda rig, n: rig.send(1, want(n, route(), ttl=1.0 + n % 4)),
    "want nothing": lambda rig, n: rig.send(1, want(n, ttl=0.0)),
    "another agent": lambda rig, n: rig.send(n + 2, want(1, route(), epoch=n + 2)),
    "agent gone": lambda rig, _: rig.lease.on_disconnected(rig.lease.owner_connection or 1),
    "session down": lambda rig, _: rig.carry_out(
        rig.lease.on_fact(SessionChanged(PEERS[0], Session.DOWN), rig.now)
    ),
    "session up": lambda rig, _: rig.carry_out(
        rig.lease.on_fact(SessionChanged(PEERS[0], Session.UP), rig.now)
    ),
    "reload": lambda rig, _: rig.send(1, Reload().dump()),
    "a route too many": lambda rig, _: rig.exabgp.rib.update({route().key: route(asns=9)}),
}
STEPS = st.lists(
    st.tuples(st.sampled_from([*ACTIONS]), st.sampled_from([0.05, 0.3, 1.0, 4.0]), st.booleans()),
    max_size=30,
)


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_nothing_is_left_out(steps: list[tuple[str, float, bool]]) -> None:
    """Whatever happens: a tick that is not due would have done nothing."""
    rig = LeaseRig()
    for number, (action, seconds, answers) in enumerate(steps, start=1):
        ACTIONS[action](rig, number)
        follow(rig, seconds, answers=answers)
