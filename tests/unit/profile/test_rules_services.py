"""Rules for HAProxy and services: each broken once, with the whole line that is printed."""

from __future__ import annotations

import pytest

from support.broken_profiles import AWS, PLAIN, Changes, list_azure_problems

UNICAST = "write a unicast address of your own"
SECOND = "  main: {socket: /run/haproxy/a.sock, ring: anycastd}\n"
ANOTHER = """\
  api:
    vip: 203.0.113.10/32
    serve: {backend: web}
    failed: withdraw
"""

ERRORS: list[tuple[Changes, str]] = [
    # HAProxy
    (
        [("/run/haproxy/a.sock", "/" + "x" * 107)],
        (
            "14: haproxy.main.socket: the path has 108 bytes, and sockets allow 107; use a "
            "shorter path, here and in haproxy.cfg"
        ),
    ),
    (
        [("ring: anycastd", "ring: anycastd, deadline: 0.5, poll: 0.3")],
        (
            "14: haproxy.main.poll: two looks, 0.3 seconds apart, do not fit into the "
            "deadline of 0.5; "
            "write 0.25 or less"
        ),
    ),
    # VIPs
    *(
        (
            [("203.0.113.10/32", f"{vip}/32")],
            f"17: services.web.vip: {vip} {why}; {UNICAST}",
        )
        for vip, why in (
            ("0.0.0.0", "is the unspecified address"),  # noqa: S104 - nothing is bound
            ("0.1.2.3", "is reserved"),
            ("127.0.0.1", "is a loopback address"),
            ("169.254.1.1", "is link-local"),
            ("239.1.1.1", "is a multicast address"),
            ("240.0.0.1", "is reserved"),
            ("255.255.255.255", "is the broadcast address"),
        )
    ),
    *(
        (
            [("203.0.113.10/32", f"{vip}/128")],
            f"17: services.web.vip: {vip} {why}; {UNICAST}",
        )
        for vip, why in (
            ("::", "is the unspecified address"),
            ("::1", "is a loopback address"),
            ("fe80::1", "is link-local"),
            ("ff02::1", "is a multicast address"),
        )
    ),
    (
        [("203.0.113.10/32", "203.0.113.10/24")],
        "17: services.web.vip: 203.0.113.10/24 is more than one address; write 203.0.113.10/32",
    ),
    (
        [("203.0.113.10/32", "198.51.100.0/31")],
        "17: services.web.vip: 198.51.100.0/31 is more than one address; write 198.51.100.0/32",
    ),
    (
        [("failed:", "next_hop: 10.0.2.20\n    failed:"), ("  web:\n", f"{ANOTHER}  web:\n")],
        (
            "21: services.web.vip: 203.0.113.10 is already a VIP, in line 17; write an "
            "address that nothing else uses"
        ),
    ),
    (
        [PLAIN, ("203.0.113.10/32", "10.0.1.5/32")],
        (
            "17: services.web.vip: 10.0.1.5 is already a neighbor's address, in line 12; "
            "write an address that nothing else uses"
        ),
    ),
    (
        [("203.0.113.10/32", "10.0.9.9/32")],
        (
            "17: services.web.vip: 10.0.9.9 is inside 10.0.0.0/16, and the cloud does not "
            "accept such a route; write an address outside all networks of the VNet or VPC"
        ),
    ),
    (
        [AWS, ("203.0.113.10/32", "10.0.9.9/32")],
        (
            "17: services.web.vip: 10.0.9.9 is inside 10.0.0.0/16, and the cloud does not "
            "accept such a route; write an address outside all networks of the VNet or VPC"
        ),
    ),
    (
        [("prepend: 0", "next_hop: 203.0.113.10")],
        "18: services.web.next_hop: 203.0.113.10 is the VIP itself; write next_hop: self",
    ),
    (
        [PLAIN, ("203.0.113.10/32", "2001:db8::1/128")],
        (
            "17: services.web.vip: 2001:db8::1 is IPv6, and its next hop 10.0.2.10 is IPv4; "
            "write next_hop: with an IPv6 address of this appliance"
        ),
    ),
    (
        [
            ("10.0.1.4,", "10.0.1.4, families: [ipv4],"),
            ("10.0.1.5,", "10.0.1.5, families: [ipv4],"),
            PLAIN,
            ("203.0.113.10/32", '"2001:db8::1/128"\n    next_hop: "2001:db8::2"'),
        ],
        (
            "17: services.web.vip: 2001:db8::1/128 is IPv6, and no neighbor has ipv6 in its "
            "families; add ipv6 to a neighbor's families"
        ),
    ),
    (
        [("10.0.1.5,", "10.0.1.5, next_hop: fd00::1,")],
        (
            "12: bgp.neighbors[1].next_hop: 203.0.113.10 is IPv4, and its next hop "
            "fd00::1 is IPv6; "
            "write next_hop: with an IPv4 address of this appliance"
        ),
    ),
    # levels and times
    (
        [("prepend: 3", "prepend: 0")],
        (
            "21: services.web.degraded.prepend: degraded.prepend 0 is not more than prepend "
            "0, so the worse level would not lose; write 1 or more for degraded.prepend"
        ),
    ),
    (
        [("prepend: 6", "prepend: 3")],
        (
            "22: services.web.standby.prepend: standby.prepend 3 is not more than "
            "degraded.prepend 3, so the worse level would not lose; write 4 or more for "
            "standby.prepend"
        ),
    ),
    (
        [("prepend: 0", "prepend: 4"), ("    degraded: {prepend: 3}\n", "")],
        (
            "18: services.web.prepend: degraded.prepend 3 is not more than prepend 4, so the "
            "worse level would not lose; write 5 or more for degraded.prepend"
        ),
    ),
    (
        [
            ("prepend: 0", "prepend: 6"),
            ("    healthy: {backend: web, usable: 50%}\n    degraded: {prepend: 3}\n", ""),
        ],
        (
            "20: services.web.standby.prepend: standby.prepend 6 is not more than prepend 6, "
            "so the worse level would not lose; write 7 or more for standby.prepend"
        ),
    ),
    (
        [("    healthy: {backend: web, usable: 50%}\n", "")],
        (
            "warning 20: services.web.degraded: has no effect without healthy, which decides "
            "when to degrade; add healthy: {backend: NAME, usable: 50%}, or remove it"
        ),
    ),
    (
        [("prepend: 6", "prepend: 10")],
        (
            "22: services.web.standby.prepend: the path would contain our own AS number 11 "
            "times, and routers on the way may drop paths longer than 10; write "
            "standby.prepend: 9 or less"
        ),
    ),
    (
        [AWS, ("10.0.1.5,", "10.0.1.5, prepend: 4,")],
        (
            "22: services.web.standby.prepend: the path would contain our own AS number 11 "
            "times (4 for a neighbor), and routers on the way may drop paths longer than 10; "
            "write standby.prepend: 5 or less"
        ),
    ),
    (
        [("10.0.1.5,", "10.0.1.5, prepend: 10,")],
        (
            "12: bgp.neighbors[1].prepend: each path would contain our own AS number 11 "
            "times or more; write 9 or less"
        ),
    ),
    (
        [("hold_down: 60", "hold_down: 60, hold_down_max: 50")],
        (
            "24: services.web.return.hold_down_max: hold_down 60 is more than hold_down_max 50; "
            "write hold_down_max: 60 or more"
        ),
    ),
    (
        [("hold_down: 60", "hold_down: 1000")],
        (
            "24: services.web.return.hold_down: hold_down 1000 is more than hold_down_max 900; "
            "write hold_down_max: 1000 or more"
        ),
    ),
    (
        [("hold_down: 60", "hold_down: 29")],
        (
            "warning 24: services.web.return.hold_down: 29 seconds is less than the 30 "
            "seconds for which Azure may delay a second change; write 35 or more"
        ),
    ),
    (
        [("spacing: 35", "spacing: 0")],
        (
            "warning 24: services.web.return.spacing: 0 seconds is less than the 30 seconds "
            "for which Azure may delay a second change; write 35 or more"
        ),
    ),
    # conditions
    (
        [("{frontend: web}", "{}")],
        (
            "19: services.web.serve.all[1]: has none of backend, frontend, check, all and any; "
            "write {backend: NAME}, {frontend: NAME} or {check: NAME}"
        ),
    ),
    (
        [("{frontend: web}", "{frontend: web, backend: web}")],
        (
            "19: services.web.serve.all[1]: backend and frontend are in one condition; write "
            "all: [{backend: ...}, {frontend: ...}]"
        ),
    ),
    (
        [("{frontend: web}", "{frontend: web, usable: 1}")],
        (
            "19: services.web.serve.all[1].usable: applies to a backend, not to frontend; "
            "move it to a condition on a backend, or remove it"
        ),
    ),
    (
        [("{frontend: web}]", "{frontend: web}], haproxy: main")],
        (
            "19: services.web.serve.haproxy: applies to a backend or frontend, not to all; "
            "move it to a condition on a backend or frontend, or remove it"
        ),
    ),
    (
        [("usable: 1}", "usable: 0}")],
        (
            "19: services.web.serve.all[0].usable: 0 would be true without any usable "
            "server; write 1 or more"
        ),
    ),
    *(
        (
            [("usable: 50%", f"usable: {share}%")],
            (
                f"20: services.web.healthy.usable: {share}% is not a possible share of "
                "servers; write 1% to 100%"
            ),
        )
        for share in ("0", "0.5", "101")
    ),
    (
        [("{frontend: web}", "{frontend: web, haproxy: mian}")],
        "19: services.web.serve.all[1].haproxy: there is no mian under haproxy; write main",
    ),
    (
        [("{frontend: web}", "{frontend: web, haproxy: other}")],
        "19: services.web.serve.all[1].haproxy: there is no other under haproxy; write main",
    ),
]


@pytest.mark.parametrize(("changes", "expected"), ERRORS, ids=[line for _, line in ERRORS])
def test_each_rule(changes: Changes, expected: str) -> None:
    """Breaking one rule gives one line: place, message, remedy."""
    mark = "warning " if expected.startswith("warning ") else ""
    assert list_azure_problems(changes) == [f"{mark}p.yaml:{expected.removeprefix(mark)}"]


def test_ipv6_vip_on_azure() -> None:
    """Azure Route Server does not support IPv6, with any next hop."""
    changes = [("203.0.113.10/32", "2001:db8::1/128"), ("prepend: 0", "next_hop: 2001:db8::2")]
    assert list_azure_problems(changes) == [
        (
            "p.yaml:17: services.web.vip: 2001:db8::1 is IPv6, which Azure Route Server does "
            "not support; write an IPv4 address"
        )
    ]


def test_several_haproxies() -> None:
    """With several processes each rule must name one, and each needs its own socket."""
    other = "  other: {socket: /run/haproxy/b.sock}\n"
    lines = list_azure_problems([(SECOND, SECOND + other)])
    assert lines[0] == (
        "p.yaml:20: services.web.serve.all[0].haproxy: is missing, but there are 2 HAProxy "
        "processes; add haproxy: main or other"
    )
    assert len(lines) == 3
    named = [
        (SECOND, SECOND + other),
        ("usable: 1}", "usable: 1, haproxy: main}"),
        ("{frontend: web}", "{frontend: web, haproxy: other}"),
        ("usable: 50%}", "usable: 50%, haproxy: other}"),
    ]
    assert list_azure_problems(named) == []
    assert list_azure_problems([*named, ("b.sock", "a.sock")]) == [
        (
            "p.yaml:15: haproxy.other.socket: /run/haproxy/a.sock is also the socket in line 14; "
            "write each HAProxy's own socket"
        )
    ]


def test_an_invalid_instance_can_be_named() -> None:
    """A rule that names an instance with invalid keys is not an error itself."""
    changes = [
        ("{socket: /run/haproxy/a.sock, ring: anycastd}", "5"),
        ("{frontend: web}", "{frontend: web, haproxy: main}"),
    ]
    assert list_azure_problems(changes) == [
        (
            "p.yaml:14: haproxy.main: is 5, but must be a block of keys; write main: "
            "{socket: /run/haproxy/anycastd.sock}"
        )
    ]
