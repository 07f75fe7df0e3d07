"""Rules about local preferences and extended next hops, and communities in all their forms."""

from __future__ import annotations

import pytest

from support.broken_profiles import PLAIN, Changes, list_azure_problems
from support.profiles import profile

IBGP = ("65515", "65010")
NO_EFFECT = "has no effect, because no neighbor has our own AS number (iBGP); remove it"
SAME = "so the worse level would not lose"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([PLAIN, IBGP], []),
        ([PLAIN, IBGP, ("prepend: 3", "local_pref: 20, prepend: 3")], ["standby"]),
        (
            [PLAIN, ("prepend: 3", "local_pref: 20, prepend: 3")],
            [f"warning p.yaml:21: services.web.degraded.local_pref: {NO_EFFECT}"],
        ),
        ([("10.0.1.4,", "10.0.1.4, extended_next_hop: true,")], ["Azure Route Server does not"]),
        (
            [PLAIN, ("10.0.1.4,", "10.0.1.4, families: [ipv4], extended_next_hop: true,")],
            ["families: extended_next_hop needs a session that carries both", "with extended_next"],
        ),
        (
            [PLAIN, ("10.0.1.4,", "10.0.1.4, extended_next_hop: true,")],
            ["the next hop 10.0.2.10 of 203.0.113.10 is IPv4, with extended_next_hop; write next"],
        ),
    ],
)
def test_each_rule(changes: Changes, expected: list[str]) -> None:
    """Each problem has these words, in this order."""
    found = list_azure_problems(changes)
    assert len(found) == len(expected), found
    for line, words in zip(found, expected, strict=True):
        assert words in line
        assert not ("local_pref" in line and "no effect" not in line) or SAME in line


def test_an_ipv4_vip_with_an_ipv6_next_hop() -> None:
    """The session offers both families; the route has the IPv6 address of the session."""
    given = profile(
        ("local_address: 192.0.2.10", 'local_address: "2001:db8::1"'),
        ("{address: 192.0.2.4,", '{extended_next_hop: true, address: "2001:db8::2",'),
        ("    - {address: 192.0.2.5, peer_as: 65515}\n", ""),
    )
    (neighbor,) = given.bgp.neighbors
    assert (neighbor.families, neighbor.extended_next_hop) == (("ipv4", "ipv6"), True)


def test_communities_by_number_and_by_name() -> None:
    """Names become numbers, zeros in front go, and each stands once in a route."""
    words = "no-export, no-peer, graceful-shutdown, 65010:007, 65010:1:2, 4200000000:0:1"
    given = profile(("prepend: 0", f"prepend: 0\n    communities: [{words}]"))
    assert given.services["web"].communities == (
        "65535:65281",
        "65535:65284",
        "65535:0",
        "65010:7",
        "65010:1:2",
        "4200000000:0:1",
    )


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("1.10", "write an AS number HIGH.LOW as one number: HIGH * 65536 + LOW"),
        ('"1.10"', "write 65546"),
        ('"65535.65535"', "write 4294967295"),
    ],
)
def test_asdot_is_refused_with_its_number(written: str, remedy: str) -> None:
    """An AS number has one form here (asplain, RFC 5396)."""
    found = list_azure_problems([PLAIN, ("local_as: 65010", f"local_as: {written}")])
    assert found[0].startswith("p.yaml:6: bgp.local_as: is ")
    assert found[0].endswith(f"but must be a whole number; {remedy}")
