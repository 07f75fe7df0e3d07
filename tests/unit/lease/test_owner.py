"""Owner of the lease: which of several agents may announce."""

from __future__ import annotations

import pytest

from anycastd.lease.messages import Want
from support.lease_rig import LeaseRig, reports_in, route, want


def test_an_agent_that_crashes_again_and_again_is_barred() -> None:
    """Five times within a minute: withdrawn, with words, until one has stayed for a minute."""
    rig = LeaseRig()
    for life in range(1, 6):
        rig.send(life, want(1, route(), epoch=life))
        rig.lease.on_disconnected(life)
        rig.advance(1.0)
    assert rig.exabgp.rib, "four crashes that somebody came back from"
    rig.lease.on_connected(6, rig.now)
    done = rig.send(6, want(1, route(), epoch=6))
    assert not rig.exabgp.rib
    assert "crashed 5 times" in reports_in(done)[-1].problems[0]
    for serial in range(2, 62):
        assert not rig.exabgp.rib
        rig.send(6, want(serial, route(), epoch=6))
        rig.advance(1.0)
    assert rig.exabgp.rib == {route().key: route()}
    assert reports_in(rig.effects)[-1].problems == ()


@pytest.mark.parametrize("how", ["leaves", "is replaced", "crashes seldom", "reconnects"])
def test_other_ends_are_no_crash_loop(how: str) -> None:
    """A reload or a stop in order, a newer agent, a crash each 16 s, a connection that broke."""
    rig = LeaseRig()
    for life in range(1, 12):
        epoch = 1 if how == "reconnects" else life
        line = Want(life, 8.0, (route(),), epoch, 7, leaving=how == "leaves").dump()
        rig.send(life, line)
        if how != "is replaced":
            rig.lease.on_disconnected(life)
        rig.advance(16.0 if how == "crashes seldom" else 1.0)
        assert not rig.lease.owner.crash_looping
