"""ExaBGP configurations of others: each becomes a profile that passes, apart from marked lines."""

from __future__ import annotations

import re

import pytest

from anycastd.migration.draft import SourceError
from anycastd.migration.exabgp_conf import draft_exabgp_conf
from anycastd.migration.write import write_profile
from anycastd.profile.model import Profile
from anycastd.profile.validate import validate_profile

# One appliance behind a route server, both instances: the usual form of a write-up.
TWO = """\
neighbor 172.16.159.4 {{
	router-id 172.16.156.70;
	local-address 172.16.156.70;
	local-as 65010;
	peer-as 65515;
	static {{
	route 203.0.113.9/32 next-hop 172.16.156.70 as-path{path};
	}}
}}
neighbor 172.16.159.5 {{
	router-id 172.16.156.70;
	local-address 172.16.156.70;
	local-as 65010;
	peer-as 65515;
	static {{
	route 203.0.113.9/32 next-hop 172.16.156.70{other};
	}}
}}
"""
RICH = """\
# release 4, with a template
template {
    neighbor tor {
        router-id 10.0.0.7; local-as 65001; local-address 10.0.0.7;
        hold-time 30;
        capability { graceful-restart 120; route-refresh enable; }
        family { ipv4 unicast; ipv6 unicast; ipv4 flow; }
    }
}
neighbor 10.0.0.1 {
    inherit tor;
    peer-as 64512;
    md5-password "a \\ secret";
    outgoing-ttl 255;
    passive;
    announce {
        ipv4 { unicast 203.0.113.10/32 next-hop self med 50 community [ 65001:100 no-export ]
                       large-community [ 65001:1:2 ]; }
        ipv6 { unicast 2001:db8::10/128 next-hop 2001:db8:2::7; }
    }
}
neighbor 10.0.0.2 {
    inherit tor;
    peer-as 64512;
    hold-time 60;
    api { processes [ watch ]; }
    static {
        route 203.0.113.10/32 { next-hop self; med 70; }
        route 198.51.100.0/24 next-hop self;
    }
}
process watch {
    run python3 -m exabgp healthcheck --cmd "curl -sf http://127.0.0.1/" --ip 203.0.113.20/32;
    encoder text;
}
process custom { run /etc/exabgp/own.py; }
"""
OLD = """\
group everything {
    router-id 10.0.0.7;
    local-address 10.0.0.7;
    local-as 1.10;
    peer-as 64512;
    static {
        route 203.0.113.10/32 next-hop 10.0.0.7
            as-path [ 65546 65546 65546 65546 65546 65546 65546 ];
    }
    neighbor 10.0.0.1 { description "first"; }
    neighbor 10.0.0.2 { peer-as 64513; }
}
"""


def convert(text: str) -> tuple[str, Profile | None]:
    """Return the text of a profile, and the Profile; assert that only marked lines are refused."""
    written = write_profile(draft_exabgp_conf(text), "exabgp-conf", "a.conf")
    validation = validate_profile(written, "p.yaml")
    lines = written.splitlines()
    for problem in validation.problems:
        assert problem.warning or "# EDIT" in lines[problem.line - 1], problem
    return written, validation.profile


def notes(written: str) -> str:
    """Return the notes at the top, in one line."""
    return " ".join(line[1:].strip() for line in written.splitlines() if line.startswith("#"))


@pytest.mark.parametrize(
    ("path", "other", "prepend"),
    [
        ("", "", 0),
        (" [ 65010 65010 65010 ]", " as-path [ 65010 65010 65010 ]", 2),
        (" [ 65010, 65010 ]", " as-path [ 65010 65010 ]", 1),
        (" 65010", " as-path 65010", 0),
    ],
    ids=["no path", "prepended", "commas", "one number"],
)
def test_a_route_server_with_both_instances(path: str, other: str, prepend: int) -> None:
    """It is a whole profile but for the name of the region and the condition."""
    written, profile = convert(TWO.format(path=path, other=other))
    assert profile is not None
    assert profile.platform.value == "azure"
    assert [str(each.address) for each in profile.bgp.neighbors] == ["172.16.159.4", "172.16.159.5"]
    (service,) = profile.services.values()
    assert (service.prefix, service.prepend, service.next_hop) == ("203.0.113.9/32", prepend, None)
    marked = [line.split(":")[0].strip() for line in written.splitlines() if "# EDIT:" in line]
    assert marked == ["region", "socket", "serve"]


def test_a_slip_of_the_write_up_is_named() -> None:
    """One began with the letter that opens an editor: the neighbor is left out, with its line."""
    written, profile = convert("v" + TWO.format(path="", other=""))
    assert profile is None, "one instance of two"
    assert "a.conf:1: vneighbor 172.16.159.4: not known, left out; if `neighbor` is meant" in notes(
        written
    )
    assert "neighbors:  # EDIT: see above" in written


def test_a_line_of_a_shell_in_front_is_named() -> None:
    """Whoever copies it from a page may copy the command before it, too."""
    written, _ = convert("vi conf.ini\n" + TWO.format(path="", other=""))
    assert "a.conf:1: vi conf.ini: not known, left out; if `neighbor` is meant" in notes(written)


def test_release_4_with_a_template() -> None:
    """Sessions, both kinds of announcement, a healthcheck as a process; the rest becomes notes."""
    written, profile = convert(RICH)
    assert profile is not None, written
    first, second = profile.bgp.neighbors
    assert (profile.bgp.local_as, profile.bgp.hold_time, second.hold_time) == (65001, 30, 60)
    assert (first.multihop, first.md5_file) == (255, "/etc/anycastd/secrets/md5-10.0.0.1")
    assert first.families == ("ipv4", "ipv6")
    assert "secret" not in written.replace("/secrets/", "")
    web, web6, app = profile.services.values()
    assert (web.prefix, web.med) == ("203.0.113.10/32", 50)
    assert web.communities == ("65001:100", "65535:65281", "65001:1:2")
    assert (web6.prefix, str(web6.next_hop)) == ("2001:db8::10/128", "2001:db8:2::7")
    assert app.prefix == "203.0.113.20/32"
    assert list(profile.checks) == ["app"]
    told = notes(written)
    for words in (
        "a.conf:6: graceful-restart: it is never offered",
        "a.conf:7: family ipv4 flow: only IPv4 and IPv6 unicast",
        "passive: the appliance always dials",
        "a.conf:28: route 203.0.113.10/32: neighbor 10.0.0.2 gets it with other attributes",
        "a.conf:29: route 198.51.100.0/24: a VIP is one address",
        "route 2001:db8::10/128: only some neighbors get it",
        "process /etc/exabgp/own.py: what it announces is not known here",
    ):
        assert words in told, words


def test_release_3_with_a_group() -> None:
    """Its settings are those of its neighbors; asdot is read; a long path has a longer standby."""
    _, profile = convert(OLD)
    assert profile is not None
    assert profile.bgp.local_as == 65546
    assert [each.peer_as for each in profile.bgp.neighbors] == [64512, 64513]
    (service,) = profile.services.values()
    assert (service.prepend, service.standby.prepend) == (6, 9)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 0, "no neighbor"),
        ("neighbor 10.0.0.1 {", 1, "not closed"),
        ("}\n", 1, "without its {"),
        ("neighbor {\n}", 1, "lacks its address"),
        ("neighbor 10.0.0.300 { }", 1, "10.0.0.300 is no address"),
        ("\nneighbor 10.0.0.1 { peer-as many; }", 2, "many is no AS number"),
        ("neighbor 10.0.0.1 {\n inherit other;\n}", 2, "no template other"),
        ("neighbor 10.0.0.1 { hold-time soon; }", 1, "hold-time soon"),
        ("neighbor 10.0.0.1 {\n static { route x next-hop self; } }", 2, "route x: no prefix"),
        ('neighbor 10.0.0.1 { description "open;\n}', 1, "quote in column"),
        ("a\x00b", 1, "control character"),
        ("\x7fELF\x02\x01\x01\x00", 1, "control character"),
        ("a {" * 100_000, 1, "nested deeper"),
        ("template a { inherit a; }\nneighbor 10.0.0.1 { inherit a; }", 2, "inherit deeper"),
        (
            "neighbor 10.0.0.1 { static { " + "route 10.9.0.1 med x;" * 9 + "} }",
            1,
            "med x: no numb",
        ),
        ("process a { run exabgp healthcheck --nothing; }", 1, "--nothing is no option"),
    ],
)
def test_what_is_no_configuration_has_one_message(text: str, line: int, words: str) -> None:
    """With its line."""
    with pytest.raises(SourceError) as caught:
        draft_exabgp_conf(text)
    assert caught.value.line == line
    assert words in caught.value.message
    assert re.fullmatch(r"[ -~]{1,200}", caught.value.message)


def test_many_routes() -> None:
    """A large file is read quickly, and too many services are refused."""
    routes = "".join(f"route 10.{n // 256}.{n % 256}.1/32 next-hop self;" for n in range(1001))
    with pytest.raises(SourceError, match="more than 1000 services"):
        draft_exabgp_conf(f"neighbor 10.0.0.1 {{ peer-as 65001; static {{ {routes} }} }}")
