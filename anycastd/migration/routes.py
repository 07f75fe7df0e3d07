"""A route in an ExaBGP configuration -> its prefix and attributes, and a service (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from anycastd.migration.draft import Draft, ServiceDraft, SourceError, find_own_path
from anycastd.migration.exabgp_syntax import Statement
from anycastd.system.printable import make_printable

_BRACKETS = "[](){},"
_FLAGS = frozenset({"withdraw", "atomic-aggregate", "split"})
_KEYWORDS = frozenset(
    {
        *("next-hop", "as-path", "med", "community", "large-community", "extended-community"),
        *("local-preference", "origin", "label", "rd", "route-distinguisher", "aggregator", "name"),
        *("path-information", "originator-id", "cluster-list", "aigp", "watchdog", "attribute"),
        *("bgp-prefix-sid", "nlri", "weight", "withdraw", "atomic-aggregate", "split"),
    }
)
_KEPT = frozenset(
    {"next-hop", "as-path", "med", "community", "large-community", "local-preference", "nlri"}
)
_QUIET = frozenset({"origin", "name"})
_ASDOT = re.compile(r"([0-9]{1,5})\.([0-9]{1,5})")
_SHOWN = 60


@dataclass(slots=True)
class StaticRoute:
    """A route: its prefix, and attribute -> the words of its value, without brackets."""

    line: int
    prefix: str
    values: dict[str, list[str]] = field(default_factory=dict)

    def first(self, name: str) -> str | None:
        """Return the only word of an attribute's value; None where there is none."""
        words = self.values.get(name)
        return words[0] if words else None


def iter_routes(statement: Statement) -> Iterator[StaticRoute]:
    """Yield the routes of `route P ...`, `unicast P ...`, or `attributes ... nlri P ...`."""
    words = statement.words[1:]
    for inner in statement.block or ():
        words = [*words, *inner.words]
    if statement.keyword in ("attribute", "attributes"):
        values = dict(_iter_values(words))
        for prefix in values.pop("nlri", [])[:1000]:
            yield StaticRoute(statement.line, prefix, values)
    elif words:
        yield StaticRoute(statement.line, words[0], dict(_iter_values(words[1:])))


def _iter_values(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    name, values, depth = "", list[str](), 0
    for word in words:
        if word in _BRACKETS:
            depth += (word in "[({") - (word in "])}")
        elif depth <= 0 and word in _KEYWORDS:
            if name:
                yield name, values
            name, values = word, []
        elif name:
            values.append(word)
    if name:
        yield name, values


def build_service(
    draft: Draft, route: StaticRoute, local_as: int | None, addresses: Sequence[str]
) -> ServiceDraft | None:
    """Build the service of a route; None where its prefix is no single address (with a note).

    ``addresses`` are those of the appliance: such a next hop is `self`.  Raises SourceError where a
    value cannot be read.
    """
    vip = read_prefix(route)
    if ip_network(vip).num_addresses != 1:
        draft.note(route.line, f"route {vip}: a VIP is one address, so this route is left out")
        return None
    service = ServiceDraft("web", {"vip": vip})
    hop = route.first("next-hop")
    if hop is not None and hop != "self" and hop not in addresses:
        service.keys["next_hop"] = _read_address(route, hop)
        draft.note(
            route.line,
            f"next-hop {service.keys['next_hop']} is another machine: see `next_hops` and "
            "`interface` in docs/profile.md",
        )
    path = _read_path(route)
    foreign = [number for number in path if local_as is not None and number != local_as]
    if foreign:
        text = f"as-path with AS {foreign[0]}: a path has our own AS number alone"
        draft.note(route.line, text)
    service.keys["prepend"] = find_own_path(path, local_as)
    for name, key in (("med", "med"), ("local-preference", "local_pref")):
        if (value := route.first(name)) is not None:
            service.keys[key] = _read_number(route, name, value)
    communities = route.values.get("community", []) + route.values.get("large-community", [])
    if communities:
        service.keys["communities"] = list(dict.fromkeys(communities))
    for name in route.values:
        if name not in _KEPT and name not in _QUIET:
            draft.note(route.line, f"{name}: it is not announced")
    if "as-path" in route.values and not path:
        draft.note(route.line, "as-path has no number: the shortest path is meant")
    return service


def read_prefix(route: StaticRoute) -> str:
    """Return the prefix of a route in its usual form; raises SourceError where it is none."""
    try:
        return str(ip_network(route.prefix, strict=False))
    except ValueError:
        shown = make_printable(route.prefix, _SHOWN)
        raise SourceError(route.line, f"route {shown}: no prefix") from None


def _read_address(route: StaticRoute, text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        shown = make_printable(text, _SHOWN)
        raise SourceError(route.line, f"next-hop {shown}: no address") from None


def _read_path(route: StaticRoute) -> list[int]:
    return [read_asn(route.line, word) for word in route.values.get("as-path", [])[:255]]


def read_asn(line: int, word: str) -> int:
    """Read an AS number, also as asdot (RFC 5396); raises SourceError where it is none."""
    if found := _ASDOT.fullmatch(word):
        return int(found[1]) * 65536 + int(found[2])
    if re.fullmatch(r"[0-9]{1,10}", word):
        return int(word)
    raise SourceError(line, f"{make_printable(word, _SHOWN)} is no AS number")


def _read_number(route: StaticRoute, name: str, text: str) -> int:
    if re.fullmatch(r"[0-9]{1,10}", text) and int(text) < 2**32:
        return int(text)
    shown = make_printable(text, _SHOWN)
    raise SourceError(route.line, f"{name} {shown}: no number from 0 to 4294967295")
