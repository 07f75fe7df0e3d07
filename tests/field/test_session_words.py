"""Why a session is down, in words: what the neighbor said, what to change, and the value here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import OWN, PEERS, PROFILE, Appliance, own_network
from support.bgp_wire import Closed
from support.bird import Bird
from support.haproxy import until
from support.peer import Peer, wait_for

pytestmark = pytest.mark.root

STAYS, GOES = PEERS
"""The second peer; the tests change it."""


@pytest.fixture(scope="module")
def one(exabgp_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """Run an appliance; each test begins and ends without the second peer."""
    place = tmp_path_factory.mktemp("words")
    with own_network(), Appliance(place, python=exabgp_python, peers=[Peer(STAYS, 179)]) as it:
        it.start_speaker()
        it.start_agent()
        it.peers[0].wait(
            lambda peer: [len(each.as_path) for each in peer.table.values()] == [1], 30
        )
        yield it


def wait_for_words(appliance: Appliance, *words: str) -> str:
    """Wait until the status gives a reason with these words for the second peer; return it."""

    def read() -> str:
        return str(appliance.ask_status()["neighbors"][GOES]["why"])

    said = [""]

    def is_said() -> bool:
        said[0] = read()
        return all(word in said[0] for word in words)

    try:
        until(is_said, 60, 0.05)
    except AssertionError:
        raise AssertionError(f"{words} not in {said[0]!r}") from None
    return said[0]


# FC-MINHOLD (frr pull request 9397), and others of its kind.
@pytest.mark.parametrize(
    ("notification", "words"),
    [
        ((2, 6), ("unacceptable hold time (2/6)", "minimum hold time", "`hold_time` is 9 s")),
        ((2, 7), ("unsupported capability (2/7)", "`families` is [ipv4]")),
        ((2, 3), ("bad BGP identifier (2/3)", "`router_id` is 192.0.2.10")),
        ((2, 2), ("bad peer AS (2/2)", "`local_as` is 65010")),
        ((6, 7), ("collision resolution (6/7)", "second speaker", "is 192.0.2.10")),
    ],
)
def test_what_a_neighbor_refuses(
    one: Appliance, notification: tuple[int, int], words: tuple[str, ...]
) -> None:
    """Its NOTIFICATION is told in words, with what to change and the value in the profile."""
    peer = Peer(GOES, 179)
    peer.refuse = (*notification, b"")
    with peer:
        wait_for_words(one, "closed by the neighbor: ", *words)


def test_a_router_that_takes_fewer_prefixes(one: Appliance, tmp_path: Path) -> None:
    """The limit is named, with the number of routes that are announced, also while it flaps."""
    extra = "error wait time 1, 1;"
    channels = {"ipv4": "receive limit 0 action restart;"}
    with Bird(tmp_path, GOES, 179, neighbor=OWN, extra=extra, channels=channels):
        wait_for_words(
            one, "maximum number of prefixes reached (6/1)", "limit", "routes announced to it: 1"
        )


# FC-GTSM; from metallb issue 3038.
@pytest.mark.parametrize("multihop", ["", "multihop: 255, "])
def test_a_router_that_wants_ttl_255(tmp_path: Path, exabgp_python: str, multihop: str) -> None:
    """The words name ``multihop: 255``, and with it the session comes up."""
    before = "{{address: 192.0.2.5,"
    profile = PROFILE.replace(before, f"{{{{{multihop}address: 192.0.2.5,")
    with (
        own_network(),
        Bird(tmp_path, GOES, 179, neighbor=OWN, extra="ttl security on;") as bird,
        Appliance(tmp_path, python=exabgp_python, profile=profile, peers=[Peer(STAYS, 179)]) as one,
    ):
        one.start_speaker()
        one.start_agent()
        one.wait_answers()
        if multihop:
            until(bird.established, 20, 0.1)
        else:
            wait_for_words(one, "no connection", "ttl-security", "`multihop: 255`", "no `md5_file`")
            assert not bird.established()


# FC-LOCALADDR; from exabgp issues 974 and 362.
def test_a_local_address_that_is_not_here(tmp_path: Path, exabgp_python: str) -> None:
    """The status says so, instead of a reason that leads elsewhere."""
    profile = PROFILE.replace(
        "{{address: 192.0.2.5,", "{{local_address: 192.0.2.99, address: 192.0.2.5,"
    )
    with own_network(), Appliance(tmp_path, python=exabgp_python, profile=profile) as one:
        one.start_speaker()
        one.start_agent()
        one.wait_answers()
        wait_for_words(one, "192.0.2.99 is not an address of this machine", "`local_address`")
        wait_for(lambda: one.status()["neighbors"][STAYS]["session"] == "up", 20)
        assert one.status()["neighbors"][STAYS]["why"] == ""


@pytest.mark.parametrize(
    "data",
    ["ü".encode(), b"\ndone\nerror\n", b"\xff\xfe", b'"}}{[\\', b"\0\1\2\n" * 500],
    ids=["letters", "lines", "no text", "brackets", "long"],
)
def test_what_a_neighbor_says_is_no_command(one: Appliance, data: bytes) -> None:
    """The data of its NOTIFICATION may be anything: the reason is told, and nothing else moves."""
    before = len(one.peers[0].updates)
    assert one.speaker is not None
    peer = Peer(GOES, 179)
    peer.refuse = (2, 7, data)
    with peer:
        wait_for(lambda: peer.list_events(Closed), 20, "a session that is refused")
        heard = one.peers[0].keepalives
        wait_for_words(one, "closed by the neighbor: ", "(2/7)")
        wait_for(lambda: one.peers[0].keepalives > heard, 20, "ExaBGP goes on")
    assert one.speaker.poll() is None
    assert len(one.peers[0].updates) == before
    assert not one.peers[0].list_events(Closed)
