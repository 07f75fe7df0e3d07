"""A compromised agent on the lease socket announces nothing that the profile does not have."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from support.appliance import PEERS, VIP, Appliance, own_network
from support.bgp_wire import Update
from support.peer import wait_for

pytestmark = pytest.mark.root

FOREIGN = "198.51.100.7/32"
INJECTED = (
    f"\nneighbor {PEERS[0]} announce route 198.51.100.7 next-hop 192.0.2.10 as-path [ 64999 ]\n#"
)


def build_want(**changed: Any) -> bytes:
    """Return a Want of a newer agent for the VIP, with some fields of its route changed."""
    route = {
        "neighbor": PEERS[0],
        "prefix": f"{VIP}/32",
        "next_hop": "192.0.2.10",
        "as_path": [65010],
        "med": None,
        "communities": [],
    }
    want = {"v": 1, "serial": 1, "ttl": 5, "epoch": time.monotonic_ns()}
    want["pid"] = os.getpid()
    return json.dumps(want | {"routes": [route | changed]}).encode() + b"\n"


def read_refusal(appliance: Appliance, line: bytes) -> str:
    """Send a line to the lease socket; return its answers until it closes, or is silent for 2 s."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(str(appliance.lease))
        connection.sendall(line)
        with contextlib.suppress(TimeoutError):
            while piece := connection.recv(65536):
                answer += piece
    return answer.decode()


@pytest.mark.parametrize(
    "changed",
    [
        {"next_hop": f"fe80::1%x{INJECTED}"},
        {"neighbor": f"fe80::1%x{INJECTED}"},
        {"prefix": f"fe80::1%x{INJECTED}"},
        {"next_hop": "fe80::1%eth0"},
    ],
    ids=["next hop", "neighbor", "prefix", "an honest scope"],
)
def test_a_scope_carries_no_command(
    tmp_path: Path, exabgp_python: str, changed: dict[str, str]
) -> None:
    """The message is refused whole; no peer hears a foreign prefix, and the route stays."""
    with own_network(), Appliance(tmp_path, python=exabgp_python) as one:
        one.start()
        before = [len(peer.list_events(Update)) for peer in one.peers]
        answer = read_refusal(one, build_want(**changed))
        for peer in one.peers:  # also one that was repaired a moment later
            assert FOREIGN not in str(peer.list_events(Update))
        assert "scope" in answer
        # ExaBGP carries out its commands in order: a Want that is good shows that it has done all.
        assert one.agent is not None
        wait_for(lambda: one.status()["lease"]["connected"], 30, "an agent that is connected")
        serial = one.status()["lease"]["serial"]
        wait_for(lambda: one.status()["lease"]["acked"] > serial, 30, "a later Want, confirmed")
        for peer, count in zip(one.peers, before, strict=True):
            assert FOREIGN not in peer.table
            assert list(peer.table) == [f"{VIP}/32"]
            assert len(peer.list_events(Update)) == count


@pytest.mark.parametrize(
    "changed",
    [
        {"next_hop": "198.51.100.9"},
        {"as_path": [65010, 64999]},
        {"as_path": [65010] * 8},
        {"med": 5},
        {"communities": ["65535:666"]},
        {"neighbor": "198.51.100.9"},
        {"prefix": FOREIGN},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_route_that_is_not_on_the_speakers_list(tmp_path: Path, changed: dict[str, Any]) -> None:
    """An agent that owns the lease gets no next hop, path, MED or community of its own."""
    with own_network(), Appliance(tmp_path) as one:
        one.start()
        before = [len(peer.list_events(Update)) for peer in one.peers]
        answer = read_refusal(one, build_want(**changed))
        assert "problems" in answer
        if "neighbor" in changed or "prefix" in changed:
            assert " is not a " in answer
        else:
            assert "the speaker's profile has no route with" in answer
        for peer, count in zip(one.peers, before, strict=True):
            for update in peer.list_events(Update)[count:]:
                assert not update.announced
