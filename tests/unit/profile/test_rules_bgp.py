"""Rules for the BGP part: each broken once, with the whole line that is printed."""

from __future__ import annotations

import pytest

from support.broken_profiles import AWS, PLAIN, Changes, list_azure_problems

PRIVATE = "write a private one such as 65010"
HOST = "is not the address of one host; write a unicast address such as 10.0.2.10"

ERRORS: list[tuple[Changes, str]] = [
    # AS numbers
    *(
        ([("65010", str(asn))], f"6: bgp.local_as: AS {asn} {why}; {PRIVATE}")
        for asn, why in (
            (8074, "belongs to Microsoft"),
            (8075, "belongs to Microsoft"),
            (12076, "belongs to ExpressRoute"),
            (65515, "belongs to the route server"),
            (65517, "is reserved by Azure"),
            (65520, "is reserved by Azure"),
            (64496, "is for documentation only, and Azure refuses it"),
            (64511, "is for documentation only, and Azure refuses it"),
            (65551, "is for documentation only, and Azure refuses it"),
            (23456, "is reserved and belongs to no network"),
            (65535, "is reserved and belongs to no network"),
            (65536, "is for documentation only, and Azure refuses it"),
        )
    ),
    (
        [("65010", "4200000000")],
        (
            "6: bgp.local_as: AS 4200000000 has more than 16 bits, which Azure Route "
            "Server refuses; "
            f"{PRIVATE}"
        ),
    ),
    (
        [("10.0.1.4,", "10.0.1.4, families: [ipv4, ipv6],")],
        (
            "11: bgp.neighbors[0].families: Azure Route Server does not support IPv6; "
            "write [ipv4], or remove it"
        ),
    ),
    (
        [PLAIN, ("65010", "4294967295")],
        f"6: bgp.local_as: AS 4294967295 is reserved and belongs to no network; {PRIVATE}",
    ),
    (
        [("65515", "65514")],
        (
            "11: bgp.neighbors[0].peer_as: AS 65514 is not Azure Route Server's AS number, "
            "which is always 65515; write 65515"
        ),
    ),
    (
        [PLAIN, ("65515", "23456")],
        (
            "11: bgp.neighbors[0].peer_as: AS 23456 is reserved and belongs to no network; "
            "write the neighbor's own AS number"
        ),
    ),
    (
        [AWS, ("65515", "65010")],
        (
            "11: bgp.neighbors[0].peer_as: AS 65010 is also local_as, and VPC Route Server peers "
            "by eBGP only; write the neighbor's own AS number"
        ),
    ),
    # addresses
    (
        [("router_id: 10.0.2.10", "router_id: 0.0.0.0")],
        (
            "7: bgp.router_id: 0.0.0.0 is not a valid BGP identifier; write this appliance's own "
            "IPv4 address"
        ),
    ),
    (
        [("local_address: 10.0.2.10", "local_address: 0.0.0.0")],
        f"8: bgp.local_address: 0.0.0.0 {HOST}",
    ),
    (
        [("10.0.1.5", "224.0.0.1")],
        f"12: bgp.neighbors[1].address: 224.0.0.1 {HOST}",
    ),
    (
        [("prepend: 0", "next_hop: 255.255.255.255")],
        f"18: services.web.next_hop: 255.255.255.255 {HOST}",
    ),
    (
        [("10.0.1.5", "10.0.1.4")],
        (
            "12: bgp.neighbors[1].address: 10.0.1.4 is already a neighbor, in line 11; keep "
            "one of them"
        ),
    ),
    (
        [("10.0.1.5", "10.0.2.10")],
        (
            "12: bgp.neighbors[1].address: 10.0.2.10 is also the local address; "
            "write the neighbor's own address"
        ),
    ),
    (
        [("10.0.1.5", "fd00::5")],
        (
            "12: bgp.neighbors[1].address: fd00::5 is IPv6, which Azure Route Server does "
            "not support; write its IPv4 address"
        ),
    ),
    (
        [PLAIN, ("10.0.1.5", "fd00::5")],
        (
            "12: bgp.neighbors[1].address: fd00::5 cannot be reached from 10.0.2.10, which "
            "is IPv4; add local_address: with an IPv6 address to this neighbor"
        ),
    ),
    # sessions
    (
        [("    - {address: 10.0.1.5, peer_as: 65515}\n", "")],
        (
            "10: bgp.neighbors: there is only one neighbor, and Azure Route Server requires "
            "sessions to both instances; add the other instance's address, also with "
            "peer_as: 65515"
        ),
    ),
    (
        [AWS, ("    - {address: 10.0.1.5, peer_as: 65515}\n", "")],
        (
            "warning 10: bgp.neighbors: there is only one neighbor, so all routes depend on "
            "one route server endpoint; add the subnet's other endpoint"
        ),
    ),
    (
        [("hold_time: 9", "hold_time: 0")],
        (
            "9: bgp.hold_time: 0 turns off the detection of a dead host; write 3 or more, 9 "
            "if in doubt"
        ),
    ),
    (
        [("hold_time: 9", "hold_time: 2")],
        "9: bgp.hold_time: 2 is not allowed (RFC 4271); write 3 or more, 9 if in doubt",
    ),
    (
        [("10.0.1.4,", "10.0.1.4, hold_time: 1,")],
        (
            "11: bgp.neighbors[0].hold_time: 1 is not allowed (RFC 4271); "
            "write 3 or more, 9 if in doubt"
        ),
    ),
    (
        [("hold_time: 9", "hold_time: 5")],
        (
            "9: bgp.hold_time: 5 seconds is not more than the lease of 5 seconds "
            "(lease.ttl); write hold_time: 6 or more, or a lower lease.ttl"
        ),
    ),
    (
        [("  hold_time: 9\n", ""), ("ttl: 5", "ttl: 9.5")],
        (
            "4: lease.ttl: 9 seconds is not more than the lease of 9.5 seconds (lease.ttl); "
            "write hold_time: 10 or more, or a lower lease.ttl"
        ),
    ),
    (
        [("hold_time: 9", "hold_time: 180")],
        (
            "warning 9: bgp.hold_time: the routes of a dead host would stay for 180 seconds; "
            "write 9, which Azure Route Server accepts"
        ),
    ),
    (
        [("10.0.1.4,", "10.0.1.4, md5_file: /etc/md5,")],
        (
            "11: bgp.neighbors[0].md5_file: cloud route servers do not support MD5 "
            "passwords, so no session would come up; remove it"
        ),
    ),
    (
        [("10.0.1.4,", "10.0.1.4, multihop: 1,")],
        (
            "11: bgp.neighbors[0].multihop: Azure Route Server is in another subnet, "
            "more than one hop "
            "away; write 2 or more, or remove it"
        ),
    ),
    # communities
    *(
        (
            [("prepend: 0", f"communities: [65010:1, {community}]")],
            (
                f"18: services.web.communities[1]: {community} is used by Azure itself "
                "to drop routes; remove it, or write one with your own AS number"
            ),
        )
        for community in ("65517:65517", "65518:1", "65515:10000", "65515:20000")
    ),
    (
        [("prepend: 3", "prepend: 3, communities: [65518:0]")],
        (
            "21: services.web.degraded.communities[0]: 65518:0 is used by Azure itself to "
            "drop routes; remove it, or write one with your own AS number"
        ),
    ),
    (
        [("10.0.1.4,", "10.0.1.4, communities: [65535:65282],")],
        (
            "11: bgp.neighbors[0].communities[0]: 65535:65282 (no-advertise) keeps the route "
            "inside the VNet; remove it, so that other regions learn the route"
        ),
    ),
]


@pytest.mark.parametrize(("changes", "expected"), ERRORS, ids=[line for _, line in ERRORS])
def test_each_rule(changes: Changes, expected: str) -> None:
    """Breaking one rule gives one line: place, message, remedy."""
    mark = "warning " if expected.startswith("warning ") else ""
    assert list_azure_problems(changes) == [f"{mark}p.yaml:{expected.removeprefix(mark)}"]


def test_both_instances_are_of_one_route_server() -> None:
    """One instance of each of two route servers is a warning for each of them."""
    lines = list_azure_problems([("10.0.1.5", "10.1.1.5")])
    assert lines == [
        f"warning p.yaml:{line}: bgp.neighbors[{index}].address: {address} has no other neighbor "
        "near it, and the two instances of a route server are in one subnet; write both addresses "
        "that the route server shows as its peer IPs"
        for line, index, address in ((11, 0, "10.0.1.4"), (12, 1, "10.1.1.5"))
    ]
    assert list_azure_problems([PLAIN, ("10.0.1.5", "10.1.1.5")]) == []


# Tunnels of AWS have addresses of 169.254.0.0/16.
def test_a_link_local_address() -> None:
    """One of IPv6 needs an interface, which ExaBGP does not take; those of IPv4 are used."""
    new = "{address: 'fe80::5', local_address: 'fd00::2',"
    problems = list_azure_problems([PLAIN, ("{address: 10.0.1.5,", new)])
    text = "fe80::5 is link-local, and cannot be reached without its interface"
    assert f"12: bgp.neighbors[1].address: {text}; write a global" in problems[0]
    assert list_azure_problems([PLAIN, ("10.0.1.5", "169.254.10.1")]) == []
