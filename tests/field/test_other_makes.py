"""FRR, GoBGP and BIRD as neighbors: what each has in its own table, with both ExaBGPs.

One ExaBGP, configured as the speaker configures it, has a session with each of them at once.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from anycastd.bgp.route import Route
from anycastd.decision.levels import Level
from anycastd.decision.routes import Announced, build_wanted_routes
from anycastd.lease.commands import Announce, QueryAdjRibOut, SessionNegotiated, Withdraw
from anycastd.profile.model import Profile
from support.appliance import own_network
from support.exabgp import ExaBGP
from support.peer import Peer, wait_for
from support.profiles import profile
from support.routers import MAKES, Bird2, Frr, Link, Router, SeenRoute

pytestmark = pytest.mark.root

OWN, OWN6 = "192.0.2.10", "2001:db8:2::10"
FOUR = ("192.0.2.4", "192.0.2.5", "192.0.2.6")
SIX = ("2001:db8:2::4", "2001:db8:2::5", "2001:db8:2::6")
WEB, WEB6 = "203.0.113.10/32", "2001:db8::10/128"
OURS, THEIRS = 4200000010, 65515
"""Our AS number has 32 bits (RFC 6793)."""
RICH = ("65010:100", "no-export", "no-peer", "4200000010:1:2")
STANDARD, LARGE = ("65010:100", "65535:65281", "65535:65284"), ("4200000010:1:2",)


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run the test in its own network, with a folder that every user can read."""
    directory = tmp_path_factory.mktemp("makes")
    with own_network():
        for address in (*FOUR[2:], OWN6, *SIX):
            length = 128 if ":" in address else 32
            command = ["ip", "address", "add", f"{address}/{length}", "dev", "lo"]
            subprocess.run([*command, *(["nodad"] if length == 128 else [])], check=True)
        yield directory


def build_profile(addresses: Sequence[str], peer_as: int, more: str = "") -> Profile:
    """Build a profile with both kinds of VIP and these neighbors; ``more`` are keys of theirs."""
    lines = "".join(
        f'    - {{address: "{address}", peer_as: {peer_as}{more}}}\n' for address in addresses
    )
    own = OWN6 if ":" in addresses[0] else OWN
    rich = ", ".join(f'"{each}"' for each in RICH)
    return profile(
        ("    - {address: 192.0.2.4, peer_as: 65515}\n", lines),
        ("    - {address: 192.0.2.5, peer_as: 65515}\n", ""),
        ("local_as: 65010", f"local_as: {OURS}"),
        ("local_address: 192.0.2.10", f'local_address: "{own}"'),
        (
            "return: {rise: 10,",
            f"med: 50\n    communities: [{rich}]\n    return: {{rise: 10,",
        ),
        (
            "services:\n",
            (
                f'services:\n  web6: {{vip: "{WEB6}", next_hop: "{OWN6}", '
                "serve: {backend: web}, failed: withdraw}\n"
            ),
        ),
    )


def build_routes(given: Profile, level: Level) -> tuple[Route, ...]:
    """Build the routes of both services at a level."""
    return build_wanted_routes(given, [Announced(each, level) for each in given.services.values()])


@contextlib.contextmanager
def run_routers(place: Path, addresses: Sequence[str], asn: int) -> Iterator[list[Router]]:
    """Run one router of each make."""
    link = Link(OWN6 if ":" in addresses[0] else OWN, OURS)
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(make(place, address, asn, link))
            for make, address in zip(MAKES.values(), addresses, strict=True)
        ]


def wait_route(router: Router, prefix: str, expected: SeenRoute | None) -> None:
    """Wait until a router has just this route to a prefix; None: no route."""
    seen: list[SeenRoute | None] = []

    def has_it() -> bool:
        seen[:] = [router.read_route(prefix)]
        return seen[0] == expected

    try:
        wait_for(has_it, 60)
    except AssertionError:
        raise AssertionError(f"{router.program} has {seen}, not {expected}") from None


def announce(exabgp: ExaBGP, routes: Sequence[Route]) -> None:
    """Announce routes; what ExaBGP shows of them then is equal to them: nothing to repair."""
    exabgp.send(*map(Announce, routes))
    exabgp.wait_answered()
    assert sorted(exabgp.ask(QueryAdjRibOut()).rib or ()) == sorted(routes)


def expect(
    router: Router, *, path: tuple[int, ...], local_pref: int | None, hop: str = OWN
) -> dict[str, SeenRoute]:
    """Return what a router should have: prefix -> route.  BIRD gives eBGP routes a preference."""
    if local_pref is None and isinstance(router, Bird2):
        local_pref = 100
    return {
        WEB: SeenRoute(path, hop, 50, local_pref, STANDARD, LARGE),
        WEB6: SeenRoute(path, OWN6, None, local_pref),
    }


@pytest.mark.parametrize(
    ("addresses", "peer_as"),
    [(FOUR, THEIRS), (FOUR, OURS), (SIX, THEIRS), (SIX, OURS)],
    ids=["ebgp-ipv4", "ibgp-ipv4", "ebgp-ipv6", "ibgp-ipv6"],
)
def test_each_make_has_the_routes(
    place: Path, exabgp_python: str, addresses: Sequence[str], peer_as: int
) -> None:
    """Announced, replaced, withdrawn: with path, MED, communities and next hop.

    Over eBGP the level is the length of the path, over iBGP the local preference.  On an IPv6
    session the IPv4 VIP has an IPv6 next hop (RFC 8950), which all three take.
    """
    six = ":" in addresses[0]
    given = build_profile(addresses, peer_as, ", extended_next_hop: true" if six else "")
    with (
        run_routers(place, addresses, peer_as) as routers,
        ExaBGP(exabgp_python, place, 179, given=given) as exabgp,
    ):
        routes: tuple[Route, ...] = ()
        for level, count in ((Level.PREFERRED, 0), (Level.DEGRADED, 3), (Level.STANDBY, 6)):
            routes = build_routes(given, level)
            announce(exabgp, routes)
            inside = peer_as == OURS
            path = () if inside else (OURS,) * (1 + count)
            for router in routers:
                local_pref = 100 - count if inside else None
                hop = OWN6 if six else OWN
                found = expect(router, path=path, local_pref=local_pref, hop=hop)
                for prefix, route in found.items():
                    wait_route(router, prefix, route)
        exabgp.send(*map(Withdraw, routes))
        exabgp.wait_answered()
        for router in routers:
            for prefix in (WEB, WEB6):
                wait_route(router, prefix, None)


def test_a_make_drops_our_own_number_over_ibgp(place: Path, exabgp_python: str) -> None:
    """So prepends cannot be in the path there: it would be a loop (RFC 4271, section 9.1.2)."""
    given = build_profile(FOUR, OURS)
    with (
        run_routers(place, FOUR, OURS) as routers,
        ExaBGP(exabgp_python, place, 179, given=given) as exabgp,
    ):
        routes = build_routes(given, Level.PREFERRED)
        looped = [
            replace(route, as_path=(OURS,)) if route.prefix == WEB else route for route in routes
        ]
        announce(exabgp, looped)
        for router in routers:
            wait_route(router, WEB6, expect(router, path=(), local_pref=100)[WEB6])
            assert router.read_route(WEB) is None


def test_a_route_reflector_passes_it_on(place: Path, exabgp_python: str) -> None:
    """We are its client (RFC 4456): another client gets our route, with our next hop."""
    reflector, client = FOUR[0], FOUR[1]
    given = build_profile((reflector,), OURS)
    with (
        Bird2(place, client, OURS, Link(reflector, OURS)) as other,
        Frr(
            place,
            reflector,
            OURS,
            Link(OWN, OURS, client=True),
            Link(client, OURS, client=True, active=True),
        ),
        ExaBGP(exabgp_python, place, 179, given=given) as exabgp,
    ):
        for level, local_pref in ((Level.PREFERRED, 100), (Level.STANDBY, 94)):
            announce(exabgp, build_routes(given, level))
            expected = SeenRoute((), OWN, 50, local_pref, STANDARD, LARGE, reflected=True)
            wait_route(other, WEB, expected)


def test_no_extended_next_hop_without_the_peers_consent(place: Path, exabgp_python: str) -> None:
    """A peer that does not offer RFC 8950 gets no IPv4 VIP, keeps the session and its IPv6 VIP."""
    given = build_profile(SIX[:1], THEIRS, ", extended_next_hop: true")
    with (
        Peer(SIX[0], 179) as peer,
        ExaBGP(exabgp_python, place, 179, given=given) as exabgp,
    ):
        peer.wait_up(30)
        announce(exabgp, build_routes(given, Level.PREFERRED))
        peer.wait(lambda it: WEB6 in it.table, 20, "the IPv6 VIP")
        assert list(peer.table) == [WEB6]
        agreed = [fact for fact in exabgp.facts if isinstance(fact, SessionNegotiated)]
        assert [fact.negotiated.families for fact in agreed] == [("ipv6",)]


def test_an_old_peer_gets_numbers_of_16_bits(place: Path, exabgp_python: str) -> None:
    """AS_TRANS stands for ours in its path, and AS4_PATH has ours (RFC 6793, section 4.2.2)."""
    given = build_profile(FOUR[:1], THEIRS)
    with (
        Peer(FOUR[0], 179, four_octets=False) as peer,
        ExaBGP(exabgp_python, place, 179, given=given) as exabgp,
    ):
        peer.wait_up(30)
        announce(exabgp, build_routes(given, Level.DEGRADED))
        peer.wait(lambda it: WEB in it.table, 20, "the route")
        assert peer.table[WEB].as_path == (OURS,) * 4
