"""Several routes in one line: which ones, and that each real ExaBGP announces the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from anycastd.bgp.route import Route, canonicalize_route
from anycastd.bgp.session import Session
from anycastd.lease.commands import Announce, Answer, Ping, QueryAdjRibOut, SessionChanged, Withdraw
from anycastd.speaker.exabgp.api import ApiConversation
from anycastd.speaker.exabgp.lines import MAX_ROUTES_PER_LINE
from support.exabgp import FIRST, GREETED, LOCAL, NEXT_HOP, SECOND, ExaBGP, loopback_profile
from support.peer import Peer, wait_for

ROUTE = Route(FIRST, "203.0.113.0/32", LOCAL, (65010, 65010))
ROUTES = tuple(replace(ROUTE, prefix=f"203.0.113.{number}/32") for number in range(250))
RICH = tuple(
    replace(route, med=5, communities=("65010:100", "65535:0", "65010:1:2")) for route in ROUTES
)
SIX = tuple(
    Route(FIRST, f"2001:db8::{number}/128", "2001:db8::1:1", (65010,), med=7)
    for number in range(1, 30)
)


def lines(*commands: Announce | Withdraw | Ping) -> list[str]:
    """Return the lines for commands, without the greeting."""
    return ApiConversation([FIRST, SECOND], 65010).send(*commands).splitlines()[3:]


def attributes(peer: Peer) -> set[tuple[int | None, tuple[str, ...], tuple[str, ...]]]:
    """Return MED, communities and large communities of all routes that a peer has."""
    return {(r.med, r.communities, r.large) for r in list(peer.table.values())}


def test_routes_that_differ_in_prefix_only_are_one_line() -> None:
    """All routes of a line have the same neighbor, next hop, attributes and family."""
    one, two, three = ROUTES[:3]
    other = replace(three, neighbor=SECOND)
    with_all = f"next-hop {LOCAL} as-path [ 65010 65010 ]"
    assert lines(Announce(one), Announce(other), Announce(two)) == [
        f"neighbor {FIRST} announce attributes {with_all} nlri 203.0.113.0/32 203.0.113.1/32",
        f"neighbor {SECOND} announce route 203.0.113.2/32 {with_all}",
    ]
    for change in ({"as_path": (65010,)}, {"med": 1}, {"communities": ("65010:1",)}):
        assert len(lines(Announce(one), Announce(replace(two, **change)))) == 2
    assert lines(Withdraw(one), Withdraw(replace(two, as_path=(65010,)))) == [
        f"neighbor {FIRST} withdraw attributes next-hop {LOCAL} nlri 203.0.113.0/32 203.0.113.1/32"
    ]
    mixed = replace(SIX[0], next_hop=LOCAL, as_path=one.as_path, med=None)
    assert len(lines(Announce(one), Announce(mixed))) == 2


def test_commands_about_one_route_stay_in_order() -> None:
    """Withdrawals that are sent first stay first, and nothing overtakes a question."""
    one, two = ROUTES[:2]
    sent = lines(Withdraw(one), Withdraw(two), Announce(one), Announce(two), Announce(one))
    assert [line.split()[2] for line in sent] == ["withdraw", "announce", "announce"]
    sent = lines(Announce(one), Ping(), Announce(two))
    assert ["announce route" in line for line in sent] == [True, False, True]
    assert [line.count("/32") for line in lines(*map(Announce, ROUTES))] == [
        MAX_ROUTES_PER_LINE,
        MAX_ROUTES_PER_LINE,
        len(ROUTES) - 2 * MAX_ROUTES_PER_LINE,
    ]


def test_the_answer_to_a_line_counts_for_each_command() -> None:
    """The lease counts routes, not lines."""
    conversation = ApiConversation([FIRST], 65010)
    commands = [Announce(route) for route in ROUTES[:3]]
    conversation.send(*commands)
    assert not [fact for line in GREETED for fact in conversation.receive(line)]
    assert conversation.receive("done") == tuple(map(Answer, commands))


def test_a_line_that_is_refused_is_the_last_of_its_kind() -> None:
    """Each of its routes counts as refused; sent again one by one, only the bad one is."""
    conversation = ApiConversation([FIRST], 65010)
    commands = [Announce(route) for route in ROUTES[:3]]
    conversation.send(*commands)
    assert not [fact for line in GREETED for fact in conversation.receive(line)]
    facts = conversation.receive("error")
    assert [fact.error for fact in facts if isinstance(fact, Answer)] == [
        "ExaBGP refused the command"
    ] * 3
    assert len(conversation.send(*commands).splitlines()) == 3


def test_exabgp_takes_many_in_a_line(exabgp_python: str, tmp_path: Path) -> None:
    """Peer and rib have them as if sent one by one; a route of a line can be withdrawn alone."""
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp:
        peer.wait_up()
        for routes in (RICH, ROUTES):
            exabgp.send(*map(Announce, routes))
            exabgp.wait_answered()
            med, small, large = routes[0].med, routes[0].communities[:2], routes[0].communities[2:]
            peer.wait(
                lambda peer: (
                    attributes(peer) == {(med, small, large)}  # noqa: B023
                    and len(peer.table) == len(ROUTES)
                )
            )
            assert {route.as_path for route in peer.table.values()} == {(65010, 65010)}
            assert exabgp.ask(QueryAdjRibOut()).rib == tuple(sorted(routes))
        exabgp.send_one_per_line(*(Withdraw(route) for route in ROUTES[:100]))
        exabgp.send(*map(Withdraw, ROUTES[100:200]))
        exabgp.send_one_per_line(*(Announce(route) for route in ROUTES[200:]))
        exabgp.send(*map(Withdraw, ROUTES[200:]))
        exabgp.wait_answered()
        wait_for(lambda: not peer.table, 20, "none of them")
        assert exabgp.ask(QueryAdjRibOut()).rib == ()
        assert not [f for f in exabgp.facts if isinstance(f, Answer) and f.error is not None]
        assert SessionChanged(FIRST, Session.UP) in exabgp.facts


def test_exabgp_takes_many_of_ipv6_in_a_line(exabgp_python: str, tmp_path: Path) -> None:
    """The family is that of the prefixes."""
    given = loopback_profile(9, ("203.0.113.10/32", "2001:db8::10/128"), *NEXT_HOP)
    with (
        Peer(FIRST) as peer,
        ExaBGP(exabgp_python, tmp_path, peer.port, given=given) as exabgp,
    ):
        peer.wait_up()
        exabgp.send(*map(Announce, SIX))
        exabgp.wait_answered()
        wait_for(lambda: len(peer.table) == len(SIX), 20, "all of them")
        assert {(r.next_hop, r.med) for r in peer.table.values()} == {("2001:db8::1:1", 7)}
        assert exabgp.ask(QueryAdjRibOut()).rib == tuple(sorted(map(canonicalize_route, SIX)))
        exabgp.send(*map(Withdraw, SIX))
        exabgp.wait_answered()
        wait_for(lambda: not peer.table, 20, "none of them")
        assert exabgp.ask(QueryAdjRibOut()).rib == ()
