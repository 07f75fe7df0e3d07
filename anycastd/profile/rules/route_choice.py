"""Rules for what a route has by choice: next hops, a VIP that is elsewhere, a MED by a check.

Each rule takes a Document and yields Problems.  It skips values that are missing: the Document has
no value where the schema found an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from anycastd.profile.document import Document, Problem
from anycastd.profile.formats import NEXT_HOP_SELF, NO_INTERFACE
from anycastd.profile.key_paths import Path, quote_value
from anycastd.profile.model import IPV6
from anycastd.profile.rules.sections import carries, iter_neighbors, iter_services
from anycastd.profile.schema_errors import suggest_similar

MAX_NEXT_HOPS = 16
"""Next hops of one service at most: each is a route that the speaker permits at each level."""


def check_serve(doc: Document) -> Iterator[Problem]:
    """Require `serve` or `next_hops` in each service."""
    for path, service in iter_services(doc):
        if doc.is_explicit((*path, "serve")) or doc.is_explicit((*path, "next_hops")):
            continue
        remedy = "add serve: {all: [{backend: web, usable: 1}, {frontend: web}]}"
        if "serve" not in service:
            yield doc.make_problem((*path, "serve"), "is missing", remedy)


def check_next_hops(doc: Document) -> Iterator[Problem]:
    """Require next hops that differ, of the VIP's family, and nothing that contradicts them."""
    for path, service in iter_services(doc):
        hops = service.get("next_hops")
        if hops is None:
            continue
        at: Path = (*path, "next_hops")
        if doc.is_explicit((*path, "next_hop")):
            message = "next_hop and next_hops are both there"
            yield doc.make_problem((*path, "next_hop"), message, "keep one of them")
        if len(hops) > MAX_NEXT_HOPS:
            message = f"{len(hops)} next hops, and a service takes {MAX_NEXT_HOPS}"
            yield doc.make_problem(at, message, "use fewer, or an ECMP route at the router")
        yield from _check_hop_addresses(doc, at, service.get("vip"), hops)
        own = {doc.get("bgp", "local_address")}
        own |= {neighbor.get("local_address") for _, neighbor in iter_neighbors(doc)}
        here = any((hop or {}).get("address") in own for hop in hops)
        if service.get("interface") not in (None, NO_INTERFACE) and not here:
            message = (
                f"this machine would have the VIP on {service['interface']}, though no next hop is "
                "an address of it"
            )
            remedy = "write interface: none"
            yield doc.make_problem((*path, "interface"), message, remedy, warning=True)


def _check_hop_addresses(
    doc: Document,
    at: Path,
    vip: IPv4Interface | IPv6Interface | None,
    hops: list[Mapping[str, Any] | None],
) -> Iterator[Problem]:
    seen: dict[object, Path] = {}
    versions: set[int] = set()
    for _, neighbor in iter_neighbors(doc):
        if vip is not None and carries(neighbor, f"ipv{vip.version}"):
            extended = neighbor.get("extended_next_hop") is True
            versions.add(IPV6 if extended else vip.version)
    for index, hop in enumerate(hops):
        address, place = (hop or {}).get("address"), (*at, index, "address")
        if address is None:
            continue
        if address in seen:
            message = f"{address} is already in line {doc.find_line(seen[address])}"
            yield doc.make_problem(place, message, "write each next hop once")
        elif vip is not None and address == vip.ip:
            message = f"{address} is the VIP itself"
            yield doc.make_problem(place, message, "write the machine's own address")
        elif vip is not None and any(address.version != each for each in versions):
            wanted = next(each for each in versions if address.version != each)
            message = f"{vip.ip} is IPv{vip.version}, and its next hop {address} is not"
            if wanted != vip.version:
                message = f"{address} is IPv{address.version}, with extended_next_hop"
            remedy = f"write the machine's IPv{wanted} address"
            yield doc.make_problem(place, message, remedy)
        seen.setdefault(address, place)


def check_interface(doc: Document) -> Iterator[Problem]:
    """Refuse a self-test where the VIP is not on this machine; warn of routes to this machine."""
    for path, service in iter_services(doc):
        if service.get("interface") != NO_INTERFACE:
            continue
        if "self_test" in service:
            message = (
                "would ask the VIP from a machine that does not have it: its answer says nothing "
                "of one next hop"
            )
            remedy = "remove it, and write checks of kind http or tcp of each next hop's address"
            yield doc.make_problem((*path, "self_test"), message, remedy)
        if not doc.is_explicit((*path, "next_hops")) and service.get("next_hop") == NEXT_HOP_SELF:
            message = "packets for the VIP come to this machine, which does not have it"
            remedy = "write next_hop: ADDRESS or next_hops:, or the interface that has the VIP"
            yield doc.make_problem((*path, "interface"), message, remedy, warning=True)


def check_med(doc: Document) -> Iterator[Problem]:
    """Require a check with steps for a MED by a check; warn where it has no effect."""
    for path, service in iter_services(doc):
        med = service.get("med")
        if not isinstance(med, Mapping):
            continue
        name, at = med.get("check"), (*path, "med", "check")
        checks = doc.get("checks") or {}
        if name is None:
            continue
        check = checks.get(name)
        if name not in checks:
            near = suggest_similar(name, list(checks)) or " or ".join(map(quote_value, checks))
            remedy = f"write {near}" if near else f"add checks: {{{name}: {{load: ...}}}}"
            yield doc.make_problem(at, f"there is no {quote_value(name)} under checks", remedy)
        elif check is not None and "load" not in check:
            message = f"{quote_value(name)} has no steps, so the MED would never change"
            yield doc.make_problem(at, message, "write a check of kind load")
        elif check is not None:
            yield from _check_steps(doc, path, med, check["load"])
        neighbors = [each for _, each in iter_neighbors(doc)]
        if neighbors and all("med" in each for each in neighbors):
            message = "has no effect, since each neighbor has a med of its own"
            yield doc.make_problem((*path, "med"), message, "remove one of the two", warning=True)


def _check_steps(
    doc: Document, path: Path, med: Mapping[str, Any], load: Mapping[str, Any] | None
) -> Iterator[Problem]:
    limits = [len((load or {}).get(key) or ()) for key in ("load_average", "memory_available")]
    steps, wanted = med.get("steps"), 1 + max(limits)
    if steps and load and len(steps) != wanted:
        message = f"{len(steps)} MEDs, and the check {med['check']} has {wanted} steps"
        remedy = f"write {wanted}: the first is for a load below all limits"
        yield doc.make_problem((*path, "med", "steps"), message, remedy, warning=True)
    if steps and any(step is None for step in steps):
        return
    if steps and list(steps) != sorted(steps):
        message = "a higher load has a lower MED, which attracts more traffic"
        remedy = f"write {sorted(map(int, steps))}"
        yield doc.make_problem((*path, "med", "steps"), message, remedy, warning=True)


RULES = (check_serve, check_next_hops, check_interface, check_med)
"""All rules of this file: Document -> Problems."""
