"""Lines that ExaBGP should never say: none ends the conversation, or costs much."""

from __future__ import annotations

import time

import pytest

from anycastd.lease.commands import Answer, Ping, QueryAdjRibOut, QuerySessions, SessionChanged
from anycastd.speaker.exabgp.api import ApiConversation

HOSTILE = {
    "brackets": '{"type":' + "[" * 100_000,
    "digits": '{"type": "state", "n": ' + "1" * 5000 + "}",
    "notification": '{"type": "state", "neighbor": {"address": {"peer": "192.0.2.4"}, '
    '"state": "down", "reason": "notification sent (' + "1" * 4401 + ',2)"}}',
    "peers": '{"type": "state" ' + '"peer": "x" ' * 8000,
    "states": '{"type": "state" "peer": "x" ' + '"state": "' * 10_000,
    "row": "192.0.2.4 " + "a 1 " * 60_000,
    "spaces": "192.0.2.4" + " " * 200_000 + "x",
    "med": "neighbor 192.0.2.4 ipv4 unicast 192.0.2.0/24 next-hop 1.1.1.1 as-path [ 1 ] med "
    + "1" * 5000,
    "version": "exabgp " + "\x1b" * 200_000,
    "too long": "neighbor " + "x" * 10_000_000,
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=list(HOSTILE))
def test_no_line_ends_the_conversation(line: str) -> None:
    """Whatever ExaBGP says: no exception, little time; the next answer is understood."""
    one = ApiConversation(["192.0.2.4"])
    one.send(QuerySessions(), QueryAdjRibOut(), Ping())
    for text in ("exabgp 5.0.15", "done", "Peer AS up/down state", "done"):
        one.receive(text)  # the greeting
    one.receive("Peer AS up/down state")
    began = time.process_time()
    facts = one.receive(line)
    assert time.process_time() - began < 0.5
    assert all(len(fact.detail) <= 500 for fact in facts if isinstance(fact, SessionChanged))
    answer = next((each for each in one.receive("done") if isinstance(each, Answer)), None)
    if not line.startswith(("exabgp", "neighbor 192")):  # those say whose answer ends next
        assert answer is not None
        assert answer.command == QuerySessions()


def test_an_unreadable_row_makes_the_rib_unknown() -> None:
    """The answer is an error, not a shorter list of routes."""
    one = ApiConversation(["192.0.2.4"])
    one.send(QueryAdjRibOut())
    for text in ("exabgp 5.0.15", "done", "Peer AS up/down state", "done"):
        one.receive(text)
    one.receive("neighbor " + "x" * 10_000_000)
    (answer,) = one.receive("done")
    assert isinstance(answer, Answer)
    assert answer.error is not None
    assert "too long" in answer.error
