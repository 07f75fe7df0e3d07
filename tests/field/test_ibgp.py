"""A whole appliance with an iBGP and an eBGP neighbor: both see each level, in their own way."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import PEERS, PROFILE, VIP, Appliance, own_network
from support.children import find_lease_process
from support.haproxy import until
from support.peer import Peer
from support.processes import signal_pid

pytestmark = pytest.mark.root

WEB = f"{VIP}/32"
INSIDE, OUTSIDE = PEERS
IBGP = PROFILE.replace("address: 192.0.2.4, peer_as: 65515", "address: 192.0.2.4, peer_as: 65010")


def wait_level(one: Appliance, level: str, local_pref: int, asns: int) -> dict[str, Any]:
    """Wait until both peers have the route of a level, and the speaker's table agrees."""
    inside, outside = one.peers
    inside.wait(
        lambda it: (
            WEB in it.table
            and (it.table[WEB].as_path, it.table[WEB].local_pref) == ((), local_pref)
        ),
        30,
        f"{level} inside",
    )
    outside.wait(
        lambda it: (
            WEB in it.table
            and (len(it.table[WEB].as_path), it.table[WEB].local_pref) == (asns, None)
        ),
        30,
        f"{level} outside",
    )

    def agrees() -> bool:
        seen = one.status()["services"]["web"]
        return seen["level"] == level and all(
            each["rib"] == "agrees" and each["in_sync"] for each in seen["neighbors"].values()
        )

    until(agrees, 30, 0.1)
    return one.status()


@pytest.fixture
def network() -> Iterator[None]:
    """Run the test in its own network."""
    with own_network():
        yield


@pytest.mark.usefixtures("network")
def test_a_neighbor_of_our_own_as(tmp_path: Path, exabgp_python: str) -> None:
    """Preferred, a lease process that starts again, withdrawn and back: nothing is repaired."""
    peers = [Peer(INSIDE, 179, asn=65010), Peer(OUTSIDE, 179)]
    with Appliance(tmp_path, python=exabgp_python, profile=IBGP, peers=peers) as one:
        one.start_speaker()
        one.start_agent()
        status = wait_level(one, "preferred", 100, 1)
        assert status["services"]["web"]["local_pref"] == 100
        assert status["services"]["web"]["neighbors"][INSIDE]["local_pref"] == 100
        lease = find_lease_process(one)
        signal_pid(lease, signal.SIGKILL)
        until(lambda: find_lease_process(one) != lease, 20)
        until(lambda: one.status()["lease"]["connected"], 20, 0.1)
        wait_level(one, "preferred", 100, 1)
        one.backends[0].stop()
        one.backends[1].stop()
        for peer in one.peers:
            peer.wait(lambda it: not it.table, 20, "the withdrawal")
        one.backends[0].start()
        status = wait_level(one, "preferred", 100, 1)
        assert status["lease"]["repairs"] == 0
        command = [sys.executable, "-m", "anycastd", "status", "web", "--directory"]
        text = subprocess.run(
            [*command, one.directory_of("agent")],
            capture_output=True,
            encoding="utf-8",
            check=False,
            env=one.environment,
        ).stdout
        assert "local preference 100 over iBGP" in " ".join(text.split())
