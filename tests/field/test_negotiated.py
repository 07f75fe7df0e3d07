"""What both ends of a session agreed on is shown and judged; strange peers are endured."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import OWN, PEERS, PROFILE, VIP, Appliance, own_network
from support.bgp_wire import UPDATE, Closed, build_message
from support.bird import Bird
from support.haproxy import until
from support.peer import Peer

pytestmark = pytest.mark.root

WEB = f"{VIP}/32"


@pytest.fixture(autouse=True)
def _network() -> Iterator[None]:
    with own_network():
        yield


def start(one: Appliance) -> None:
    """Start speaker and agent, and wait until the service is preferred."""
    one.start_speaker()
    one.start_agent()
    one.wait_answers()
    until(lambda: one.status()["services"]["web"]["level"] == "preferred", 30, 0.1)


def wait_negotiated(one: Appliance) -> None:
    """Wait until the sessions with all neighbors are up."""
    until(lambda: all(each["negotiated"] for each in one.status()["neighbors"].values()), 20, 0.1)


def find_problems(one: Appliance, words: str) -> list[str]:
    """Return the problems of the status that contain ``words``."""
    return [problem for problem in one.status()["problems"] if words in problem]


def wait_problem(one: Appliance, words: str) -> str:
    """Wait until the status has one problem that contains ``words``, and return it."""
    until(lambda: find_problems(one, words), 30, 0.1)
    (problem,) = find_problems(one, words)
    return problem


# FC-HOLD; from BGPLite issue 224 and frr issue 9666.
def test_hold_times_that_others_chose(tmp_path: Path, exabgp_python: str) -> None:
    """The status shows what was negotiated, and names one of 0 and one within the lease's time."""
    peers = [Peer(PEERS[0], 179, hold_time=0), Peer(PEERS[1], 179, hold_time=3)]
    with Appliance(tmp_path, python=exabgp_python, peers=peers, ttl=5) as one:
        start(one)
        wait_negotiated(one)
        for peer, hold_time in zip(peers, (0, 3), strict=True):
            seen = one.status()["neighbors"][peer.address]["negotiated"]
            assert seen == {"families": ["ipv4"], "hold_time": hold_time, "four_octet_as": True}
        assert wait_problem(one, "hold time is 0").startswith(f"neighbor {PEERS[0]}: ")
        problem = wait_problem(one, "hold time is 3 s, not more than lease.ttl (5 s)")
        assert problem.startswith(f"neighbor {PEERS[1]}: ")


# FC-AS2; from exabgp issue 353.
def test_an_as_number_of_four_octets_at_a_peer_with_two(tmp_path: Path, exabgp_python: str) -> None:
    """The path keeps its length: AS_TRANS stands for each of our numbers (RFC 6793)."""
    peers = [Peer(address, 179, four_octets=False) for address in PEERS]
    profile = PROFILE.replace("65010", "4200000010").replace("prepend: 0", "prepend: 2")
    with Appliance(tmp_path, python=exabgp_python, peers=peers, profile=profile) as one:
        start(one)
        for peer in peers:
            peer.wait(lambda it: WEB in it.table and it.table[WEB].as_path == (4200000010,) * 3, 20)
        seen = one.status()["neighbors"][PEERS[0]]["negotiated"]
        assert seen == {"families": ["ipv4"], "hold_time": 9, "four_octet_as": False}


def build_update(attributes: bytes, nlri: bytes = b"") -> bytes:
    """Return an UPDATE with the mandatory attributes, ``attributes``, and ``nlri``."""
    mandatory = b"\x40\x01\x01\x00" + b"\x40\x02\x06\x02\x01\x00\x00\xff\xeb"
    mandatory += b"\x40\x03\x04\xc0\x00\x02\x04"
    path = mandatory + attributes
    body = struct.pack("!HH", 0, len(path)) + path + nlri
    return build_message(UPDATE, body)


# FC-INBOUND; from exabgp issues 353 and 912.
def test_strange_updates_from_a_route_server(tmp_path: Path, exabgp_python: str) -> None:
    """Nothing: what a neighbor sends is not read, and no session closes."""
    with Appliance(tmp_path, python=exabgp_python) as one:
        start(one)
        one.wait_path(1)
        one.wait_confirmed()
        peer = one.peers[0]
        before = [len(each.updates) for each in one.peers]
        strange = [
            build_update(b"\xc0\x11\x06\x02\x01\x00\x00\xfc\x00", b"\x18\xc6\x33\x64"),  # AS4_PATH
            build_update(b"\xc0\x23\x04\xff\xff\xff\xff", b"\x18\xc6\x33\x64"),  # attribute 35
            build_update(b"\xc0\x08\x03\x00\x01\x02", b"\x18\xc6\x33\x64"),  # COMMUNITY, 3 bytes
            build_update(b"", b"".join(bytes([24, 10, n // 256, n % 256]) for n in range(1000))),
        ]
        for message in strange:
            peer.send(message)
        kept = peer.keepalives
        peer.wait(lambda it: it.keepalives > kept, 20, "a KEEPALIVE after the UPDATEs")
        assert not [each for it in one.peers for each in it.list_events(Closed)]
        assert [len(each.updates) for each in one.peers] == before
        until(lambda: one.status()["problems"] == [], 20, 0.1)


def test_a_real_router_without_ipv6(tmp_path: Path, exabgp_python: str) -> None:
    """BIRD with IPv4 alone: the status shows what BIRD agreed to."""
    peers = [Peer(PEERS[1], 179)]
    with (
        Bird(tmp_path, PEERS[0], 179, neighbor=OWN, hold_time=30, channels={"ipv4": ""}) as bird,
        Appliance(tmp_path, python=exabgp_python, peers=peers, profile=OFFERS_BOTH) as one,
    ):
        start(one)
        until(bird.established, 20, 0.1)

        def read_negotiated() -> dict[str, Any]:
            return {name: each["negotiated"] for name, each in one.status()["neighbors"].items()}

        until(lambda: all(read_negotiated().values()), 20, 0.1)
        agreed = {"hold_time": 9, "four_octet_as": True}
        assert read_negotiated() == {
            PEERS[0]: {"families": ["ipv4"]} | agreed,
            PEERS[1]: {"families": ["ipv4", "ipv6"]} | agreed,
        }
        until(lambda: bird.imported() >= 1, 20, 0.1)


# FC-FAMILY with a real router; in FRR it is `dont-capability-negotiate`.
def test_a_real_router_without_capabilities(tmp_path: Path, exabgp_python: str) -> None:
    """BIRD without capabilities gets the route, and its withdrawal."""
    with (
        Bird(
            tmp_path,
            PEERS[0],
            179,
            neighbor=OWN,
            extra="capabilities off;",
            channels={"ipv4": ""},
        ) as bird,
        Appliance(tmp_path, python=exabgp_python, peers=[Peer(PEERS[1], 179)]) as one,
    ):
        start(one)
        until(lambda: WEB in bird.ask("show route protocol speaker"), 20, 0.1)
        seen = one.status()["neighbors"][PEERS[0]]["negotiated"]
        assert seen == {"families": ["ipv4"], "hold_time": 9, "four_octet_as": False}
        for backend in one.backends:
            backend.stop()
        until(lambda: WEB not in bird.ask("show route protocol speaker"), 20, 0.1)


OFFERS_BOTH = PROFILE.replace("peer_as: 65515}}", "peer_as: 65515, families: [ipv4, ipv6]}}")
