"""Address families: what a session did not negotiate is not announced on it, and that is said.

Each peer is the tests' own: it can leave out a family, or all capabilities.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.appliance import PEERS, PROFILE, VIP, Appliance, own_network
from support.bgp_wire import Closed, Opened
from support.children import find_lease_process
from support.haproxy import until
from support.peer import Peer
from support.processes import signal_pid
from support.reloads import edit_profile, run_reload

pytestmark = pytest.mark.root

VIP6 = "2001:db8::10"
WEB, WEB6 = f"{VIP}/32", f"{VIP6}/128"
STANDBY = 7
"""ASNs of the longest path."""
OWN6, PEER6 = "2001:db8:2::10", "2001:db8:2::1"
SERVICE6 = f"""\
  web6:
    vip: {VIP6}/128
    next_hop: {OWN6}
    prepend: 0
    serve: {{{{backend: web, usable: 1}}}}
    standby: {{{{prepend: 6, after: 0.2}}}}
    failed: withdraw
    return: {{{{rise: 0.5, hold_down: 1, hold_down_max: 2, spacing: 0.5}}}}
"""
DUAL = PROFILE + SERVICE6


@pytest.fixture
def network() -> Iterator[None]:
    """Run the test in its own network, which has IPv6 addresses, too."""
    with own_network():
        for address in (OWN6, PEER6):
            command = ["ip", "address", "add", f"{address}/128", "dev", "lo", "nodad"]
            subprocess.run(command, check=True)
        yield


def start(one: Appliance) -> None:
    """Start speaker and agent, and wait until the agent answers and all sessions are up."""
    one.start_speaker()
    one.start_agent()
    for peer in one.peers:
        peer.wait_up()
    one.wait_answers()


def wait_levels(one: Appliance, **levels: str) -> dict[str, Any]:
    """Wait until the services have these levels, and return the status."""

    def have_levels() -> bool:
        found = {name: each["level"] for name, each in one.status()["services"].items()}
        return found == levels

    until(have_levels, 30, 0.1)
    return one.status()


def count_routes(peer: Peer) -> Mapping[str, int]:
    """Return prefix -> length of the path of each route that the peer has."""
    return {prefix: len(route.as_path) for prefix, route in peer.table.items()}


def list_lengths(peer: Peer, prefix: str) -> list[int]:
    """Return the length of the path of each announcement of ``prefix`` so far, in order."""
    routes = [route for update in peer.updates for route in update.announced]
    return [len(route.as_path) for route in routes if route.prefix == prefix]


def run_status(one: Appliance) -> tuple[int, str]:
    """Return the exit code of `anycastd status`, and its text in one line."""
    command = [sys.executable, "-m", "anycastd", "status", "--directory", one.directory_of("agent")]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False, env=one.environment
    )
    return done.returncode, " ".join(done.stdout.split())


# FC-FAMILY; from exabgp issue 755 and metallb issue 1212.
@pytest.mark.usefixtures("network")
def test_a_vip_whose_family_no_session_carries(tmp_path: Path, exabgp_python: str) -> None:
    """It has no session: standby, announced to nobody, and the words say what is missing where."""
    peers = [Peer(address, 179, families=("ipv4",)) for address in PEERS]
    with Appliance(tmp_path, python=exabgp_python, profile=DUAL, peers=peers) as one:
        start(one)
        wait_levels(one, web="preferred", web6="standby")
        for peer in one.peers:
            peer.wait(lambda it: count_routes(it) == {WEB: 1}, 20, "the route")
        # The agent hears of it after the peers.
        until(lambda: one.status()["services"]["web"]["in_sync"], 20, 0.1)
        status = one.status()
        assert not status["services"]["web6"]["serves"]
        assert not status["services"]["web6"]["in_sync"]
        assert "carries its VIP" in status["services"]["web6"]["reason"]["sentence"]
        for peer in one.peers:
            seen = status["neighbors"][peer.address]
            assert seen["negotiated"]["families"] == ["ipv4"]
            assert seen["announced"] == [WEB]
        code, text = run_status(one)
        assert code == 2, "critical: it is announced to nobody"
        for peer in one.peers:
            assert f"neighbor {peer.address} did not negotiate ipv6 unicast: VIP {VIP6}" in text


# FC-FAMILY, the other way round: one of two carries it.
@pytest.mark.usefixtures("network")
def test_a_vip_whose_family_one_session_carries(tmp_path: Path, exabgp_python: str) -> None:
    """It is preferred; its loss of that session is a failure, the other service stays."""
    peers = [Peer(PEERS[0], 179), Peer(PEERS[1], 179, families=("ipv4",))]
    with Appliance(tmp_path, python=exabgp_python, profile=DUAL, peers=peers) as one:
        start(one)
        wait_levels(one, web="preferred", web6="preferred")
        peers[0].wait(lambda peer: count_routes(peer) == {WEB: 1, WEB6: 1}, 20)
        peers[1].wait(lambda peer: count_routes(peer) == {WEB: 1}, 20)
        code, text = run_status(one)
        assert code == 1, "a warning"
        assert f"neighbor {PEERS[1]} did not negotiate ipv6 unicast" in text
        assert f"neighbor {PEERS[0]} did not" not in text
        peers[0].accepting = False
        peers[0].drop(6, 2)
        wait_levels(one, web="preferred", web6="standby")
        assert count_routes(peers[1]) == {WEB: 1}
        assert list_lengths(peers[1], WEB) == [STANDBY, 1], "nothing on the session that stays"
        assert list_lengths(peers[0], WEB6) == [STANDBY, 1]
        peers[0].accepting = True
        peers[0].wait(lambda peer: len(list_lengths(peer, WEB6)) == 4, 30)
        assert list_lengths(peers[0], WEB6) == [STANDBY, 1, STANDBY, 1], "back in two steps"


# FC-FAMILY, second variant: an old speaker.
@pytest.mark.usefixtures("network")
def test_a_peer_without_capabilities(tmp_path: Path, exabgp_python: str) -> None:
    """It takes IPv4 routes and no others (RFC 4760), so it gets them; so does one without families.

    The second has other capabilities.
    """
    peers = [
        Peer(PEERS[0], 179, families=None),
        Peer(PEERS[1], 179, families=(), four_octets=False),
    ]
    with Appliance(tmp_path, python=exabgp_python, profile=DUAL, peers=peers) as one:
        one.start_speaker()
        one.start_agent()
        for peer in peers:
            peer.wait(lambda it: count_routes(it) == {WEB: 1}, 20, "the route")
        status = wait_levels(one, web="preferred", web6="standby")
        for peer in peers:
            seen = status["neighbors"][peer.address]["negotiated"]
            assert seen == {"families": ["ipv4"], "hold_time": 9, "four_octet_as": False}
        for backend in one.backends:
            backend.stop()
        for peer in peers:
            peer.wait(lambda it: not it.table, 20, "the withdrawal")


# FC-DUAL; from metallb issues 1736, 1738 and 1757.
@pytest.mark.usefixtures("network")
def test_one_session_for_each_family(tmp_path: Path, exabgp_python: str) -> None:
    """Each session offers its family alone; the loss of one is a failure of its services only."""
    one_family = [Peer(PEERS[0], 179, families=("ipv4",)), Peer(PEER6, 179, families=("ipv6",))]
    profile = DUAL
    for before, after in (
        ("{{address: 192.0.2.4, ", "{{families: [ipv4], address: 192.0.2.4, "),
        (
            "{{address: 192.0.2.5, ",
            f"{{{{families: [ipv6], local_address: {OWN6}, address: {PEER6}, ",
        ),
    ):
        assert before in profile
        profile = profile.replace(before, after)
    with Appliance(tmp_path, python=exabgp_python, profile=profile, peers=one_family) as one:
        four, six = one.peers
        start(one)
        status = wait_levels(one, web="preferred", web6="preferred")
        assert [peer.list_events(Opened)[0].capabilities[1] for peer in one.peers] == [
            (b"\0\1\0\1",),
            (b"\0\2\0\1",),
        ]
        six.wait(lambda peer: count_routes(peer) == {WEB6: 1}, 20)
        four.wait(lambda peer: count_routes(peer) == {WEB: 1}, 20)
        until(lambda: run_status(one)[0] == 0, 20)
        assert status["services"]["web"]["neighbors"][PEER6]["wanted"] is None
        four.accepting = False
        four.drop()
        wait_levels(one, web="standby", web6="preferred")
        until(lambda: run_status(one)[0] == 2, 20)  # web is announced to nobody
        four.accepting = True
        four.wait(lambda peer: len(list_lengths(peer, WEB)) == 4, 30)
        assert list_lengths(four, WEB) == [STANDBY, 1, STANDBY, 1], "back in two steps"
        assert list_lengths(six, WEB6) == [STANDBY, 1], "nothing on the other session"


@pytest.mark.usefixtures("network")
def test_a_lease_process_that_starts_again(tmp_path: Path, exabgp_python: str) -> None:
    """It learns what was negotiated from ExaBGP, and nothing moves on the wire."""
    peers = [Peer(PEERS[0], 179), Peer(PEERS[1], 179, families=("ipv4",))]
    with Appliance(tmp_path, python=exabgp_python, profile=DUAL, peers=peers) as one:
        start(one)
        wait_levels(one, web="preferred", web6="preferred")
        peers[0].wait(lambda peer: count_routes(peer) == {WEB: 1, WEB6: 1}, 20)
        peers[1].wait(lambda peer: count_routes(peer) == {WEB: 1}, 20)
        until(lambda: one.status()["services"]["web6"]["neighbors"][PEERS[0]]["in_sync"], 20, 0.1)
        until(lambda: one.status()["services"]["web"]["in_sync"], 20, 0.1)
        before = [len(peer.updates) for peer in peers]
        known = {address: seen["negotiated"] for address, seen in one.status()["neighbors"].items()}
        lease = find_lease_process(one)
        signal_pid(lease, signal.SIGKILL)
        until(lambda: find_lease_process(one) != lease, 20)
        until(lambda: one.status()["lease"]["connected"], 20, 0.1)
        until(lambda: one.status()["services"]["web6"]["neighbors"][PEERS[0]]["in_sync"], 20, 0.1)
        status = wait_levels(one, web="preferred", web6="preferred")
        assert {
            address: seen["negotiated"] for address, seen in status["neighbors"].items()
        } == known
        assert [len(peer.updates) for peer in peers] == before


@pytest.mark.usefixtures("network")
def test_a_family_that_is_added_by_a_reload(tmp_path: Path, exabgp_python: str) -> None:
    """Only that neighbor's session resets; it gets the VIP, and the other one receives nothing."""
    profile = DUAL.replace("address: 192.0.2.5,", "families: [ipv4], address: 192.0.2.5,")
    with Appliance(tmp_path, python=exabgp_python, profile=profile) as one:
        start(one)
        status = wait_levels(one, web="preferred", web6="preferred")
        assert status["services"]["web6"]["neighbors"][PEERS[1]]["wanted"] is None
        one.peers[0].wait(lambda peer: count_routes(peer) == {WEB: 1, WEB6: 1}, 20)
        until(lambda: run_status(one)[0] == 0, 20)  # what is not wanted is not missing
        before = len(one.peers[0].updates)
        edit_profile(one, ("families: [ipv4]", "families: [ipv4, ipv6]"))
        done = run_reload(one)
        assert done.returncode == 0, done.stderr
        one.peers[1].wait(lambda peer: count_routes(peer) == {WEB: 1, WEB6: 1}, 40)
        until(lambda: not one.status()["problems"], 30, 0.1)
        assert len(one.peers[0].updates) == before
        assert not one.peers[0].list_events(Closed)
