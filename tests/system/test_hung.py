"""Processes that hang, with real parts: the lease process alone, and together with the agent."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import VIP, Appliance, own_network
from support.bgp_wire import Closed, Update
from support.children import find_lease_process
from support.haproxy import until
from support.processes import signal_pid
from support.route_log import RouteLog

pytestmark = pytest.mark.root


@pytest.fixture
def appliance(tmp_path: Path, exabgp_python: str) -> Iterator[Appliance]:
    """Run an appliance whose peers have the preferred route."""
    with own_network(), Appliance(tmp_path, python=exabgp_python, ttl=2, deadline=1) as one:
        one.start()
        yield one


def test_a_lease_process_that_hangs_is_replaced(appliance: Appliance) -> None:
    """ExaBGP receives nothing for 5 s and starts another; the agent renews: no UPDATE."""
    before = [len(peer.list_events(Update)) for peer in appliance.peers]
    hung = find_lease_process(appliance)
    began = time.monotonic()
    signal_pid(hung, signal.SIGSTOP)
    until(lambda: find_lease_process(appliance) != hung, 10)
    assert 4 < time.monotonic() - began < 8
    until(lambda: appliance.status()["lease"]["connected"], 20)
    ends = time.monotonic() + 4  # twice the lease
    until(lambda: time.monotonic() > ends, 6)
    assert [len(peer.list_events(Update)) for peer in appliance.peers] == before
    assert appliance.status()["services"]["web"]["in_sync"]
    assert not [peer for peer in appliance.peers if peer.list_events(Closed)]


def test_agent_and_lease_process_hang_together(appliance: Appliance) -> None:
    """The lease process that ExaBGP starts inherits the routes, and withdraws after one lease."""
    assert appliance.agent is not None
    appliance.agent.send_signal(signal.SIGSTOP)
    signal_pid(find_lease_process(appliance), signal.SIGSTOP)
    began = time.monotonic()
    appliance.wait_path(0, 12)
    assert 5 < time.monotonic() - began < 10
    appliance.agent.send_signal(signal.SIGCONT)
    appliance.wait_path(7)
    appliance.wait_path(1)


def test_an_agent_that_was_frozen_does_not_announce_what_it_saw_before(
    appliance: Appliance,
) -> None:
    """All servers die while it is frozen: after the thaw nothing is announced without a look."""
    assert appliance.agent is not None
    wire = RouteLog(appliance.peers, f"{VIP}/32")
    for _ in range(3):
        appliance.agent.send_signal(signal.SIGSTOP)
        appliance.wait_path(0, 20)
        for backend in appliance.backends:
            backend.stop()
        until(lambda: _all_servers_are_down(appliance), 20)
        thawed = time.monotonic()
        appliance.agent.send_signal(signal.SIGCONT)
        until(lambda: "too_few_servers" in str(appliance.status()["services"]["web"]["reason"]), 20)
        assert not wire.changes(thawed), wire.describe_changes(thawed)
        for backend in appliance.backends:
            backend.start()
        appliance.wait_path(1)


def _all_servers_are_down(appliance: Appliance) -> bool:
    return all(appliance.haproxy.status(f"web/{name}").startswith("DOWN") for name in ("s1", "s2"))
