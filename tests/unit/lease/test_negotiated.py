"""What was negotiated on a session, as the lease reports it."""

from __future__ import annotations

import json

import pytest

from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.session import Session
from anycastd.lease.commands import SessionChanged, SessionNegotiated
from anycastd.lease.messages import MessageError, Report
from support.lease_rig import PEERS, LeaseRig, reports_in

AGREED = Negotiated(("ipv4",), 9, four_octet_as=True)
OTHER = Negotiated(("ipv4", "ipv6"), 0, four_octet_as=False)


def change(rig: LeaseRig, *facts: SessionChanged | SessionNegotiated) -> Negotiated | None:
    """Return what the newest report after these facts says of the first neighbor."""
    for fact in facts:
        rig.carry_out(rig.lease.on_fact(fact, rig.now))
    return reports_in(rig.effects)[-1].neighbors[PEERS[0]].negotiated


def test_it_is_reported_while_the_session_is_up() -> None:
    """It comes before the session is up; that of the session before does not count any more."""
    rig = LeaseRig()
    down, up = (SessionChanged(PEERS[0], each) for each in (Session.DOWN, Session.UP))
    assert change(rig, down, SessionNegotiated(PEERS[0], AGREED)) is None
    assert change(rig, up) == AGREED
    assert change(rig, down) is None
    assert change(rig, up) is None, "ExaBGP says nothing of it: an older shim"
    assert change(rig, down, SessionNegotiated(PEERS[0], OTHER), up) == OTHER


def test_it_is_reported_when_it_is_learned() -> None:
    """A lease process that was just started learns it of the session that is up, once."""
    rig = LeaseRig()
    assert change(rig, SessionNegotiated(PEERS[0], AGREED)) == AGREED
    before = len(rig.effects)
    change(rig, SessionNegotiated(PEERS[0], AGREED), SessionNegotiated("192.0.2.9", AGREED))
    assert len(rig.effects) == before, "nothing new, and no neighbor"


def test_its_line_of_json() -> None:
    """It goes through the line unchanged; an older lease process does not have it."""
    rig = LeaseRig()
    change(rig, SessionNegotiated(PEERS[0], AGREED))
    line = reports_in(rig.effects)[-1].dump()
    assert Report.load(line).neighbors[PEERS[0]].negotiated == AGREED
    data = json.loads(line)
    del data["neighbors"][PEERS[0]]["negotiated"]
    assert Report.load(json.dumps(data).encode()).neighbors[PEERS[0]].negotiated is None
    for bad in ({}, {"families": 4, "hold_time": 9, "four_octet_as": True}, "x", 4):
        data["neighbors"][PEERS[0]]["negotiated"] = bad
        with pytest.raises(MessageError):
            Report.load(json.dumps(data).encode())
