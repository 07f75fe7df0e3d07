"""All rules together: all problems at once, and values that must be accepted."""

from __future__ import annotations

import pytest

from support.broken_profiles import AWS, PLAIN, Changes, list_azure_problems, list_problems


def test_sound_profile_has_no_problems() -> None:
    """The profile that the other tests break is valid."""
    assert list_azure_problems([]) == []


@pytest.mark.parametrize(
    "changes",
    [
        [PLAIN, ("65010", "12076")],
        [AWS, ("65010", "4200000000")],
        [("65010", "65516")],
        [PLAIN, ("    - {address: 10.0.1.5, peer_as: 65515}\n", "")],
        [PLAIN, ("10.0.1.4,", "10.0.1.4, md5_file: /etc/md5, multihop: 1,")],
        [PLAIN, ("hold_time: 9", "hold_time: 180")],
        [("hold_time: 9", "hold_time: 3"), ("ttl: 5", "ttl: 2.9")],
        [PLAIN, ("prepend: 0", "communities: [65535:65282]")],
        [PLAIN, ("203.0.113.10/32", "10.0.9.9/32")],
        [PLAIN, ("prepend: 6", "prepend: 20")],
        [PLAIN, ("hold_down: 60", "hold_down: 0")],
        [("usable: 50%", "usable: 100%")],
        [("usable: 50%", "usable: 1%")],
        [PLAIN, ("203.0.113.10/32", "2001:db8::1/128"), ("prepend: 0", "next_hop: 2001:db8::2")],
        [AWS, ("10.0.1.4,", "10.0.1.4, multihop: 1,")],
    ],
    ids=str,
)
def test_other_platforms_allow_more(changes: Changes) -> None:
    """A rule for one cloud is not applied to another, and values at the limits are valid."""
    assert list_azure_problems(changes) == []


def test_all_problems_come_at_once() -> None:
    """Schema errors hide neither each other nor errors of the rules on valid parts."""
    text = """\
region: 5
platfrom: azure
platform: azure
bgp:
  local_as: 65515
  hold_time: 2
  neighbors:
    - {address: 10.0.1.400, peer_as: 65010}
haproxy:
  main: {socket: run/x, deadline: 4, deadline: 5}
services:
  web:
    vip: 203.0.113.10
    serve: {all: [{backend: web, usable: 0}, {backend: 3}]}
    return: {hold_down: 10}
  api:
    vip: 203.0.113.0/24
    serve: {frontend: api, haproxy: mian}
    failed: stand-by
"""
    assert list_problems(text) == [
        'p.yaml:1: region: is 5, but must be text; write region: "5", with the quotes',
        "p.yaml:2: platfrom: there is no such key in a profile; write platform",
        "p.yaml:4: bgp.router_id: is missing; add router_id: 10.0.2.10",
        "p.yaml:4: bgp.local_address: is missing; add local_address: 10.0.2.10",
        (
            "p.yaml:5: bgp.local_as: AS 65515 belongs to the route server; write a private "
            "one such as 65010"
        ),
        "p.yaml:6: bgp.hold_time: 2 is not allowed (RFC 4271); write 3 or more, 9 if in doubt",
        (
            "p.yaml:7: bgp.neighbors: there is only one neighbor, and Azure Route Server "
            "requires sessions to both instances; add the other instance's address, also "
            "with peer_as: 65515"
        ),
        (
            "p.yaml:8: bgp.neighbors[0].address: 10.0.1.400 is not an IP address; "
            "write one such as 10.0.2.10, without a prefix length"
        ),
        (
            "p.yaml:8: bgp.neighbors[0].peer_as: AS 65010 is not Azure Route Server's AS "
            "number, which is always 65515; write 65515"
        ),
        "p.yaml:10: haproxy.main.deadline: the same key is twice in line 10; keep one of them",
        (
            "p.yaml:10: haproxy.main.socket: run/x is not an absolute path; write the full "
            "path, beginning with /"
        ),
        "p.yaml:12: services.web.failed: is missing; add failed: withdraw or standby",
        "p.yaml:13: services.web.vip: the prefix length is missing; write 203.0.113.10/32",
        (
            "p.yaml:14: services.web.serve.all[1].backend: is 3, but must be text; write "
            'backend: "3", with the quotes'
        ),
        (
            "p.yaml:14: services.web.serve.all[0].usable: 0 would be true without any usable "
            "server; write 1 or more"
        ),
        (
            "p.yaml:15: services.web.return.hold_down: 10 seconds is less than the 30 "
            "seconds for which Azure may delay a second change; write 35 or more"
        ),
        (
            "p.yaml:17: services.api.vip: 203.0.113.0/24 is more than one address; "
            "write 203.0.113.0/32"
        ),
        "p.yaml:18: services.api.serve.haproxy: there is no mian under haproxy; write main",
        "p.yaml:19: services.api.failed: stand-by is not a valid value; write standby",
    ]
