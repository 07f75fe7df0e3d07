"""A route that something else changed in ExaBGP is found, repaired and reported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import PEERS, VIP, Appliance, own_network
from support.children import find_lease_process
from support.peer import Peer, wait_for

pytestmark = pytest.mark.root

FOREIGN = "198.51.100.0/24"


@pytest.fixture
def appliance(tmp_path: Path, exabgp_python: str) -> Iterator[Appliance]:
    """Run an appliance whose peers have the preferred route."""
    with own_network(), Appliance(tmp_path, python=exabgp_python, ttl=3) as one:
        one.start()
        yield one


def write_to_exabgp(appliance: Appliance, *lines: str) -> None:
    """Write to ExaBGP's API through the pipe of the lease process, without its knowledge."""
    text = "".join(f"neighbor {line}\n" for line in lines)
    Path(f"/proc/{find_lease_process(appliance)}/fd/1").write_bytes(text.encode())


def has_heard_both(peer: Peer) -> bool:
    """Return whether a peer has heard of both changes; they may be repaired already."""
    withdrawn = {prefix for update in peer.updates for prefix in update.withdrawn}
    announced = {route.prefix for update in peer.updates for route in update.announced}
    return f"{VIP}/32" in withdrawn and FOREIGN in announced


def test_what_was_changed_behind_our_back_is_repaired(appliance: Appliance) -> None:
    """A route that was removed comes back, one that is not wanted goes; both are counted.

    The adj-rib-out is read at a slow rhythm, and soon after each change: a session that begins
    anew is one.
    """
    first, second = appliance.peers
    write_to_exabgp(
        appliance,
        f"{PEERS[1]} withdraw route {VIP}/32 next-hop 192.0.2.10",
        f"{PEERS[1]} announce route {FOREIGN} next-hop 192.0.2.10 as-path [ 65010 ]",
    )
    second.wait(has_heard_both, 20, "the foreign route, and the withdrawal of ours")
    first.drop(6, 4)
    second.wait(lambda peer: set(peer.table) == {f"{VIP}/32"}, 30, "our route alone")
    appliance.wait_path(1)
    wait_for(lambda: appliance.status()["lease"]["repairs"] == 2, 20, "repairs that are counted")
    wait_for(
        lambda: all(
            one["rib"] == "agrees" and one["in_sync"]
            for one in appliance.status()["services"]["web"]["neighbors"].values()
        ),
        30,
        "the adj-rib-out to agree again",
    )
    shown = subprocess.run(
        [
            sys.executable,
            "-m",
            "anycastd",
            "status",
            "--directory",
            appliance.directory_of("agent"),
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=appliance.environment,
    )
    assert "routes repaired" in shown.stdout
