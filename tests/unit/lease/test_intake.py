"""What an agent may send: sizes, types, numbers, and who sends it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from anycastd.lease.effects import CloseConnection
from anycastd.lease.intake import (
    MAX_EPOCH_AHEAD,
    MAX_FOREIGN_MESSAGE,
    Sender,
    accept_message,
    compute_max_message,
)
from anycastd.lease.messages import MAX_MESSAGE, MessageError, Report, Want, read_epoch
from anycastd.lease.settings import LeaseFile, LeaseStartError, Settings
from support.lease_rig import PEERS, VIPS, LeaseRig, reports_in, route, want

SETTINGS = Settings("test", frozenset(VIPS), PEERS, 65010, 10.0, 5.0)
HOUR = 3_600_000_000_000


def change(**fields: Any) -> bytes:
    """Return the line of a Want with one route, with some fields of it changed."""
    data = json.loads(want(1, route(), epoch=HOUR))
    for name, value in fields.items():
        (data if name in data else data["routes"][0])[name] = value
    return json.dumps(data).encode() + b"\n"


WRONG: dict[tuple[str, ...], tuple[object, ...]] = {
    ("serial", "epoch", "pid"): ("7", True, 1.0, -1, 2**63, 10**400),
    ("ttl",): ("5", True, -0.1, float("inf"), float("nan"), None, 10**400),
    ("routes",): ({}, "", None, [[]], ["x"], [None]),
    ("v",): (True, 1.0, "1", None, 2, []),
    ("as_path",): ([], [True], ["65010"], [1.0], {}, "1", [0], [2**32], [65010] * 256),
    ("med",): (True, "5", 1.0, -1, 2**32),
    ("communities",): ("65010:1", {}, [65010], [["65010:1"]], ["1:2"] * 256),
    ("neighbor", "prefix", "next_hop"): (1, [], "1" * 256),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for names, values in WRONG.items() for name in names for value in values],
    ids=str,
)
def test_a_field_of_another_type_is_refused(name: str, value: object) -> None:
    """Nothing is converted, and no number is without a bound; the text stays short."""
    with pytest.raises(MessageError) as caught:
        accept_message(change(**{name: value}), Sender(), SETTINGS, owns=True)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b'{"v":' + b"[" * 50_000, b'{"v":1,"serial":' + b"1" * 5000 + b"}", b"\xff"],
    ids=["brackets", "nested", "digits", "no UTF-8"],
)
def test_what_a_parser_cannot_take(line: bytes) -> None:
    """It is refused in words, here and where the speaker's files are read."""
    with pytest.raises(MessageError):
        accept_message(line, Sender(), SETTINGS, owns=False)
    with pytest.raises(MessageError):
        Report.load(line)
    with pytest.raises(LeaseStartError):
        LeaseFile.load(line.decode("latin-1"))


def test_who_does_not_own_the_lease_may_send_little() -> None:
    """256 kB, or enough for twice the routes of the profile; the owner 4 MB."""
    assert compute_max_message(SETTINGS, owns=False) == MAX_FOREIGN_MESSAGE
    assert compute_max_message(SETTINGS, owns=True) == MAX_MESSAGE
    many = Settings("x", frozenset(map(str, range(5000))), PEERS, 65010, 10.0, 5.0)
    assert MAX_FOREIGN_MESSAGE < compute_max_message(many, owns=False) <= MAX_MESSAGE
    line = want(1, *(route(f"10.{n >> 8}.{n & 255}.0/24") for n in range(1001)))
    with pytest.raises(MessageError, match="1001 routes; the speaker's profile allows 4"):
        accept_message(line, Sender(), SETTINGS, owns=False)
    accept_message(line, Sender(), SETTINGS, owns=True)


def test_a_message_says_who_sends_it() -> None:
    """The kernel's word counts; where it does not know, the message's."""
    line = want(1, pid=7)
    accept_message(line, Sender(), SETTINGS, owns=False)
    accept_message(line, Sender(frozenset({7}), 0), SETTINGS, owns=False)
    accept_message(line, Sender(frozenset({4321, 7}), 0), SETTINGS, owns=False)
    with pytest.raises(MessageError, match="from pid 7, but pid 8 sent it"):
        accept_message(line, Sender(frozenset({8}), 0), SETTINGS, owns=True)


def test_an_epoch_lies_not_ahead_of_the_clock() -> None:
    """A few seconds are allowed; whoever is first for ever is refused."""
    clock = time.monotonic_ns()
    accept_message(want(1, epoch=clock + MAX_EPOCH_AHEAD), Sender(clock=clock), SETTINGS, owns=True)
    line = want(1, epoch=clock + MAX_EPOCH_AHEAD + 1)
    with pytest.raises(MessageError, match="epoch lies 5 s ahead"):
        accept_message(line, Sender(clock=clock), SETTINGS, owns=True)


def test_the_order_of_agents_ends_with_the_lease() -> None:
    """An earlier agent gets in once the later one is gone and its lease has expired."""
    rig = LeaseRig()
    rig.send(1, want(1, route(), epoch=20))
    rig.lease.on_disconnected(1)
    early = want(1, route(asns=2), epoch=10)
    assert reports_in(rig.send(2, early))[0].lost
    rig.advance(5.1)
    rig.send(3, early)
    assert rig.exabgp.rib == {route().key: route(asns=2)}


def test_a_stale_message_is_not_parsed() -> None:
    """Its epoch is read first: whatever else it holds costs nothing."""
    rig = LeaseRig()
    rig.send(1, want(1, route(), epoch=20))
    line = want(1, route(), epoch=10).replace(b'"routes":[', b'"routes":[' + b"[" * 100_000)
    done = rig.send(2, line)
    assert reports_in(done)[0].lost
    assert [effect.connection for effect in done if isinstance(effect, CloseConnection)] == [2]
    assert read_epoch(Want(1, 5.0, (route(),), 10, 7).dump()) == 10
    assert read_epoch(b'{"v":1,"epoch":true}') is None
    assert read_epoch(b" " * 600 + b'"epoch":1,') is None


def test_a_reload_keeps_the_owners_rights() -> None:
    """Its process is the same, its connection another."""
    rig = LeaseRig()
    sender = Sender(frozenset({7}), 0)
    rig.carry_out(rig.lease.on_message(1, want(1, route()), rig.now, sender))
    assert rig.lease.owner.owns(1, Sender())
    assert rig.lease.owner.owns(2, sender)
    assert not rig.lease.owner.owns(2, Sender(frozenset({8}), 0))
