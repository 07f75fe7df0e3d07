"""State machine of the lease, without any I/O."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.lease.commands import Announce, Answer, QueryAdjRibOut, SessionChanged, Withdraw
from anycastd.lease.effects import CloseConnection, KillSpeaker, SendCommand, SendReport
from anycastd.lease.machine import LeaseMachine
from anycastd.lease.messages import Report
from support.lease_rig import PEERS, VIPS, LeaseRig, reports_in, route, want


def test_a_want_is_told_and_acknowledged() -> None:
    """The wanted set goes to ExaBGP, and the agent hears when ExaBGP has confirmed it."""
    rig = LeaseRig()
    done = rig.send(1, want(1, route()))
    assert rig.exabgp.rib == {route().key: route()}
    first, last = reports_in(done)
    assert (first.serial, first.acked, first.leased) == (1, 0, (route(),)), "heard, not yet done"
    assert (last.serial, last.acked, last.leased) == (1, 1, None)


def test_only_differences_are_said_and_withdrawals_go_first() -> None:
    """A replaced path is one announce; what is not wanted any more leaves before it."""
    rig = LeaseRig()
    rig.send(1, want(1, route(VIPS[0]), route(VIPS[1])))
    rig.exabgp.received.clear()
    rig.send(1, want(2, route(VIPS[0], asns=3)))
    assert rig.exabgp.received == [Withdraw(route(VIPS[1])), Announce(route(VIPS[0], asns=3))]
    rig.exabgp.received.clear()
    rig.send(1, want(3, route(VIPS[0], asns=3)))
    assert rig.exabgp.received == []


def test_a_lease_that_is_not_renewed_runs_out() -> None:
    """No word from the agent for its ttl, and everything is withdrawn."""
    rig = LeaseRig()
    rig.send(1, want(1, route(), ttl=5.0))
    rig.advance(4.9)
    assert rig.exabgp.rib
    rig.advance(0.2)
    assert not rig.exabgp.rib


def test_a_ttl_is_bounded() -> None:
    """An agent cannot ask for more than the profile allows (10 s here)."""
    rig = LeaseRig()
    rig.send(1, want(1, route(), ttl=3600.0))
    rig.advance(10.1)
    assert not rig.exabgp.rib


def test_what_was_decided_before_the_lease_ran_out_comes_too_late() -> None:
    """An agent that was stopped goes on in the middle of a pass: it has to hear of it first."""
    rig = LeaseRig()
    rig.send(1, want(1, route(), expirations=0))
    rig.advance(5.1)
    (late,) = reports_in(rig.send(1, want(2, route(), expirations=0)))
    assert (late.expirations, late.leased, late.serial, rig.exabgp.rib) == (1, None, 1, {})
    rig.send(1, want(3, route(asns=7), expirations=1))
    assert rig.exabgp.rib == {route().key: route(asns=7)}


def test_an_older_agent_does_not_know_of_lapses() -> None:
    """What 0.1.0 wants counts as it always did, and so does what an agent does not want."""
    rig = LeaseRig()
    rig.send(1, want(1, route()))
    rig.advance(5.1)
    rig.send(1, want(2, route()))
    assert rig.exabgp.rib == {route().key: route()}
    rig.send(1, want(3, expirations=0))
    assert not rig.exabgp.rib


def test_a_clean_stop_withdraws_at_once() -> None:
    """No routes with ttl 0."""
    rig = LeaseRig()
    rig.send(1, want(1, route()))
    done = rig.send(1, want(2, ttl=0.0))
    assert not rig.exabgp.rib
    assert reports_in(done)[-1].acked == 2


def test_a_new_process_inherits_and_an_agent_renews_without_a_word_on_the_wire() -> None:
    """The lease process died and was started again: nothing changes if the agent still wants it."""
    rig = LeaseRig(route())
    assert reports_in(rig.effects)[-1].leased == (route(),)
    rig.exabgp.received.clear()
    rig.advance(1.0)
    rig.send(1, want(9, route()))
    rig.advance(4.5)
    assert rig.exabgp.rib == {route().key: route()}
    assert not [said for said in rig.exabgp.received if isinstance(said, Announce | Withdraw)]


def test_what_was_inherited_is_withdrawn_if_nobody_comes() -> None:
    """Agent and lease died together: one bounded time, then nothing."""
    rig = LeaseRig(route())
    rig.advance(5.1)
    assert not rig.exabgp.rib


def test_a_foreign_route_is_not_inherited() -> None:
    """Only the profile's VIPs may stand in the adj-rib-out."""
    foreign = Route(PEERS[0], "198.51.100.0/24", "192.0.2.10", (65010,))
    rig = LeaseRig(foreign)
    assert not rig.exabgp.rib


@pytest.mark.parametrize(
    "bad",
    [
        route("198.51.100.1/32"),
        route(neighbor="192.0.2.99"),
        Route(PEERS[0], VIPS[0], "192.0.2.10", (65020,)),
    ],
)
def test_what_the_profile_does_not_have_is_left_out(bad: Route) -> None:
    """Even a confused agent cannot announce another prefix, neighbor or first AS.

    It is named, and what is right is announced all the same: a VIP that only the agent's newer
    profile has must not take the others away.
    """
    rig = LeaseRig()
    right = route(VIPS[1], PEERS[1])
    done = rig.send(1, want(1, bad, right))
    assert rig.exabgp.rib == {right.key: right}
    (problem,) = reports_in(done)[-1].problems
    assert any(text in problem for text in (bad.prefix, bad.neighbor))
    rig.send(1, want(2, right))
    assert reports_in(rig.effects)[-1].problems == ()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b'{"v":2}',
        b'{"v":1}',
        b'{"v":1,"serial":1,"ttl":5,"epoch":1,"pid":1,"routes":[{"neighbor":"x"}]}',
        b'{"v":1,"serial":1,"ttl":5,"epoch":1,"pid":1,"routes":[[]]}',
        b'{"v":1,"serial":1e999,"ttl":5,"epoch":1,"pid":1,"routes":[]}',
        b"[" * 100_000,
        want(1, route(), route(asns=2)),
        want(1, route()).replace(b"65010", b"0"),
        want(1, route()).replace(b'"communities":[]', b'"communities":["1:1 ] next-hop 1.1.1.1"]'),
    ],
)
def test_garbage_is_refused_and_holds_nothing(line: bytes) -> None:
    """A message that is none closes its connection and changes nothing."""
    rig = LeaseRig()
    rig.send(1, want(1, route()))
    done = rig.send(2, line)
    assert any(isinstance(effect, CloseConnection) and effect.connection == 2 for effect in done)
    assert [effect.to for effect in done if isinstance(effect, SendReport)] == [2]
    assert reports_in(done)[0].refused, "it is told why"
    assert rig.exabgp.rib == {route().key: route()}


def test_unknown_fields_are_ignored() -> None:
    """Fields are only ever added: a newer agent may say more."""
    rig = LeaseRig()
    rig.send(1, want(1, route()).replace(b'"v":1', b'"v":1,"novelty":{"a":[1]}'))
    assert rig.exabgp.rib
    told = reports_in(rig.effects)[-1].dump().replace(b'"v":1', b'"v":1,"novelty":2')
    assert Report.load(told) == reports_in(rig.effects)[-1]


def test_the_newest_agent_wins_and_the_loser_is_told() -> None:
    """One holder: a later agent takes over, an earlier one that wakes up is refused."""
    rig = LeaseRig()
    rig.send(1, want(1, route(), epoch=10, pid=11))
    done = rig.send(2, want(1, route(asns=3), epoch=20, pid=22))
    lost = [effect for effect in done if isinstance(effect, SendReport) and effect.report.lost]
    assert [effect.to for effect in lost] == [1]
    assert "pid 22" in lost[0].report.lost
    late = rig.send(3, want(5, route(), epoch=10, pid=11))
    assert any(isinstance(effect, CloseConnection) and effect.connection == 3 for effect in late)
    assert rig.exabgp.rib == {route().key: route(asns=3)}


def test_what_another_agent_was_confirmed_says_nothing_to_the_next() -> None:
    """Serials are an agent's own: the first of the next one is not done because 500 was."""
    rig = LeaseRig()
    rig.send(1, want(500, route(), epoch=10))
    effects = rig.lease.on_message(2, want(1, route(asns=3), epoch=20), rig.now)
    assert [report.acked for report in reports_in(effects) if not report.lost] == [0]
    done = rig.carry_out(effects)
    assert reports_in(done)[-1].acked == 1


def test_everybody_hears_of_every_change() -> None:
    """Who only looks on knows what is held, whoever else was told of it before."""
    rig = LeaseRig()
    rig.lease.on_connected(2, rig.now)
    rig.send(1, want(1, route()))
    done = rig.carry_out(
        rig.lease.on_fact(SessionChanged(PEERS[1], Session.DOWN, "reset"), rig.now)
    )
    heard = {effect.to: effect.report.leased for effect in done if isinstance(effect, SendReport)}
    assert heard == {1: None, 2: (route(),)}


def test_a_rib_that_cannot_be_read_at_the_start_is_asked_for_again() -> None:
    """What stands there is nobody's until it is known; if it never is, the sessions close."""
    rig = LeaseRig(route())
    rig.lease = LeaseMachine(rig.lease.settings, rig.now)
    rig.exabgp.outstanding.clear()
    rig.effects.clear()
    rig.exabgp.receive(rig.lease.start(rig.now))
    ended: list[float] = []
    asked = 0
    for _ in range(220):
        while rig.exabgp.outstanding:
            answer = rig.exabgp.answer_next()
            if isinstance(answer.command, QueryAdjRibOut):
                asked += 1
                answer = Answer(answer.command, error="cannot read the rib")
            rig.exabgp.receive(rig.lease.on_fact(answer, rig.now))
        rig.now += 0.05
        effects = rig.lease.tick(rig.now)
        rig.exabgp.receive(effects)
        ended += [rig.now - 100.0 for effect in effects if isinstance(effect, KillSpeaker)]
    assert asked > 5
    assert len(ended) == 1
    assert 8.9 <= ended[0] <= 10.1  # inherit 5 s, answer 4 s


def test_a_session_that_comes_up_is_told_everything_again() -> None:
    """What was sent before it came up does not count."""
    rig = LeaseRig()
    rig.send(1, want(1, route(), route(neighbor=PEERS[1])))
    rig.carry_out(rig.lease.on_fact(SessionChanged(PEERS[1], Session.DOWN, "reset"), rig.now))
    rig.exabgp.received.clear()
    rig.carry_out(rig.lease.on_fact(SessionChanged(PEERS[1], Session.UP), rig.now))
    assert rig.exabgp.received == [Announce(route(neighbor=PEERS[1]))]


def test_the_rib_is_read_back_and_repaired() -> None:
    """What stands in ExaBGP and not on the lease is mended, counted and shown."""
    rig = LeaseRig()
    rig.send(1, want(1, route(), ttl=10.0))
    rig.exabgp.rib = {route(VIPS[1]).key: route(VIPS[1])}
    done = rig.advance(1.5)
    assert rig.exabgp.rib == {route().key: route()}
    assert rig.lease.adj_rib_out.repairs == 2
    assert reports_in(done)[-1].neighbors[PEERS[0]].rib == "differs"
    rig.send(1, want(2, route(), ttl=10.0))
    assert reports_in(rig.advance(1.5))[-1].neighbors[PEERS[0]].rib == "agrees"


def test_a_command_that_is_refused_is_said_again() -> None:
    """ExaBGP's refusal is kept for the agent, and the next pass tries again."""
    rig = LeaseRig()
    effects = rig.lease.on_message(1, want(1, route()), rig.now)
    (said,) = [effect.command for effect in effects if isinstance(effect, SendCommand)]
    done = rig.lease.on_fact(Answer(said, error="no such neighbor"), rig.now)
    assert reports_in(done)[-1].errors == (
        "announce 203.0.113.10/32 to 192.0.2.4: no such neighbor",
    )
    rig.send(1, want(2, route()))
    assert rig.exabgp.rib


def test_an_exabgp_that_does_not_answer_is_ended() -> None:
    """It is asked each second, and has 4 s for an answer."""
    rig = LeaseRig()
    rig.exabgp.outstanding.clear()
    ended: list[float] = []
    for _ in range(200):
        rig.now += 0.05
        effects = rig.lease.tick(rig.now)
        ended += [rig.now for effect in effects if isinstance(effect, KillSpeaker)]
    assert ended
    assert 4.9 <= ended[0] - 100.0 <= 5.2


class AnyOrder(RuleBasedStateMachine):
    """Search: whatever is lost, repeated or reordered, nothing is held past its time."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = LeaseRig()
        self.connection = 1
        self.serial = 0
        self.epoch = 1
        self.until = 0.0

    @rule(
        routes=st.sets(
            st.sampled_from([route(v, p, n) for v in VIPS for p in PEERS for n in (1,)])
        ),
        longer=st.booleans(),
        ttl=st.sampled_from([0.0, 1.0, 5.0]),
    )
    def renew(self, routes: set[Route], longer: bool, ttl: float) -> None:
        """The agent says what it wants."""
        self.serial += 1
        paths = tuple(route(r.prefix, r.neighbor, 3 if longer else 1) for r in routes)
        self.rig.send(self.connection, want(self.serial, *paths, ttl=ttl, epoch=self.epoch))
        self.until = self.rig.now + ttl

    @rule()
    def reconnect(self) -> None:
        """The agent is another one."""
        self.rig.lease.on_disconnected(self.connection)
        self.connection += 1
        self.epoch += 1
        self.rig.carry_out(self.rig.lease.on_connected(self.connection, self.rig.now))

    @rule(seconds=st.sampled_from([0.05, 0.5, 2.0, 6.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.rig.advance(seconds)

    @rule(peer=st.sampled_from(PEERS), session=st.sampled_from([Session.UP, Session.DOWN]))
    def session(self, peer: str, session: Session) -> None:
        """A session changes, or is said to change again."""
        self.rig.carry_out(self.rig.lease.on_fact(SessionChanged(peer, session), self.rig.now))

    @precondition(lambda self: self.rig.exabgp.rib)
    @rule()
    def forget(self) -> None:
        """ExaBGP loses a route by itself."""
        lost = next(iter(self.rig.exabgp.rib.values()))
        self.rig.exabgp.rib.pop(lost.key)
        # The machine cannot know before it reads, and a withdrawal of it is then an error.
        self.rig.lease.adj_rib_out.advertised.pop(lost.key, None)
        self.rig.lease.adj_rib_out.permitted.pop(lost.key, None)

    @invariant()
    def nothing_past_its_time(self) -> None:
        """What stands in ExaBGP is wanted, and somebody wanted it a short time ago."""
        rib = self.rig.exabgp.rib
        assert set(rib.values()) == set(self.rig.lease.adj_rib_out.permitted.values())
        if rib:
            assert self.rig.now <= self.until + 0.06


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase
