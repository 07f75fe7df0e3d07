"""An ExaBGP configuration of release 3, 4 or 5 -> a draft (pure).

Read are sessions, templates and groups, static routes, and healthchecks that run as processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from anycastd.migration.draft import (
    MAX_ITEMS,
    Draft,
    HaproxyDraft,
    NeighborDraft,
    ServiceDraft,
    SourceError,
)
from anycastd.migration.exabgp_syntax import Statement, parse_statements
from anycastd.migration.healthcheck import UNKNOWN_AS, add_healthcheck
from anycastd.migration.healthcheck_options import find_arguments, read_arguments
from anycastd.migration.routes import StaticRoute, build_service, iter_routes, read_asn, read_prefix
from anycastd.system.printable import make_printable

_AZURE_AS = 65515
_SHOWN = 60
_MAX_INHERITED = 8
_SERVE_EDIT = "its condition; a static route has none"

_READ = frozenset(
    {
        *("router-id", "local-address", "local-ip", "local-as", "peer-as", "hold-time", "inherit"),
        *("md5-password", "md5", "outgoing-ttl", "ttl-security", "family", "nexthop", "capability"),
        *("static", "announce", "process", "api", "neighbor", "description"),
    }
)
_QUIET = frozenset(
    {
        *("auto-flush", "group-updates", "adj-rib-in", "adj-rib-out", "rate-limit", "manual-eor"),
        *("host-name", "domain-name", "host", "domain", "md5-base64", "peer-updates", "listen"),
    }
)
_NOTES: Mapping[str, str] = {
    "passive": "the appliance always dials; the neighbor must listen",
    "connect": "sessions use TCP port 179",
    "incoming-ttl": "the TTL of packets from the neighbor is not checked",
    "md5-ip": "the key is that of the neighbor's address",
    "source-interface": "sessions are bound to their local address alone",
    "multi-session": "it is not offered",
    "operational": "it is not offered",
    "flow": "flow routes are not announced",
    "l2vpn": "routes of VPNs are not announced",
    "vpls": "routes of VPNs are not announced",
}
_CAPABILITIES: Mapping[str, str] = {
    "graceful-restart": "it is never offered: a stale route of an anycast VIP is a black hole",
    "add-path": "ADD-PATH is not offered: a neighbor gets one route for each VIP",
    "multi-session": "it is not offered",
    "operational": "it is not offered",
    "extended-message": "it is not needed",
}


@dataclass(slots=True)
class _Neighbor:
    """A neighbor as the file has it: its settings (the last one counts), and its blocks."""

    line: int
    address: str
    settings: dict[str, Statement] = field(default_factory=dict)
    blocks: list[Statement] = field(default_factory=list)

    def first(self, *names: str) -> tuple[int, str] | None:
        """Return line and first word of a setting; None where it has none of these names."""
        for name in names:
            found = self.settings.get(name)
            if found is not None and len(found.words) > 1:
                return found.line, found.words[1]
        return None


def draft_exabgp_conf(text: str) -> Draft:
    """Build a draft from the text of a configuration.

    Raises SourceError where it is none, or a value in it cannot be read.
    """
    draft = Draft()
    found = _find_neighbors(draft, parse_statements(text))
    if not found.neighbors and not found.processes:
        raise SourceError(0, "it has no neighbor, and no process that runs healthcheck")
    for neighbor in found.neighbors:
        _add_neighbor(draft, neighbor)
    if draft.neighbors and all(each.peer_as == _AZURE_AS for each in draft.neighbors):
        draft.platform = "azure"
    _add_routes(draft, found.neighbors)
    for process in found.processes:
        _add_process(draft, process)
    if any("check" not in str(each.keys["serve"]) for each in draft.services):
        draft.haproxy = HaproxyDraft()
    return draft


# Blocks ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    neighbors: list[_Neighbor] = field(default_factory=list)
    processes: list[Statement] = field(default_factory=list)
    templates: dict[str, Statement] = field(default_factory=dict)


def _find_neighbors(draft: Draft, statements: list[Statement]) -> _File:
    found = _File()
    for each in statements:
        if each.keyword == "template":
            inner = [one for one in each.block or () if one.keyword == "neighbor"]
            named = inner if len(each.words) == 1 else [each]
            found.templates |= {one.words[1]: one for one in named if len(one.words) > 1}
    for each in statements:
        _read_top(draft, found, each)
    return found


def _read_top(draft: Draft, found: _File, each: Statement) -> None:
    if each.keyword == "neighbor":
        _read_neighbor(draft, found, each, [])
    elif each.keyword == "group":  # of release 3: its settings are those of its neighbors
        inner = each.block or []
        shared = [one for one in inner if one.keyword != "neighbor"]
        for one in inner:
            if one.keyword == "neighbor":
                _read_neighbor(draft, found, one, shared)
    elif each.keyword == "process":
        found.processes.append(each)
    elif each.keyword != "template":
        shown = make_printable(" ".join(each.words[:2]), _SHOWN)
        hint = ""
        if each.block is not None and any("neighbor" in word for word in each.words):
            hint = "; if `neighbor` is meant, correct it and import again"
        draft.note(each.line, f"{shown or 'a block without a name'}: not known, left out{hint}")


def _read_neighbor(
    draft: Draft, found: _File, statement: Statement, shared: list[Statement]
) -> None:
    if len(statement.words) < 2:  # noqa: PLR2004 - the word and its address
        raise SourceError(statement.line, "neighbor lacks its address")
    if len(found.neighbors) >= MAX_ITEMS:
        raise SourceError(statement.line, f"more than {MAX_ITEMS} neighbors")
    neighbor = _Neighbor(statement.line, statement.words[1])
    _collect(draft, found, neighbor, [*shared, *(statement.block or ())], 0)
    found.neighbors.append(neighbor)


def _collect(
    draft: Draft, found: _File, neighbor: _Neighbor, statements: list[Statement], depth: int
) -> None:
    """Collect settings and blocks; those of templates come first, since its own replace them."""
    if depth > _MAX_INHERITED:
        raise SourceError(neighbor.line, f"templates inherit deeper than {_MAX_INHERITED}")
    for each in statements:
        for name in each.words[1:] if each.keyword == "inherit" else ():
            template = found.templates.get(name)
            if template is not None:
                _collect(draft, found, neighbor, template.block or [], depth + 1)
            elif name not in "[]":
                shown = make_printable(name, _SHOWN)
                raise SourceError(each.line, f"there is no template {shown} to inherit")
    for each in statements:
        if each.keyword == "process" and each.block is not None:
            found.processes.append(each)
        elif each.block is not None:
            neighbor.blocks.append(each)
        else:
            neighbor.settings[each.keyword] = each
        if len(neighbor.blocks) > MAX_ITEMS:
            raise SourceError(each.line, f"more than {MAX_ITEMS} blocks in one neighbor")
        if each.keyword in _NOTES and each.words[1:] != ["false"]:
            draft.note(each.line, f"{each.keyword}: {_NOTES[each.keyword]}")
        elif each.keyword not in _READ | _QUIET:
            shown = make_printable(each.keyword, _SHOWN)
            draft.note(each.line, f"{shown}: not known, left out")


# Sessions ----------------------------------------------------------------------------------------


def _add_neighbor(draft: Draft, neighbor: _Neighbor) -> None:
    address = _read_address(neighbor.line, neighbor.address)
    if address is None:
        shown = make_printable(neighbor.address, _SHOWN)
        text = f"neighbor {shown}: not one address; it is left out"
        draft.note(neighbor.line, text)
        return
    peer_as = _read_asn(neighbor, "peer-as")
    edit = "" if peer_as is not None else "its AS number"
    found = NeighborDraft(address, peer_as or UNKNOWN_AS, edit=edit)
    _add_shared(draft, neighbor, found)
    for each in neighbor.blocks:
        _read_block(draft, found, each)
    if neighbor.first("md5-password", "md5") is not None:
        found.keys["md5_file"] = f"/etc/anycastd/secrets/md5-{address.replace(':', '-')}"
        found.edit = "write the password into this file; it is not copied"
    ttl = neighbor.first("outgoing-ttl", "ttl-security")
    if ttl is not None:
        if not re.fullmatch(r"[0-9]{1,3}", ttl[1]):
            raise SourceError(ttl[0], f"{make_printable(ttl[1], _SHOWN)} is no TTL")
        found.keys["multihop"] = int(ttl[1])
    draft.neighbors.append(found)


def _add_shared(draft: Draft, neighbor: _Neighbor, found: NeighborDraft) -> None:
    """Take what a profile has once for all neighbors from the first, and what differs here."""
    local_as = _read_asn(neighbor, "local-as")
    if draft.local_as is None:
        draft.local_as = local_as
    elif local_as not in (None, draft.local_as):
        text = f"local-as {local_as}: all neighbors see AS {draft.local_as}"
        draft.note(neighbor.settings["local-as"].line, text)
    router_id = neighbor.first("router-id")
    if router_id is not None and draft.router_id is None:
        draft.router_id = _read_address(*router_id)
    local = neighbor.first("local-address", "local-ip")
    address = _read_address(*local) if local is not None else None
    if draft.local_address is None:
        draft.local_address = address
    elif address not in (None, draft.local_address):
        found.keys["local_address"] = str(address)
    hold_time = neighbor.first("hold-time")
    if hold_time is None:
        return
    if not re.fullmatch(r"[0-9]{1,5}", hold_time[1]):
        raise SourceError(hold_time[0], f"hold-time {make_printable(hold_time[1], _SHOWN)}")
    seconds = int(hold_time[1])
    if draft.hold_time is None:
        draft.hold_time = seconds
    elif seconds != draft.hold_time:
        found.keys["hold_time"] = seconds


def _read_block(draft: Draft, found: NeighborDraft, block: Statement) -> None:
    inner = block.block or []
    if block.keyword == "family":
        names = [" ".join(each.words).lower() for each in inner]
        families = [name[:4] for name in names if name in ("ipv4 unicast", "ipv6 unicast")]
        if families:
            found.keys["families"] = list(dict.fromkeys(families))
        for each, name in zip(inner, names, strict=True):
            if name not in ("ipv4 unicast", "ipv6 unicast"):
                shown = make_printable(name, _SHOWN)
                draft.note(each.line, f"family {shown}: only IPv4 and IPv6 unicast are announced")
    elif block.keyword == "nexthop":
        if any(each.words == ["ipv4", "unicast", "ipv6"] for each in inner):
            found.keys["extended_next_hop"] = True
    elif block.keyword == "capability":
        for each in inner:
            off = each.words[1:] in (["disable"], ["disabled"], ["false"])
            if each.keyword in _CAPABILITIES and not off:
                draft.note(each.line, f"{each.keyword}: {_CAPABILITIES[each.keyword]}")


def _read_address(line: int, text: str) -> str | None:
    """Read an address; None for `auto` and for a range; raises SourceError for anything else."""
    if text == "auto" or "/" in text:
        return None
    try:
        return str(ip_address(text))
    except ValueError:
        raise SourceError(line, f"{make_printable(text, _SHOWN)} is no address") from None


def _read_asn(neighbor: _Neighbor, name: str) -> int | None:
    found = neighbor.first(name)
    return None if found is None or found[1] == "auto" else read_asn(*found)


# Routes ------------------------------------------------------------------------------------------


def _add_routes(draft: Draft, neighbors: list[_Neighbor]) -> None:
    """Add a service for each VIP; what another neighbor gets in another way becomes a note."""
    locals_ = [draft.local_address or ""]
    locals_ += [
        str(each.keys["local_address"]) for each in draft.neighbors if "local_address" in each.keys
    ]
    first: dict[str, dict[str, object]] = {}
    told: dict[str, int] = {}
    for neighbor in neighbors:
        for route in _iter_static(neighbor):
            prefix = read_prefix(route)
            told[prefix] = told.get(prefix, 0) + 1
            service = build_service(draft, route, draft.local_as, locals_)
            if service is None:
                continue
            if prefix not in first:
                first[prefix] = dict(service.keys)
                _complete(service)
                draft.add_service(route.line, service)
            elif first[prefix] != service.keys:
                draft.note(
                    route.line,
                    f"route {prefix}: neighbor {make_printable(neighbor.address, _SHOWN)} gets it "
                    "with other attributes; see `prepend`, `med` and `communities` of a neighbor",
                )
    for prefix in first:
        if told[prefix] < len(neighbors):
            draft.note(0, f"route {prefix}: only some neighbors get it; here every one does")


def _complete(service: ServiceDraft) -> None:
    """Add what a static route does not say: its condition, and the levels that lose against it."""
    prepend = int(str(service.keys["prepend"]))
    service.keys["serve"] = {"backend": "web"}
    service.edits["serve"] = _SERVE_EDIT
    if prepend >= 6:  # noqa: PLR2004 - the default of standby.prepend
        service.keys["standby"] = {"prepend": prepend + 3}
    service.keys["failed"] = "withdraw"


def _iter_static(neighbor: _Neighbor) -> Iterator[StaticRoute]:
    for block in neighbor.blocks:
        if block.keyword not in ("static", "announce"):
            continue
        for each in block.block or ():
            if block.keyword == "announce":
                for one in each.block or ():
                    if one.keyword == "unicast":
                        yield from iter_routes(one)
            elif each.keyword in ("route", "attribute", "attributes"):
                yield from iter_routes(each)


# Processes ---------------------------------------------------------------------------------------


def _add_process(draft: Draft, process: Statement) -> None:
    for each in process.block or ():
        if each.keyword != "run":
            continue
        arguments = find_arguments(each.words[1:])
        if arguments is None:
            shown = make_printable(" ".join(each.words[1:]), _SHOWN)
            draft.note(
                each.line,
                f"process {shown}: what it announces is not known here; its condition may be a "
                "check of the kind `command`",
            )
        else:
            add_healthcheck(draft, read_arguments(each.line, arguments))
