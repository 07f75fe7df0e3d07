"""Known sessions are compared with ExaBGP's summary: no lost event is missed for ever."""

from __future__ import annotations

from anycastd.bgp.session import NO_CONNECTION, Session
from anycastd.lease.commands import Announce, Answer, QuerySessions, SessionChanged
from anycastd.lease.effects import SendCommand
from support.lease_rig import PEERS, LeaseRig, reports_in, route, want

READ_INTERVAL = 30.0


def run_lease() -> LeaseRig:
    """Run a lease that has announced a route, and has read back what it announced."""
    rig = LeaseRig()
    rig.send(1, want(1, route(), ttl=10.0))
    rig.advance(2.0)
    assert reports_in(rig.effects)[-1].neighbors[PEERS[0]].session is Session.UP
    return rig


def renew(rig: LeaseRig, seconds: float) -> None:
    """Let time pass, with an agent that renews its route each second."""
    for serial in range(round(seconds)):
        rig.send(1, want(1000 + int(rig.now) + serial, route(), ttl=10.0))
        rig.advance(1.0)


def test_a_session_that_is_up_is_no_longer_taken_for_down() -> None:
    """An event said that it is down, and no other event came: a summary shows that it is up."""
    rig = run_lease()
    rig.carry_out(rig.lease.on_fact(SessionChanged(PEERS[0], Session.DOWN, "x"), rig.now))
    rig.exabgp.received.clear()
    renew(rig, READ_INTERVAL + 2)
    assert rig.lease.neighbors[PEERS[0]].session is Session.UP
    assert Announce(route()) in rig.exabgp.received, "a session that comes up gets its routes"


def test_a_session_that_is_down_is_no_longer_taken_for_up() -> None:
    """The event that it went down was lost: it is reported, though nobody says why it is down."""
    rig = run_lease()
    rig.exabgp.up.discard(PEERS[1])
    renew(rig, READ_INTERVAL + 2)
    report = reports_in(rig.effects)[-1].neighbors[PEERS[1]]
    assert (report.session, report.detail) == (Session.DOWN, NO_CONNECTION)


def test_a_summary_that_is_older_than_an_event_changes_nothing() -> None:
    """The event is read while the summary is asked for once more: the session stays as it is."""
    rig = run_lease()
    both = dict.fromkeys(PEERS, Session.UP)
    rig.carry_out(rig.lease.on_fact(SessionChanged(PEERS[0], Session.DOWN, "x"), rig.now))
    effects = rig.lease.on_fact(Answer(QuerySessions(), sessions=both), rig.now)
    assert effects == [SendCommand(QuerySessions())], "doubtful, so it is asked once more"
    down = both | {PEERS[0]: Session.DOWN}
    assert rig.lease.on_fact(Answer(QuerySessions(), sessions=down), rig.now) == []
    assert rig.lease.neighbors[PEERS[0]].session is Session.DOWN


def test_an_event_between_two_summaries_counts() -> None:
    """Two summaries that differ from an event are believed only if none came between them."""
    rig = run_lease()
    down = {PEERS[0]: Session.DOWN, PEERS[1]: Session.UP}
    rig.lease.on_fact(Answer(QuerySessions(), sessions=down), rig.now)
    rig.lease.on_fact(SessionChanged(PEERS[0], Session.UP), rig.now)
    rig.lease.on_fact(Answer(QuerySessions(), sessions=down), rig.now)
    assert rig.lease.neighbors[PEERS[0]].session is Session.UP
    rig.lease.on_fact(Answer(QuerySessions(), sessions=down), rig.now)
    assert rig.lease.neighbors[PEERS[0]].session is Session.DOWN
