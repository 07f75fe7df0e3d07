"""The profile's values: defaults, overrides, descriptions, and agreement with the schema."""

from __future__ import annotations

import dataclasses
from importlib import resources
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import profile_reference
from anycastd.evidence.haproxy.conditions import describe_condition
from anycastd.profile import model, regions
from anycastd.profile.conditions import (
    AllOf,
    AnyOf,
    BackendRule,
    CheckRule,
    FailedAction,
    FrontendRule,
    LoadMetric,
    Maintenance,
    Threshold,
)
from anycastd.profile.model import Degraded, Instance, Neighbor, Platform, ReturnTimers, Standby
from anycastd.profile.route_choice import NextHop
from anycastd.profile.schema import load_schema
from anycastd.profile.validate import validate_profile
from support.broken_profiles import LEAST, replace_texts
from support.profiles import assert_schema_agrees, iter_schema_keys, profile

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted((ROOT / "profiles").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_profiles_are_sound(path: Path) -> None:
    """Each shipped profile is valid and has no warnings."""
    validation = validate_profile(path.read_text(encoding="utf-8"), path.name)
    assert validation.problems == ()
    assert validation.profile is not None


def test_the_shipped_pair_differs_where_it_must() -> None:
    """The primary withdraws and the secondary stays at standby when no backend can serve."""
    one, two = (
        validate_profile((ROOT / "profiles" / name).read_text(encoding="utf-8"), name).profile
        for name in ("primary.yaml", "secondary.yaml")
    )
    assert one
    assert two
    assert (one.region, two.region) == ("northeurope", "westeurope")
    services = one.services["web"], two.services["web"]
    assert [each.failed for each in services] == [FailedAction.WITHDRAW, FailedAction.STANDBY]
    assert [each.prepend for each in services] == [0, 2]
    assert [each.degraded.prepend for each in services] == [3, 4]
    assert [each.standby.prepend for each in services] == [6, 7]
    for each in (one, two):
        assert each.haproxy["main"].socket == "/run/haproxy/anycastd.sock"
        assert each.haproxy["main"].ring == "anycastd"


def test_defaults() -> None:
    """Values that are not written are the defaults of the schema."""
    read = validate_profile(LEAST, "p.yaml").profile
    assert read is not None
    assert (read.platform, read.networks, read.ttl) == (Platform.PLAIN, (), 5)
    assert read.bgp.hold_time == 9
    local = ip_address("192.0.2.10")
    assert read.bgp.neighbors == (
        Neighbor(ip_address("192.0.2.4"), 65020, local, 9, families=("ipv4",)),
    )
    assert read.haproxy == {"main": Instance("main", "/run/haproxy.sock", None, 3, 0.25)}
    service = read.services["web"]
    assert (service.interface, service.prepend, service.med) == ("lo", 0, None)
    assert (service.communities, service.next_hop, service.ecmp) == ((), None, False)
    assert service.serve == BackendRule("main", "web", Threshold(number=1))
    assert service.healthy is None
    assert service.degraded == Degraded(3, 5)
    assert service.standby == Standby(6, 1)
    assert service.return_timers == ReturnTimers(10, 60, 900, 35)


def test_everything_written() -> None:
    """All written values are read, including overrides of a neighbor and nested conditions."""
    text = """\
region: here
platform: plain
networks: [10.0.0.0/16, "fd00::/48"]
lease: {ttl: 2.5}
bgp:
  local_as: 65010.0
  router_id: 192.0.2.10
  local_address: 192.0.2.10
  hold_time: 30
  neighbors:
    - address: 192.0.2.4
      peer_as: 65020
      local_address: 192.0.2.11
      hold_time: 12
      multihop: 2
      md5_file: /etc/anycastd/md5
      prepend: 1
      med: 0
      communities: [65535:0, 00001:1]
      next_hop: 192.0.2.13
      families: [ipv6, ipv4]
haproxy:
  main: {socket: /run/a.sock, ring: r, deadline: 0.5, poll: 0.1}
  1: {socket: /run/b.sock}
services:
  web:
    vip: 203.0.113.10/32
    interface: dummy0
    prepend: 1
    med: 5
    communities: [65010:10]
    next_hop: 192.0.2.12
    ecmp: true
    serve:
      any:
        - all: [{haproxy: "1", backend: web, usable: 2, count_unchecked: true}]
        - {haproxy: main, frontend: web}
    healthy: {haproxy: main, backend: web, usable: 62.5%}
    degraded: {prepend: 2, fall: 0, med: 6, communities: [65010:20]}
    standby: {prepend: 4, after: 2}
    failed: withdraw
    return: {rise: 1, hold_down: 2, hold_down_max: 3, spacing: 4}
"""
    validation = validate_profile(text, "p.yaml")
    assert validation.problems == ()
    read = validation.profile
    assert read is not None
    assert read.networks == (IPv4Network("10.0.0.0/16"), IPv6Network("fd00::/48"))
    assert (read.ttl, read.bgp.local_as, type(read.bgp.local_as)) == (2.5, 65010, int)
    assert read.bgp.neighbors == (
        Neighbor(
            ip_address("192.0.2.4"),
            65020,
            ip_address("192.0.2.11"),
            12,
            2,
            "/etc/anycastd/md5",
            1,
            0,
            ("65535:0", "1:1"),
            ip_address("192.0.2.13"),
            families=("ipv4", "ipv6"),
        ),
    )
    assert read.haproxy["main"] == Instance("main", "/run/a.sock", "r", 0.5, 0.1)
    service = read.services["web"]
    assert service.vip == IPv4Network("203.0.113.10/32")
    assert (service.interface, service.prepend, service.med) == ("dummy0", 1, 5)
    assert service.communities == ("65010:10",)
    assert service.next_hop == ip_address("192.0.2.12")
    assert service.ecmp is True
    assert service.serve == AnyOf(
        (
            AllOf((BackendRule("1", "web", Threshold(number=2), count_unchecked=True),)),
            FrontendRule("main", "web"),
        )
    )
    assert service.healthy == BackendRule("main", "web", Threshold(share=62.5))
    assert service.degraded == Degraded(2, 0, 6, ("65010:20",))
    assert service.standby == Standby(4, 2)
    assert service.failed is FailedAction.WITHDRAW
    assert service.return_timers == ReturnTimers(1, 2, 3, 4)


def describe_rules(*names: str) -> list[str]:
    """Describe one rule of each kind, all of them about the last of the HAProxies ``names``."""
    at = f"haproxy: {names[-1]}, " if len(names) > 1 else ""
    more = "".join(f"  {name}: {{socket: /run/{name}.sock}}\n" for name in names[1:])
    backend, frontend = f"{{{at}backend: web, usable: 1}}", f"{{{at}frontend: web}}"
    limit = f"{{{at}backend: web, queue_below: 5}}"
    service = profile(
        ("  main: {", f"{more}  main: {{"),
        ("serve: {all: [{backend: web, usable: 1}, {frontend: web}]}", f"serve: {backend}"),
        ("{backend: web, usable: 50%}", f"{{all: [{backend}, {frontend}, {limit}]}}"),
        ("failed:", f"maintenance: {{{at}map: off.map, key: ne, then: standby}}\n    failed:"),
    ).services["web"]
    assert isinstance(service.healthy, AllOf)
    assert service.maintenance is not None
    return [describe_condition(each) for each in (*service.healthy.rules, service.maintenance)]


def test_a_description_names_its_haproxy_where_there_are_several() -> None:
    """The same backend in two HAProxies reads differently; the name of the only one is left out."""
    assert describe_rules("main") == [
        "backend web has at least 1 usable",
        "frontend web is open",
        "backend web has fewer than 5 requests queued",
        "maintenance is off (map off.map, key ne)",
    ]
    assert describe_rules("main", "blue") == [
        "backend web in HAProxy blue has at least 1 usable",
        "frontend web in HAProxy blue is open",
        "backend web in HAProxy blue has fewer than 5 requests queued",
        "maintenance is off (map off.map in HAProxy blue, key ne)",
    ]


def test_self_of_a_neighbor_is_its_local_address() -> None:
    """`next_hop: self` beside a neighbor overrides a service's next hop."""
    text = replace_texts(
        LEAST,
        ("peer_as: 65020", "peer_as: 65020, local_address: 192.0.2.11, next_hop: self"),
        ("failed:", "next_hop: 192.0.2.99, failed:"),
    )
    read = validate_profile(text, "p.yaml").profile
    assert read is not None
    assert read.bgp.neighbors[0].next_hop == ip_address("192.0.2.11")


def test_ipv6_vip() -> None:
    """An IPv6 VIP is valid with an IPv6 next hop."""
    text = replace_texts(LEAST, ("203.0.113.10/32", "2001:db8::10/128, next_hop: 2001:db8::1"))
    read = validate_profile(text, "p.yaml").profile
    assert read is not None
    assert read.services["web"].vip == IPv6Network("2001:db8::10/128")


def test_a_thousand_services() -> None:
    """A profile with a thousand services is read, and an error in the last one is found."""
    head, _, _ = LEAST.partition("  web:")
    blocks = [
        f"  s{n}:\n    vip: 100.64.{n // 256}.{n % 256}/32\n    prepend: 0\n"
        f"    serve: {{all: [{{backend: b{n}, usable: 1}}, {{frontend: f{n}}}]}}\n"
        f"    healthy: {{backend: b{n}, usable: 50%}}\n    failed: withdraw\n"
        for n in range(1000)
    ]
    read = validate_profile(head + "".join(blocks), "p.yaml").profile
    assert read is not None
    assert len(read.services) == 1000
    blocks[-1] = blocks[-1].replace("withdraw", "retire")
    assert list(map(str, validate_profile(head + "".join(blocks), "p.yaml").problems)) == [
        "p.yaml:6009: services.s999.failed: retire is not a valid value; write withdraw or standby"
    ]


# Schema and dataclasses --------------------------------------------------------------------------


def test_the_schema_is_whole() -> None:
    """Each key has type, help and an example; numbers have bounds; `anyOf` is not used."""
    schema = load_schema()
    Draft202012Validator.check_schema(schema)
    for name, raw in iter_schema_keys(schema):
        each = {**schema["$defs"]["condition"], **raw} if "$ref" in raw else raw
        assert each["description"].endswith("."), name
        assert each["examples"], name
        if each["type"] in ("integer", "number"):
            assert {"minimum", "maximum"} <= set(each), name
        if each["type"] == "object":
            assert "additionalProperties" in each, name
        if "pattern" in each:
            assert each["x-allowed"], name
    text = resources.files("anycastd.profile").joinpath("schema.json").read_text(encoding="utf-8")
    assert not any(word in text for word in ('"oneOf"', '"anyOf"', '"allOf"'))


def test_defaults_and_examples_are_valid() -> None:
    """The defaults and examples of the schema are valid."""
    schema = load_schema()
    for name, raw in iter_schema_keys(schema):
        proposals = [*raw.get("examples", ()), *([raw["default"]] if "default" in raw else ())]
        for value in proposals:
            validator = Draft202012Validator({**raw, "$defs": schema["$defs"]})
            assert list(validator.iter_errors(value)) == [], name


# Dataclass, place in the schema, keys with another name than the field, fields without a key.
PAIRS: list[tuple[type[Any], str, dict[str, str], set[str]]] = [
    (model.Profile, "", {"lease": "ttl", "control": "admin_group"}, set()),
    (model.Bgp, "bgp.", {}, set()),
    (model.DrainTimes, "drain.", {}, set()),
    (regions.RegionAgent, "region_agent:", {"name": "appliance"}, {"region", "path"}),
    (model.Hook, "hook:", {}, {"line"}),
    (regions.Web, "web.", {}, set()),
    (model.Neighbor, "neighbor:", {}, {"internal"}),
    (model.Instance, "instance:", {}, {"name"}),
    (
        model.Service,
        "service:",
        {"return": "return_timers"},
        {"name", "prepends_steer", "med_steps"},
    ),
    (NextHop, "next_hop:", {}, set()),
    (model.Degraded, "service:degraded.", {}, set()),
    (model.Standby, "service:standby.", {}, set()),
    (model.ReturnTimers, "service:return.", {}, set()),
    (Maintenance, "maintenance:", {"haproxy": "instance"}, {"show_instance"}),
]


@pytest.mark.parametrize(
    ("kind", "place", "renamed", "unwritten"), PAIRS, ids=[kind.__name__ for kind, *_ in PAIRS]
)
def test_schema_and_dataclasses_agree(
    kind: type[Any], place: str, renamed: dict[str, str], unwritten: set[str]
) -> None:
    """Keys and fields correspond, and a field's default is the default of the schema."""
    assert_schema_agrees(kind, place, renamed, unwritten)


def test_conditions_of_schema_and_dataclasses_agree() -> None:
    """The condition in the schema has the fields of all kinds of rules."""
    names = {name for name, _ in iter_schema_keys(load_schema()) if name.startswith("condition:")}
    fields = {
        each.name
        for kind in (BackendRule, FrontendRule, CheckRule)
        for each in dataclasses.fields(kind)
        if each.name not in {"instance", "show_instance", "by_weight"}
    }
    fields |= {"by", *(f"{load.value}_below" for load in LoadMetric)}
    assert names == {f"condition:{name}" for name in fields | {"haproxy", "all", "any"}}


def test_the_reference_page_is_current() -> None:
    """docs/profile.md is up to date with scripts/profile_reference.py."""
    assert (ROOT / "docs" / "profile.md").read_text(
        encoding="utf-8"
    ) == profile_reference.render_page()


def test_a_poll_that_is_not_written_follows_the_deadline() -> None:
    """Three looks fit into the deadline; the shortest one needs no `poll` in the profile."""
    short = "{socket: /run/haproxy.sock, deadline: 0.3}"
    validation = validate_profile(LEAST.replace("{socket: /run/haproxy.sock}", short), "p.yaml")
    assert validation.problems == ()
    assert validation.profile is not None
    (one,) = validation.profile.haproxy.values()
    assert one.poll == one.look_timeout == pytest.approx(0.1)
