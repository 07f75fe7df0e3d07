"""The whole machine is paused for longer than the hold time: the routes come back in two steps."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from support.appliance import Appliance, own_network
from support.bgp_wire import Closed
from support.machine import Machine, pass_time

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.alone]

HOLD_TIME = 3
PAUSES = (4.5, 5.0, 4.2)
LATE = 0.4
"""Seconds by which the agent goes on later than all others."""
STANDBY = 7
"""ASNs of the path at standby."""


def pause_often(machine: Machine) -> None:
    """Pause a machine for longer than the hold time, and look at what its peers get first then."""
    machine.wait_settled()
    machine.wait_in_order()
    for seconds in PAUSES:
        began = machine.record("test", "pause")
        agent = machine.stop("agent")
        machine.pause(seconds)
        pass_time(time.monotonic(), LATE)
        machine.resume("agent", agent)
        for peer in machine.appliance.peers:
            peer.wait(lambda it: any(each.at > began for each in it.list_events(Closed)), 30)  # noqa: B023 - waited for here
        machine.wait_settled(60)
        back = [change for change in machine.wire.changes(began) if change.route is not None]
        assert back[0].asns == STANDBY, machine.wire.describe_changes(began)
        machine.wait_in_order(30)


def test_sessions_that_a_pause_ends(exabgp_python: str, tmp_path: Path) -> None:
    """The agent sees the loss before ExaBGP is connected again, though it goes on last."""
    with own_network():
        appliance = Appliance(tmp_path, python=exabgp_python)
        for peer in appliance.peers:
            peer.hold_time = HOLD_TIME
        with Machine(appliance) as machine:
            pause_often(machine)
