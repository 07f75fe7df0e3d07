"""How many routes each platform takes, and how large a profile may be."""

from __future__ import annotations

import time

import pytest

from anycastd.profile.document import MAX_PROBLEMS, MAX_SIZE
from anycastd.profile.rules.limits import MAX_ROUTES, ROUTE_LIMITS
from anycastd.profile.validate import Validation, validate_profile
from support.broken_profiles import LEAST, replace_texts

HEAD = LEAST.partition("  web:")[0]
SERVICE = "  w{n}: {{vip: 203.{a}.{b}.10/32, serve: {{backend: web}}, failed: standby}}\n"


def build_services(count: int) -> str:
    """Write as many valid services, each with its own VIP."""
    return "".join(SERVICE.format(n=n, a=n >> 8, b=n & 255) for n in range(count))


def build_neighbors(count: int) -> str:
    """Write as many valid neighbors."""
    each = (f"{{address: 10.9.{n >> 8}.{n & 255}, peer_as: 65020}}" for n in range(count))
    return f"neighbors: [{', '.join(each)}]"


def validate_with(platform: str, services: int, neighbors: int = 1) -> Validation:
    """Validate a profile with so many services and neighbors."""
    text = replace_texts(
        HEAD,
        ("platform: plain", f"platform: {platform}"),
        ("neighbors: [{address: 192.0.2.4, peer_as: 65020}]", build_neighbors(neighbors)),
        *([("65020", "65515"), ("65020", "65515")] if platform == "azure" else []),
    )
    return validate_profile(text + build_services(services), "p.yaml")


# FC-QUOTA (Amazon VPC quotas)
def test_vpc_route_server_takes_a_hundred_routes() -> None:
    """100 VIPs are taken on AWS, the 101st is refused in words."""
    assert validate_with("aws", 100, 2).problems == ()
    found = validate_with("aws", 101, 2)
    assert found.profile is None
    assert [str(problem) for problem in found.problems] == [
        (
            "p.yaml:9: services: 101 VIPs are 101 routes, and VPC Route Server closes a session "
            "with more than 100; its own table has 100 routes too, of all appliances together; put "
            "several ports behind one VIP, or use a second route server and appliance"
        )
    ]


# azure-docs pull request 127613 and issue 102012: what is announced again counts twice
def test_azure_route_server_takes_half_of_four_thousand() -> None:
    """Up to 1000 VIPs nothing is said on Azure, then a warning, and above 2000 an error."""
    assert validate_with("azure", 1000, 2).problems == ()
    found = validate_with("azure", 1001, 2)
    assert found.profile is not None
    assert "ExpressRoute takes 1000" in str(found.problems)
    assert validate_with("azure", 2000, 2).profile is not None
    found = validate_with("azure", 2001, 2)
    assert found.profile is None
    (problem,) = found.problems
    assert str(problem).startswith(
        "p.yaml:9: services: 2001 VIPs are 2001 routes, and Azure Route Server closes a session "
        "with more than 4000; when all are announced again, as after its route refresh, it counts "
        "each twice; "
    )


def test_other_networks_have_no_limit_that_we_know() -> None:
    """Each platform in the table is a cloud; elsewhere the routes' own limit is left."""
    assert set(ROUTE_LIMITS) == {"azure", "aws"}
    assert validate_with("plain", 4500).problems == ()


def test_more_routes_than_a_message_can_carry() -> None:
    """Services times neighbors are at most MAX_ROUTES."""
    assert validate_with("plain", 1000, MAX_ROUTES // 1000).profile is not None
    found = validate_with("plain", 1000, MAX_ROUTES // 1000 + 1)
    assert found.profile is None
    (problem,) = found.problems
    assert str(problem) == (
        "p.yaml:9: services: 1000 services for 21 neighbors are 21000 routes, and 20000 can be "
        "announced; use fewer VIPs or fewer neighbors"
    )


# Attack L4 of the security review: texts of at most 1 MiB that took seconds to minutes.
SLOW = {
    "items that cannot be sorted": LEAST
    + f"networks: [{', '.join(f'{{a: {n}}}' for n in range(20_000))}]\n",
    "unknown keys": LEAST + "".join(f"k{n}: 1\n" for n in range(80_000)),
    "bad texts": LEAST + f"networks: [{', '.join(f'x{n}' for n in range(40_000))}]\n",
    "empty services": HEAD + "".join(f"  w{n}: {{}}\n" for n in range(40_000)),
    "the same key": LEAST + "a: 1\n" * 100_000,
    "routes": replace_texts(
        HEAD, ("neighbors: [{address: 192.0.2.4, peer_as: 65020}]", build_neighbors(8000))
    )
    + build_services(5000),
    "networks": replace_texts(HEAD, ("plain", "azure"))
    + build_services(5000)
    + f"networks: [{', '.join(f'10.{n >> 8}.{n & 255}.0/24' for n in range(20_000))}]\n",
}


@pytest.mark.parametrize("name", SLOW)
def test_no_text_of_one_mebibyte_is_slow(name: str) -> None:
    """It is refused with at most a hundred problems and one line for the rest, in some seconds."""
    text = SLOW[name]
    assert len(text) <= MAX_SIZE
    began = time.process_time()
    found = validate_profile(text, "p.yaml")
    assert time.process_time() - began < 10
    assert found.profile is None
    assert 0 < len(found.problems) <= MAX_PROBLEMS + 1
    if name not in {"routes", "networks"}:
        assert "there are more than these 100 problems" in str(found.problems[0])


def test_errors_are_shown_before_warnings() -> None:
    """What makes a profile unusable is never hidden behind a hundred warnings."""
    many = build_services(150).replace("standby}", "standby, degraded: {prepend: 9}}")
    bad = HEAD + many + "  x: {vip: 203.0.113.0/24, serve: {backend: web}, failed: standby}\n"
    found = validate_profile(bad, "p.yaml")
    assert found.profile is None
    assert len(found.problems) == MAX_PROBLEMS + 1
    assert [problem.key for problem in found.problems if not problem.warning][-1] == (
        "services.x.vip"
    )


def test_a_longer_file_is_not_read() -> None:
    """A file of more than 1 MiB is refused as a whole."""
    (problem,) = validate_profile(LEAST + "#" * MAX_SIZE, "p.yaml").problems
    assert str(problem) == (
        "p.yaml:1: profile: the file has more than 1 MiB, which no profile needs; see that it is "
        "the right file; profiles/primary.yaml is a profile"
    )


# Attack L5 of the security review
@pytest.mark.parametrize("odd", ["\ufeff", "\u202e", "\u200b", "\u2066", "\u00ad", "\ue000"])
def test_no_message_has_characters_that_are_not_printed(odd: str) -> None:
    """A name with a mark of direction or of no width is shown with its number."""
    for text in (
        HEAD + f'  "{odd}web": 5\n',
        LEAST.replace("failed: standby", f'"{odd}failed": standby'),
        LEAST.replace("region: here", f'region: "{odd}here"'),
        LEAST.replace("{backend: web}", f'{{backend: "{odd}web"}}'),
        LEAST.replace("/run/haproxy.sock", f'"/run/{odd}x"'),
        LEAST + f'"{odd}a": 1\n"{odd}a": 2\n',
        LEAST + f'a: &"{odd}" 1\n',
    ):
        found = validate_profile(text, f"{odd}.yaml").problems
        assert found
        for problem in found:
            assert str(problem).isprintable(), ascii(str(problem))
