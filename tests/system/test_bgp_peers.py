"""Peers that restart, refuse, have another AS number or password, or flap.

The agent carries on, the other peer's route stays as it is, and ``status`` says why in words.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.appliance import PEERS, Appliance, own_network
from support.bgp_wire import Closed, Update
from support.haproxy import until
from support.peer import Peer

pytestmark = pytest.mark.root

STAYS, GOES = PEERS
"""The second peer; the tests change it."""


@pytest.fixture(scope="module")
def one(exabgp_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """Run an appliance; each test begins and ends without the second peer."""
    place = tmp_path_factory.mktemp("peers")
    with own_network(), Appliance(place, python=exabgp_python, ttl=3, deadline=1.5) as it:
        it.peers[1].close()
        # The first that it dials signs its packets: our SYN is not even answered.
        with Peer(GOES, 179, md5=("192.0.2.10", "secret")):
            it.start_speaker()
            it.start_agent()
            it.peers[0].wait(
                lambda peer: [len(each.as_path) for each in peer.table.values()] == [1], 30
            )
            wait_for_text(it, "no connection", "MD5")
        yield it


def read_neighbor(appliance: Appliance) -> dict[str, Any]:
    """Read what the status reports about the second peer."""
    found: dict[str, Any] = appliance.status()["neighbors"][GOES]
    return found


def wait_for_text(appliance: Appliance, *words: str) -> None:
    """Wait until the status has these texts for the second peer, as JSON and as text."""

    def is_reported() -> bool:
        found = read_neighbor(appliance)
        return found["session"] == "down" and all(word in found["why"] for word in words)

    until(is_reported, 20, 0.1)
    text = subprocess.run(
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
    assert text.returncode == 1, "a warning: one of two is away"
    shown = " ".join(text.stdout.split())
    assert f"neighbor {GOES} is down" in shown
    assert all(word in shown for word in words)


def assert_undisturbed(appliance: Appliance, before: int) -> None:
    """Assert that the first peer received nothing after its first ``before`` UPDATEs."""
    assert len(appliance.peers[0].list_events(Update)) == before
    assert not appliance.peers[0].list_events(Closed)
    status = appliance.status()
    assert status["services"]["web"]["level"] == "preferred"


@pytest.mark.usefixtures("one")
def test_a_peer_with_another_password() -> None:
    """Such a peer does not answer, and the status says so (see ``one``)."""
    with Peer(GOES, 179) as peer:
        peer.wait_up(20)
        peer.wait(lambda it: it.table, 20, "the route")


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        (lambda: None, ("no connection", "port 179", "MD5")),
        (
            lambda: Peer(GOES, 179, asn=65999),
            ("bad peer AS (2/2)", "it has AS 65999; here `peer_as` is 65515"),
        ),
        (lambda: Peer(GOES, 179, hold_time=1), ("unacceptable hold time (2/6)", "1 or 2 s")),
    ],
    ids=["refuses", "wrong AS", "wrong hold time"],
)
def test_a_peer_that_cannot_be_one(
    one: Appliance, peer: Callable[[], Peer | None], words: tuple[str, ...]
) -> None:
    """The status shows the most specific reason, and what to do."""
    before = len(one.peers[0].list_events(Update))
    it = peer()
    if it is None:
        wait_for_text(one, *words)
    else:
        with it:
            wait_for_text(one, *words)
    assert_undisturbed(one, before)


@pytest.mark.parametrize(
    ("notification", "words"),
    [((6, 2), "Cease, administrative shutdown (6/2)"), ((4, 0), "hold timer expired (4/0)")],
)
def test_a_peer_that_restarts(one: Appliance, notification: tuple[int, int], words: str) -> None:
    """The status shows the peer's reason; after its return it gets the present route at once."""
    before = len(one.peers[0].list_events(Update))
    with Peer(GOES, 179) as peer:
        peer.wait(lambda it: it.table, 15, "the route")
        peer.accepting = False
        peer.drop(*notification)
        wait_for_text(one, words, "closed by the neighbor")
        opened = len(peer.updates)
        peer.accepting = True
        peer.wait(lambda it: it.up and len(it.updates) > opened, 15, "the route again")
        assert [len(each.as_path) for each in peer.table.values()] == [1]
        until(
            lambda: read_neighbor(one)["session"] == "up" and not read_neighbor(one)["why"], 20, 0.1
        )
    assert_undisturbed(one, before)


def test_a_peer_that_flaps(one: Appliance) -> None:
    """The status names it for ten minutes, also while its session is up; the other peer stays."""
    before = len(one.peers[0].list_events(Update))
    named = f"neighbor {GOES}: its session was lost"
    with Peer(GOES, 179) as peer:
        for losses in range(4):
            peer.wait(lambda it: it.up and it.table, 15, "a session")
            until(lambda: read_neighbor(one)["session"] == "up", 20, 0.1)
            if any(named in problem for problem in one.status()["problems"]):
                break
            assert losses < 3, "three losses by now, and tests before may have made some"
            peer.drop(6, 4)
            peer.wait(lambda it: not it.up, 20, "its end")
    assert_undisturbed(one, before)
