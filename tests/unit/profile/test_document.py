"""Errors that the schema finds: each one with its line and a remedy."""

from __future__ import annotations

import warnings

import pytest

from anycastd.profile.document import Problem
from anycastd.profile.schema_errors import suggest_similar
from anycastd.profile.validate import validate_profile
from support.broken_profiles import LEAST, list_problems, replace_texts


def test_problem_prints_as_documented() -> None:
    """A problem prints as FILE:LINE: key: message; remedy."""
    problem = Problem("a.yaml", 3, "bgp.local_as", "is wrong", "write 1")
    assert str(problem) == "a.yaml:3: bgp.local_as: is wrong; write 1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            (
                "1: profile: the file is empty; write a profile; profiles/primary.yaml is one, "
                "and `anycastd init` writes one"
            ),
        ),
        (
            "# nothing\n",
            (
                "1: profile: the file is empty; write a profile; profiles/primary.yaml is one, "
                "and `anycastd init` writes one"
            ),
        ),
        (
            "---\n",
            (
                "1: profile: the file is empty; write a profile; profiles/primary.yaml is one, "
                "and `anycastd init` writes one"
            ),
        ),
        (
            "\n- region: x",
            (
                "2: profile: is a list, but must be a block of keys; write a block of keys, "
                "as in profiles/primary.yaml"
            ),
        ),
        (
            "hello",
            (
                "1: profile: is the text hello, but must be a block of keys; write a block "
                "of keys, as in profiles/primary.yaml"
            ),
        ),
        (
            "a: b: c",
            (
                "1: profile: there is a colon where no key can begin; indent this line like "
                "the keys beside it, or put text with a colon in quotes"
            ),
        ),
    ],
)
def test_no_profile_at_all(text: str, expected: str) -> None:
    """A text that is no profile gives one message."""
    assert list_problems(text) == [f"p.yaml:{expected}"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("region: here\n", "", "1: region: is missing; add region: northeurope"),
        (
            "platform: plain\n",
            "",
            "1: platform: is missing; add platform: azure, aws or plain",
        ),
        (
            "region: here",
            "region: 5",
            '1: region: is 5, but must be text; write region: "5", with the quotes',
        ),
        (
            "region: here",
            "region: a/b",
            (
                "1: region: a/b cannot be used here; "
                "write letters, digits, spaces and - _ . only, 63 at most"
            ),
        ),
        (
            "region: here",
            'region: "here\\n"',
            (
                "1: region: here\\n cannot be used here; "
                "write letters, digits, spaces and - _ . only, 63 at most"
            ),
        ),
        (
            "region: here",
            "region:",
            "1: region: is empty, but must be text; write region: northeurope",
        ),
        (
            "platform: plain",
            "platform: azur",
            "2: platform: azur is not a valid value; write azure",
        ),
        (
            "platform: plain",
            "platform: gcp",
            "2: platform: gcp is not a valid value; write azure, aws or plain",
        ),
        (
            "platform: plain",
            "platform: plain\nnetwork: []",
            "3: network: there is no such key in a profile; write networks",
        ),
        (
            "platform: plain",
            "platform: plain\nzzz: []",
            (
                "3: zzz: there is no such key in a profile; "
                "write region, appliance, platform, networks, lease, bgp, drain, regions, web, "
                "control, hooks, haproxy, checks or services, or remove it"
            ),
        ),
        (
            "platform: plain",
            "platform: plain\n<<: {}",
            (
                "3: <<: there is no such key in a profile; "
                "write region, appliance, platform, networks, lease, bgp, drain, regions, web, "
                "control, hooks, haproxy, checks or services, or remove it"
            ),
        ),
        (
            "platform: plain",
            "platform: plain\nnetworks: 10.0.0.0/16",
            (
                "3: networks: is the text 10.0.0.0/16, but must be a list; write networks: "
                "[10.0.0.0/16]"
            ),
        ),
        (
            "platform: plain",
            "platform: plain\nnetworks: [10.0.0.1/16]",
            "3: networks[0]: 10.0.0.1/16 has host bits set; write 10.0.0.0/16",
        ),
        (
            "platform: plain",
            "platform: plain\nnetworks: [10.0.0.0]",
            "3: networks[0]: the prefix length is missing; write 10.0.0.0/32",
        ),
        (
            "platform: plain",
            "platform: plain\nnetworks: [10.0.0.0/255.0.0.0]",
            "3: networks[0]: 10.0.0.0/255.0.0.0 is not a prefix; write one such as 10.0.0.0/16",
        ),
        (
            "platform: plain",
            "platform: plain\nlease: {ttl: 0.5}",
            "3: lease.ttl: 0.5 is less than 1 second; write a number from 1 to 60",
        ),
        (
            "platform: plain",
            "platform: plain\nlease: {ttl: 1e999}",
            "3: lease.ttl: inf is more than 60 seconds; write a number from 1 to 60",
        ),
        (
            "platform: plain",
            "platform: plain\nlease: {ttl: .nan}",
            "3: lease.ttl: is the text .nan, but must be a number; write a number, such as ttl: 5",
        ),
        (
            "local_as: 65010",
            'local_as: "65010"',
            (
                '4: bgp.local_as: is "65010" in quotes, but must be a whole number; '
                "take the quotes off"
            ),
        ),
        (
            "local_as: 65010",
            "local_as: sixty",
            (
                "4: bgp.local_as: is the text sixty, but must be a whole number; write a whole "
                "number, such as local_as: 65010"
            ),
        ),
        (
            "local_as: 65010",
            "local_as: 1.10",
            (
                "4: bgp.local_as: is 1.1, but must be a whole number; write an AS number HIGH.LOW "
                "as one number: HIGH * 65536 + LOW"
            ),
        ),
        (
            "local_as: 65010",
            "local_as: 0",
            "4: bgp.local_as: 0 is less than 1; write a number from 1 to 4294967295",
        ),
        (
            "local_as: 65010",
            "local_as: 4294967296",
            (
                "4: bgp.local_as: 4294967296 is more than 4294967295; "
                "write a number from 1 to 4294967295"
            ),
        ),
        (
            "local_as: 65010",
            "local_as: true",
            "4: bgp.local_as: is true, but must be a whole number; write local_as: 65010",
        ),
        (
            "router_id: 192.0.2.10",
            "router_id: fd00::1",
            "5: bgp.router_id: fd00::1 is not an IPv4 address; write one such as 10.0.2.10",
        ),
        (
            "local_address: 192.0.2.10",
            "local_address: 192.0.2.10/24",
            (
                "6: bgp.local_address: 192.0.2.10/24 is not an IP address; "
                "write one such as 10.0.2.10, without a prefix length"
            ),
        ),
        (
            "local_address: 192.0.2.10",
            "local_address: fe80::1%eth0",
            (
                "6: bgp.local_address: fe80::1%eth0 names an interface; write a global or a "
                "unique local address (fd00::/8)"
            ),
        ),
        (
            "neighbors: [{address: 192.0.2.4, peer_as: 65020}]",
            "neighbors: []",
            "7: bgp.neighbors: is empty; write neighbors: [{address: 10.0.1.4, peer_as: 65515}]",
        ),
        (
            "neighbors: [{address: 192.0.2.4, peer_as: 65020}]",
            "neighbors:\n    - peer_as: 65020",
            "8: bgp.neighbors[0].address: is missing; add address: 10.0.1.4",
        ),
        (
            "peer_as: 65020",
            "peer_as: 65020, holdtime: 9",
            (
                "7: bgp.neighbors[0].holdtime: there is no such key in bgp.neighbors[0]; "
                "write hold_time"
            ),
        ),
        (
            "peer_as: 65020",
            "peer_as: 65020, communities: 65010:1",
            (
                "7: bgp.neighbors[0].communities: is the text 65010:1, but must be a list; "
                "write communities: [65010:100]"
            ),
        ),
        (
            "peer_as: 65020",
            "peer_as: 65020, communities: [no-exit]",
            (
                "7: bgp.neighbors[0].communities[0]: no-exit is not a community; write 65010:100; "
                "or, large, 65010:1:2; or a name: no-export, no-advertise, no-export-subconfed, "
                "no-peer, blackhole, graceful-shutdown"
            ),
        ),
        (
            "peer_as: 65020",
            "peer_as: 65020, communities: [65536:1]",
            (
                "7: bgp.neighbors[0].communities[0]: 65536:1 is not a community of two numbers "
                "from 0 to 65535; write a large one, such as 65536:0:1"
            ),
        ),
        (
            "peer_as: 65020",
            "peer_as: 65020, communities: [65010:1, 65010:1]",
            "7: bgp.neighbors[0].communities: contains the same entry twice; write each entry once",
        ),
        (
            "peer_as: 65020",
            "peer_as: 65020, md5_file: secret",
            (
                "7: bgp.neighbors[0].md5_file: secret is not an absolute path; write the "
                "full path, beginning with /"
            ),
        ),
        (
            "peer_as: 65020",
            "peer_as: 65020, next_hop: me",
            (
                "7: bgp.neighbors[0].next_hop: me is not an IP address; "
                "write self, or an address such as 10.0.2.20"
            ),
        ),
        (
            "haproxy: {main: {socket: /run/haproxy.sock}}",
            "haproxy: {}",
            (
                "10: services.web.serve: needs HAProxy, and the profile has none; add haproxy: "
                "{main: {socket: /run/haproxy/anycastd.sock}}, or use {check: NAME}"
            ),
        ),
        (
            "/run/haproxy.sock",
            "run/haproxy.sock",
            (
                "8: haproxy.main.socket: run/haproxy.sock is not an absolute path; write the "
                "full path, beginning with /"
            ),
        ),
        (
            "/run/haproxy.sock",
            "/run/haproxy.sock, ring: a;b",
            (
                "8: haproxy.main.ring: a;b cannot be used here; "
                "write letters, digits and - _ . : only, as HAProxy does"
            ),
        ),
        (
            "/run/haproxy.sock",
            "/run/haproxy.sock, deadline: 0.2",
            "8: haproxy.main.deadline: 0.2 is less than 0.3 seconds; write a number from 0.3 to 60",
        ),
        (
            "vip: 203.0.113.10/32",
            "vip: 203.0.113.10",
            "10: services.web.vip: the prefix length is missing; write 203.0.113.10/32",
        ),
        (
            "vip: 203.0.113.10/32",
            "vip: fd00::10",
            "10: services.web.vip: the prefix length is missing; write fd00::10/128",
        ),
        (
            "vip: 203.0.113.10/32",
            "vip: web.example/32",
            (
                "10: services.web.vip: web.example/32 is not a prefix; "
                "write one such as 203.0.113.10/32"
            ),
        ),
        (
            ", failed: standby",
            "",
            "10: services.web.failed: is missing; add failed: withdraw or standby",
        ),
        (
            "serve: {backend: web}, ",
            "",
            (
                "10: services.web.serve: is missing; "
                "add serve: {all: [{backend: web, usable: 1}, {frontend: web}]}"
            ),
        ),
        (
            "backend: web",
            "backend: web, usable: 0.5",
            (
                "10: services.web.serve.usable: is 0.5, but must be a whole number or text; "
                "write a number of servers such as 1, or a share of them such as 50%"
            ),
        ),
        (
            "backend: web",
            "backend: web, usable: half",
            (
                "10: services.web.serve.usable: half cannot be used here; "
                "write a number of servers such as 1, or a share of them such as 50%"
            ),
        ),
        (
            "backend: web",
            "all: []",
            "10: services.web.serve.all: is empty; write all: [{backend: web}, {frontend: web}]",
        ),
        (
            "failed: standby",
            "failed: standby, ecmp: off",
            (
                "10: services.web.ecmp: is the text off, but must be true or false; write "
                "ecmp: true or false"
            ),
        ),
        (
            "failed: standby",
            "failed: standby, interface: a/b",
            (
                "10: services.web.interface: a/b cannot be used here; "
                "write an interface's name, 15 characters at most"
            ),
        ),
        (
            "failed: standby",
            "failed: standby, prepend: 31",
            "10: services.web.prepend: 31 is more than 30; write a number from 0 to 30",
        ),
        (
            "failed: standby",
            "failed: standby, failed: withdraw",
            "10: services.web.failed: the same key is twice in line 10; keep one of them",
        ),
    ],
)
def test_schema_problems(old: str, new: str, expected: str) -> None:
    """Each schema error prints as one line, with its place in the file and a remedy."""
    assert list_problems(replace_texts(LEAST, (old, new))) == [f"p.yaml:{expected}"]


def test_names_are_restricted() -> None:
    """Names of services and instances have only characters that are safe in messages and files."""
    assert list_problems(replace_texts(LEAST, ("  web:", "  we.b:")))[0] == (
        "p.yaml:10: services.we.b: cannot be used as a name; "
        "write letters, digits and - _ only, 63 at most"
    )


def test_nothing_warns() -> None:
    """Reading a profile causes no deprecation warning of a library."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert validate_profile(LEAST, "p.yaml").profile


@pytest.mark.parametrize(
    ("word", "expected"),
    [("holdtime", "hold_time"), ("adress", "address"), ("zzz", None), ("", None)],
)
def test_similar_names_are_suggested(word: str, expected: str | None) -> None:
    """A typing error finds the intended name; nonsense finds none."""
    assert suggest_similar(word, ["address", "peer_as", "hold_time"]) == expected
