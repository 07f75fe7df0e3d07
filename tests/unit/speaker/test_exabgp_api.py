"""The conversation with ExaBGP: with captured lines, and with each real ExaBGP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycastd.bgp.route import Route, canonicalize_route
from anycastd.bgp.session import (
    NO_CONNECTION,
    NO_REASON,
    UNREADABLE,
    Session,
    describe_notification,
)
from anycastd.lease.commands import (
    Announce,
    Answer,
    Ping,
    QueryAdjRibOut,
    QuerySessions,
    SessionChanged,
    Withdraw,
)
from anycastd.speaker.exabgp.api import ApiConversation
from anycastd.speaker.exabgp.lines import format_announce, format_withdraw, parse_route_row
from support.bgp_wire import ReceivedRoute
from support.exabgp import (
    FIRST,
    GREETED,
    HEADING,
    LOCAL,
    NEXT_HOP,
    SECOND,
    ExaBGP,
    loopback_profile,
)
from support.peer import Peer

ROUTE = Route(FIRST, "203.0.113.10/32", LOCAL, (65010, 65010))
OTHER = replace(ROUTE, prefix="203.0.113.11/32", as_path=(65010,))
SIX = Route(FIRST, "2001:db8::10/128", "2001:db8::1", (65010, 4200000000), med=7)
RICH = replace(
    ROUTE,
    med=5,
    communities=("65535:0", "65010:2:1", "65010:100", "65010:1:4294967295", "65535:65281"),
)
GREETING = "#\nversion\nshow neighbor summary\n"
NAME = (
    f"neighbor {FIRST} local-ip 127.0.0.1 local-as 65010 peer-as 65515 router-id 127.0.0.1 "
    "family-allowed in-open"
)
STATE = (
    '{{ "exabgp": "4.0.1", "time": 1.5, "host" : "nva", "pid" : 2, "ppid" : 1, "counter": 1, '
    '"type": "state", "neighbor": {{ "address": {{ "local": "127.0.0.1", "peer": "{}" }}, '
    '"asn": {{ "local": 65010, "peer": 65515 }} , "state": "{}"{} }} }}'
)
REASON = ', "reason": "{}"'


def greeted(
    *commands: Announce | Withdraw | Ping | QuerySessions | QueryAdjRibOut,
) -> ApiConversation:
    """Return a conversation that has sent commands and received the answer to its greeting."""
    conversation = ApiConversation([FIRST, SECOND], 65010)
    for command in commands:
        conversation.send(command)
    assert not [fact for line in GREETED for fact in conversation.receive(line)]
    return conversation


# Lines, without ExaBGP ---------------------------------------------------------------------------


def test_the_whole_path_is_written_and_attributes_in_order() -> None:
    """Every attribute of a route is sent: ExaBGP chooses none."""
    assert format_announce(RICH) == (
        "neighbor 127.0.0.2 announce route 203.0.113.10/32 next-hop 127.0.0.1 "
        "as-path [ 65010 65010 ] med 5 community [ 65010:100 65535:0 65535:65281 ] "
        "large-community [ 65010:1:4294967295 65010:2:1 ]"
    )
    assert format_withdraw(SIX) == (
        "neighbor 127.0.0.2 withdraw route 2001:db8::10/128 next-hop 2001:db8::1"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"as_path": ()},
        {"as_path": (65020, 65010)},
        {"as_path": (65010, 0)},
        {"as_path": (65010, 4294967296)},
        {"med": -1},
        {"prefix": "203.0.113.10"},
        {"prefix": "203.0.113.10/24"},
        {"prefix": "203.0.113.10/32\nshutdown"},
        {"next_hop": "self"},
        {"next_hop": "fe80::1%eth0"},
        {"next_hop": "fe80::1%x\nshutdown"},
        {"neighbor": "fe80::1%x y"},
        {"prefix": "fe80::1%x y/128"},
        {"neighbor": "*"},
        {"communities": ("65010",)},
        {"communities": ("65010:65536",)},
        {"communities": ("65010:1:2:3",)},
        {"communities": ("65010:1 ] med 3",)},
        {"communities": ("+1:1",)},
        {"local_pref": -1},
        {"local_pref": 4294967296},
        {"local_pref": 100, "as_path": (65020,)},
    ],
    ids=str,
)
def test_what_must_not_leave_is_refused(change: dict[str, object]) -> None:
    """An empty or foreign path, and any invalid value, raise ValueError."""
    conversation = ApiConversation([FIRST], 65010)
    bad = replace(ROUTE, **change)  # type: ignore[arg-type]
    if change.get("prefix") == "203.0.113.10":
        bad = replace(
            ROUTE, prefix="203.0.113.10/33"
        )  # an address without length is a /32, and valid
    with pytest.raises(ValueError, match=r"."):
        conversation.send(Announce(bad))
    assert conversation.send(Ping()).startswith(GREETING), "a refused command sends nothing"


def test_a_route_for_ibgp_has_an_empty_path_and_a_local_preference() -> None:
    """It is written, and read back from the rows of 4.2 and of 5.0, where each writes it."""
    inside = replace(ROUTE, as_path=(), local_pref=97, med=5)
    assert format_announce(inside) == (
        "neighbor 127.0.0.2 announce route 203.0.113.10/32 next-hop 127.0.0.1 "
        "as-path [  ] med 5 local-preference 97"
    )
    assert ApiConversation([FIRST], 65010).send(Announce(inside))
    for path in ("[ ]", "[  ]", ""):
        row = (
            "neighbor 127.0.0.2 local-ip 127.0.0.1 local-as 65010 peer-as 65010 router-id 1.2.3.4 "
            "family-allowed in-open ipv4 unicast 203.0.113.10/32 next-hop 127.0.0.1 "
            f"as-path {path} med 5 local-preference 97"
        )
        assert parse_route_row(row) == inside


def test_answers_go_to_the_oldest_command_and_version_overtakes() -> None:
    """``done`` and ``error`` answer routes in order; after a version, ``done`` answers the ping."""
    conversation = greeted(Announce(ROUTE), Ping(), Announce(OTHER))
    lines = ["exabgp 4.2.25", "done", "done", "error"]
    facts = [fact for line in lines for fact in conversation.receive(line)]
    assert facts == [
        Answer(Ping(), version="4.2.25"),
        Answer(Announce(ROUTE)),
        Answer(Announce(OTHER), error="ExaBGP refused the command"),
    ]


@pytest.mark.parametrize("path", ["[ 65010 65010 ]", "( 65010 65010 )"], ids=["4.2", "5.0"])
def test_the_rib_of_both_versions_is_read(path: str) -> None:
    """Rows become routes, also with one community without brackets and with an empty list."""
    conversation = greeted(QueryAdjRibOut())
    path = f"as-path {path}"
    rich = "community [ 65010:100 65535:0 no-export ] large-community 65010:1:2"
    for line in (
        f"{NAME} ipv4 unicast 203.0.113.10/32 next-hop 127.0.0.1 {path} med 5 {rich}",
        f"{NAME} ipv6 unicast 2001:db8::10/128 next-hop 2001:db8::1 {path} community ",
        f"{NAME} ipv4 unicast 203.0.113.9/32 next-hop 127.0.0.1 {path} community 65010:1",
    ):
        assert conversation.receive(line) == ()
    (answer,) = conversation.receive("done")
    assert isinstance(answer, Answer)
    assert answer.rib == (
        Route(
            FIRST,
            "2001:db8::10/128",
            "2001:db8::1",
            (65010, 65010),
        ),
        replace(
            ROUTE,
            med=5,
            communities=("65010:100", "65535:0", "65535:65281", "65010:1:2"),
        ),
        replace(ROUTE, prefix="203.0.113.9/32", communities=("65010:1",)),
    )


def test_a_rib_with_something_unknown_is_no_rib() -> None:
    """A row that cannot be read is an error, never a rib without that route."""
    conversation = greeted(QueryAdjRibOut())
    conversation.receive(
        f"{NAME} ipv4 unicast 203.0.113.9/32 next-hop 127.0.0.1 as-path [ 1 ] aigp 5"
    )
    (answer,) = conversation.receive("done")
    assert isinstance(answer, Answer)
    assert answer.rib is None
    assert "aigp" in str(answer.error)


def test_a_summary_names_every_neighbor() -> None:
    """4.2 leaves out those that are down, and prints "down" in a session's first second."""
    conversation = greeted(QuerySessions())
    for line in (HEADING, "127.0.0.2       65515        down established           2          0"):
        assert conversation.receive(line) == ()
    expected = {FIRST: Session.UP, SECOND: Session.DOWN}
    assert conversation.receive("done") == (Answer(QuerySessions(), sessions=expected),)
    conversation.send(QuerySessions())
    for line in (
        HEADING,
        "127.0.0.2       65515 1 day, 0:00:03 established           5          0",
        "127.0.0.3       65515        down idle                  0          0",
    ):
        assert conversation.receive(line) == ()
    assert conversation.receive("done") == (Answer(QuerySessions(), sessions=expected),)


def test_answers_to_a_dead_child_are_ignored() -> None:
    """The first lines that a new child reads may answer the child before it."""
    conversation = ApiConversation([FIRST], 65010)
    text = conversation.send(Announce(ROUTE))
    assert text == f"{GREETING}{format_announce(ROUTE)}\n"
    row = f"{NAME} ipv4 unicast 203.0.113.9/32 next-hop 127.0.0.1 as-path [ 65010 ]"
    answers = ["done", "done", row, row, "error", "exabgp 4.2.25", "done", "done", row, "done"]
    assert not [fact for line in answers for fact in conversation.receive(line)]
    assert not [fact for line in (HEADING, "done") for fact in conversation.receive(line)]
    assert conversation.receive("done") == (Answer(Announce(ROUTE)),)


def test_an_answer_that_never_came_is_found_by_the_next_summary() -> None:
    """4.2 sends no answer when a command raises inside it; all later answers would be shifted."""
    conversation = greeted(Announce(ROUTE), QuerySessions(), Announce(OTHER))
    assert conversation.receive(HEADING) == (
        Answer(Announce(ROUTE), error="ExaBGP never answered"),
    )
    (answer,) = conversation.receive("done")
    assert isinstance(answer, Answer)
    assert answer.sessions is not None
    assert conversation.receive("done") == (Answer(Announce(OTHER)),)


def test_a_change_of_a_session_is_reported_once() -> None:
    """Each failed attempt to connect sends "down" again: only the first is reported."""
    conversation = ApiConversation([FIRST])
    down = STATE.format(FIRST, "down", REASON.format("peer reset, message (x) error(y)"))
    first = SessionChanged(FIRST, Session.DOWN, "peer reset, message (x) error(y)")
    up = STATE.format(FIRST, "up", "")
    assert conversation.receive(STATE.format(FIRST, "connected", "")) == ()
    assert conversation.receive(down) == (first,)
    assert conversation.receive(down) == ()
    assert conversation.receive(up) == (SessionChanged(FIRST, Session.UP),)
    assert conversation.receive(up) == (SessionChanged(FIRST, Session.UP),), (
        "a new session all the same"
    )
    assert conversation.receive(down) == (first,)


def test_the_newest_clear_reason_is_reported() -> None:
    """A NOTIFICATION is described; a vague reason replaces it after four attempts in a row."""
    conversation = ApiConversation([FIRST])

    def reported(reason: str) -> list[str]:
        facts = conversation.receive(STATE.format(FIRST, "down", REASON.format(reason)))
        return [fact.detail for fact in facts if isinstance(fact, SessionChanged)]

    assert reported("closing connection") == [NO_CONNECTION]
    bad_as = "closed from here: bad peer AS (2/2); its AS number is not the profile's `peer_as`"
    for _ in range(2):
        assert reported("notification sent (2,2)") in ([bad_as], [])
        assert [reported("closing connection") for _ in range(3)] == [[], [], []]
    assert reported("peer reset, message (notification sent (2,2)) error(OPEN ...)") == []
    assert reported("") == [NO_REASON]  # 5.0
    assert reported("peer reset, message () error()") == []  # 4.2
    shut_down = "closed by the neighbor: Cease, administrative shutdown (6/2)"
    assert reported("notification received (6,2)") == [shut_down]
    later = [reported("peer reset, message (closing connection) error(x)") for _ in range(5)]
    assert later == [[], [], [], [f"{NO_CONNECTION}; before that: {shut_down}"], []]


@given(st.integers(0, 255), st.integers(0, 255), st.booleans())
def test_every_notification_is_described(code: int, subcode: int, sent: bool) -> None:
    """Unknown ones too, with their numbers."""
    assert f"({code}/{subcode})" in describe_notification(code, subcode, sent=sent)


def test_a_reason_that_breaks_the_json_loses_only_the_reason() -> None:
    r"""4.2 escapes quotes only, and a peer may send any text, such as \x."""
    conversation = ApiConversation([FIRST])
    conversation.receive(STATE.format(FIRST, "up", ""))
    line = STATE.format(FIRST, "down", REASON.format(r'bye \x41 "state": "up" '))
    assert conversation.receive(line) == (SessionChanged(FIRST, Session.DOWN, UNREADABLE),)


def test_exabgps_own_end_takes_every_session_down() -> None:
    """ExaBGP reports its own shutdown, but no change of the sessions."""
    conversation = ApiConversation([FIRST, SECOND])
    conversation.receive(STATE.format(FIRST, "up", ""))
    line = '{ "exabgp": "5.0.0", "time": 1.5, "type": "notification", "notification": "shutdown" }'
    facts = conversation.receive(line)
    assert [
        (fact.neighbor, fact.session) for fact in facts if isinstance(fact, SessionChanged)
    ] == [
        (FIRST, Session.DOWN),
        (SECOND, Session.DOWN),
    ]


PIECES = ("done", "error", "exabgp 5", HEADING, NAME, '{"type": "state"', "{}", "[]", "Peer")
MORE = st.sampled_from(PIECES)


@given(st.lists(st.text(max_size=30) | MORE | MORE.map("{} 127.0.0.2 established 1 1".format)))
def test_any_line_is_survived(lines: list[str]) -> None:
    """No line from ExaBGP ends the lease process."""
    conversation = ApiConversation([FIRST], 65010)
    for command in (Ping(), Announce(ROUTE), QuerySessions(), QueryAdjRibOut()):
        conversation.send(command)
    for line in lines:
        for fact in conversation.receive(line):
            assert isinstance(fact, Answer | SessionChanged)


# With ExaBGP -------------------------------------------------------------------------------------


def as_received(route: Route) -> ReceivedRoute:
    """Return a route as a peer receives it."""
    communities = canonicalize_route(route).communities
    return ReceivedRoute(
        route.prefix,
        route.as_path,
        route.next_hop,
        route.med,
        tuple(value for value in communities if value.count(":") == 1),
        tuple(value for value in communities if value.count(":") == 2),
    )


def test_a_route_is_sent_as_it_was_announced(exabgp_python: str, tmp_path: Path) -> None:
    """Announce, repeat, replace, withdraw: one UPDATE, none, one, one; IPv6 too."""
    ipv6 = loopback_profile(9, ("203.0.113.10/32", "2001:db8::10/128"), *NEXT_HOP)
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port, given=ipv6) as exabgp:
        peer.wait_up()
        longer = replace(RICH, as_path=(65010,) * 4, med=None, communities=())
        for sent, count in ((RICH, 1), (RICH, 1), (longer, 2), (SIX, 3)):
            assert exabgp.ask(Announce(sent)) == Answer(Announce(sent))
            settle(exabgp, peer, count)
            assert peer.updates[-1].announced == (as_received(sent),)
            assert peer.updates[-1].withdrawn == ()
        for sent, count in ((longer, 4), (SIX, 5)):
            assert exabgp.ask(Withdraw(sent)) == Answer(Withdraw(sent))
            settle(exabgp, peer, count)
            assert peer.updates[-1].withdrawn == (sent.prefix,)
        assert peer.table == {}
        assert peer.up


def settle(exabgp: ExaBGP, peer: Peer, count: int) -> None:
    """Wait for so many UPDATEs, then for some turns of ExaBGP's loop: there must be no more."""
    peer.wait(lambda _: len(peer.updates) >= count)
    for _ in range(5):
        exabgp.ask(QuerySessions())
    assert len(peer.updates) == count


def test_the_rib_has_what_was_announced(exabgp_python: str, tmp_path: Path) -> None:
    """The rib equals the announced routes, for each neighbor, with and without a session."""
    ipv6 = loopback_profile(9, ("203.0.113.10/32", "2001:db8::10/128"), *NEXT_HOP)
    single = replace(OTHER, neighbor=SECOND, communities=("65010:7", "65010:1:2"))
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port, given=ipv6) as exabgp:
        peer.wait_up()
        assert exabgp.ask(QueryAdjRibOut()).rib == ()
        for route in (RICH, OTHER, SIX, single):
            exabgp.ask(Announce(route))
        assert exabgp.ask(QueryAdjRibOut()).rib == tuple(sorted((RICH, OTHER, SIX, single)))
        exabgp.ask(Withdraw(OTHER))
        assert exabgp.ask(QueryAdjRibOut()).rib == tuple(sorted((RICH, SIX, single)))
        answer = exabgp.ask(QuerySessions())
        assert answer.sessions == {FIRST: Session.UP, SECOND: Session.DOWN}
        version = exabgp.ask(Ping()).version or ""
        assert version.startswith(("4.2.", "5.0."))


def test_a_refused_command_answers_in_its_place(exabgp_python: str, tmp_path: Path) -> None:
    """Several commands in one write: each gets its own answer, the ping's comes first."""
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp:
        peer.wait_up()
        stranger = Announce(replace(ROUTE, neighbor="127.0.0.9"))
        commands = (
            Announce(ROUTE),
            stranger,
            Ping(),
            QueryAdjRibOut(),
            Withdraw(ROUTE),
            QuerySessions(),
        )
        exabgp.send(*commands)
        exabgp.wait_answered()
        answers = {type(f.command): f for f in exabgp.facts if isinstance(f, Answer)}
        assert answers[QueryAdjRibOut].rib == (ROUTE,)
        assert answers[Withdraw].error is None
        refused = [f.command for f in exabgp.facts if isinstance(f, Answer) and f.error]
        assert refused == [stranger]


def test_changes_of_sessions_are_reported(exabgp_python: str, tmp_path: Path) -> None:
    """Up, down by a NOTIFICATION with a hostile text, up again; a refused connection is not up."""
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp:
        exabgp.wait(lambda _: exabgp.changes() == ["up"])
        peer.drop(6, 2, b'\x10done\n"state": "up"\\')
        exabgp.wait(lambda _: exabgp.changes() == ["up", "down", "up"])
        assert "up" not in exabgp.changes(SECOND)
        assert exabgp.ask(Announce(ROUTE)) == Answer(Announce(ROUTE))
        assert exabgp.ask(QuerySessions()).sessions == {FIRST: Session.UP, SECOND: Session.DOWN}


def test_half_a_line_of_a_dead_child_announces_nothing(exabgp_python: str, tmp_path: Path) -> None:
    """A child that is killed while it writes leaves half a line; the greeting makes it invalid."""
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp:
        peer.wait_up()
        exabgp.ask(Announce(OTHER))
        exabgp.write(f"neighbor {FIRST} announce route 203.0.113.77/32 next-hop {LOCAL}")
        exabgp.end_child()
        assert exabgp.ask(Ping()).version
        assert exabgp.ask(QueryAdjRibOut()).rib == (OTHER,)
        assert exabgp.ask(Announce(ROUTE)) == Answer(Announce(ROUTE))
        settle(exabgp, peer, 2)
        assert set(peer.table) == {OTHER.prefix, ROUTE.prefix}
        assert peer.up
