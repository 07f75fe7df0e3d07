"""Rules for the BGP part of a profile, each with its reason.

Each looks at a Document and passes over what is missing from it: what the schema found wrong has
been cut out.  What is said of Azure comes from its Route Server FAQ, of AWS from the VPC Route
Server guide.
"""

from __future__ import annotations

from collections.abc import Iterator

from anycastd.profile.document import Document, Problem
from anycastd.profile.formats import SELF
from anycastd.profile.model import Address
from anycastd.profile.rules.sections import (
    AWS,
    AZURE,
    AZURE_ROUTE_SERVER,
    CLOUDS,
    IPV6,
    get_platform,
    iter_neighbors,
    iter_services,
)
from anycastd.profile.yaml_reader import Path

# RFC 6793 (AS_TRANS), RFC 7300 (the last ones).  0 (RFC 7607) is below the schema's minimum.
_NOBODYS = (23456, 65535, 4294967295)
_AZURES = (
    (8074, 8075, "Microsoft's own"),
    (12076, 12076, "ExpressRoute's"),
    (65515, 65515, "the route server's own"),
    (65517, 65520, "reserved by Azure"),
    (64496, 64511, "for documentation only, and Azure refuses it"),
    (65536, 65551, "for documentation only, and Azure refuses it"),
)
_LAST_OF_16_BITS = 65535
_PRIVATE = "write a private one such as 65010"
# RFC 4271 section 4.2 has 0 or at least three seconds; 0 would switch the detection off.
_LEAST_HOLD_TIME = 3
_LONG_HOLD_TIME = 30
# Azure marks with these what came from where, and drops routes by them.
_AZURES_COMMUNITIES = ("65517:65517", "65515:10000", "65515:20000")
_AZURES_BLOCK = "65518:"
_NO_ADVERTISE = "65535:65282"
_PAIR = 2


def check_local_as(doc: Document) -> Iterator[Problem]:
    """Refuse a local AS that is nobody's, or that Azure Route Server refuses."""
    at: Path = ("bgp", "local_as")
    asn = doc.get(*at)
    if asn is None:
        return
    if asn in _NOBODYS:
        yield doc.problem(at, f"AS {asn} is reserved and nobody's", _PRIVATE)
    elif get_platform(doc) == AZURE:
        for first, last, whose in _AZURES:
            if first <= asn <= last:
                yield doc.problem(at, f"AS {asn} is {whose}", _PRIVATE)
                return
        if asn > _LAST_OF_16_BITS:
            message = f"AS {asn} has more than 16 bits, which Azure Route Server refuses"
            yield doc.problem(at, message, _PRIVATE)


def check_bfd(doc: Document) -> Iterator[Problem]:
    """Refuse BFD where the route server has none: its silence would mean nothing."""
    at: Path = ("bgp", "bfd")
    if doc.get(*at) is not None and get_platform(doc) == AZURE:
        yield doc.problem(at, "Azure Route Server does not speak BFD", "remove it")


def check_peer_as(doc: Document) -> Iterator[Problem]:
    """Ask for a peer AS that can be, and for eBGP: prepends would not steer inside one AS."""
    local = doc.get("bgp", "local_as")
    for path, neighbor in iter_neighbors(doc):
        at = (*path, "peer_as")
        asn = neighbor.get("peer_as")
        if asn is None:
            continue
        if get_platform(doc) == AZURE:
            if asn != AZURE_ROUTE_SERVER:
                message = f"AS {asn} cannot be Azure Route Server's, which is always 65515"
                yield doc.problem(at, message, "write 65515")
        elif asn in _NOBODYS:
            remedy = "write the AS number that the neighbor really has"
            yield doc.problem(at, f"AS {asn} is reserved and nobody's", remedy)
        elif asn == local:
            message = f"AS {asn} is local_as too, and only eBGP is spoken"
            yield doc.problem(at, message, "write the neighbor's own AS number")


def check_router_id(doc: Document) -> Iterator[Problem]:
    """Refuse 0.0.0.0 (RFC 6286 section 2.1)."""
    at: Path = ("bgp", "router_id")
    identifier = doc.get(*at)
    if identifier is not None and identifier.is_unspecified:
        remedy = "write this appliance's own IPv4 address"
        yield doc.problem(at, "0.0.0.0 identifies nobody", remedy)


def check_addresses(doc: Document) -> Iterator[Problem]:
    """Refuse addresses that no host can have; a next hop like that would lose the traffic."""
    paths: list[Path] = [("bgp", "local_address")]
    for path, _ in iter_neighbors(doc):
        paths += [(*path, key) for key in ("address", "local_address", "next_hop")]
    paths += [(*path, "next_hop") for path, _ in iter_services(doc)]
    for at in paths:
        address = doc.get(*at)
        if address in (None, SELF):
            continue
        if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
            message = f"{address} is not the address of one host"
            yield doc.problem(at, message, "write a unicast address such as 10.0.2.10")


def check_duplicate_neighbors(doc: Document) -> Iterator[Problem]:
    """Refuse a neighbor that is there twice: ExaBGP would run two sessions to one address."""
    seen: dict[Address, Path] = {}
    for path, neighbor in iter_neighbors(doc):
        at = (*path, "address")
        address = neighbor.get("address")
        if address is None:
            continue
        if address in seen:
            message = f"{address} is a neighbor already, in line {doc.line(seen[address])}"
            yield doc.problem(at, message, "keep one of them")
        seen.setdefault(address, at)


def check_address_families(doc: Document) -> Iterator[Problem]:
    """Refuse a session from an address to itself or to the other IP family."""
    for path, neighbor in iter_neighbors(doc):
        at = (*path, "address")
        address = neighbor.get("address")
        local = neighbor.get("local_address", doc.get("bgp", "local_address"))
        if address is None:
            continue
        if address == local:
            message = f"{address} is also the local address"
            yield doc.problem(at, message, "write the neighbor's own address")
        elif address.version == IPV6 and get_platform(doc) == AZURE:
            message = f"{address} is IPv6, which Azure Route Server does not speak"
            yield doc.problem(at, message, "write its IPv4 address")
        elif local is not None and address.version != local.version:
            message = f"{address} cannot be reached from {local}, of the other IP family"
            remedy = f"add local_address: with an IPv{address.version} address to this neighbor"
            yield doc.problem(at, message, remedy)


def check_route_server_pair(doc: Document) -> Iterator[Problem]:
    """Expect both instances of a route server.

    Azure does not support a NVA that peers with one of them; AWS recommends two endpoints.
    """
    at: Path = ("bgp", "neighbors")
    count = len(doc.get(*at) or ())
    if not 0 < count < _PAIR:
        return
    if get_platform(doc) == AZURE:
        message = "there is one neighbor, and Azure Route Server needs both of its instances peered"
        yield doc.problem(at, message, "add the other instance's address, also with peer_as: 65515")
    elif get_platform(doc) == AWS:
        message = "there is one neighbor, so one route server endpoint alone carries the routes"
        yield doc.problem(at, message, "add the subnet's other endpoint", warning=True)


def check_hold_time(doc: Document) -> Iterator[Problem]:
    """Ask for a hold time that detects, outlasts the lease, and is not Azure's slow default.

    What hangs is found by the lease, in ``ttl`` seconds; the hold time must not be spent first.
    """
    lease_at: Path = ("lease", "ttl")
    ttl = doc.get(*lease_at)
    for path in (("bgp",), *(path for path, _ in iter_neighbors(doc))):
        at: Path = (*path, "hold_time")
        seconds = doc.get(*at)
        if seconds is None:
            continue
        if seconds < _LEAST_HOLD_TIME:
            off = "switches the detection of a dead host off" if not seconds else "is not allowed"
            message = f"{seconds} {off} (RFC 4271)" if seconds else f"{seconds} {off}"
            yield doc.problem(at, message, "write 3 or more, 9 if in doubt")
        elif ttl is not None and seconds <= ttl:
            message = f"{seconds} seconds do not outlast the lease of {ttl} seconds (lease.ttl)"
            remedy = f"write hold_time: {int(ttl) + 1} or more, or a lower lease.ttl"
            blamed = at if doc.is_explicit(at) else lease_at
            yield doc.problem(blamed, message, remedy)
        elif seconds > _LONG_HOLD_TIME and get_platform(doc) == AZURE:
            message = f"a host that dies keeps its routes for {seconds} seconds"
            yield doc.problem(at, message, "write 9; Azure Route Server agrees", warning=True)


def check_transport(doc: Document) -> Iterator[Problem]:
    """Refuse what a route server cannot do: MD5 on clouds, a neighbor one hop away on Azure."""
    for path, neighbor in iter_neighbors(doc):
        if "md5_file" in neighbor and get_platform(doc) in CLOUDS:
            message = "a cloud's route server has no MD5 passwords, so no session would come up"
            yield doc.problem((*path, "md5_file"), message, "remove it")
        if neighbor.get("multihop") == 1 and get_platform(doc) == AZURE:
            message = "Azure Route Server is in another subnet, more than one hop away"
            yield doc.problem((*path, "multihop"), message, "write 2 or more, or remove it")


def check_communities(doc: Document) -> Iterator[Problem]:
    """Refuse the communities by which Azure drops or keeps a route."""
    if get_platform(doc) != AZURE:
        return
    paths: list[Path] = [(*path, "communities") for path, _ in iter_neighbors(doc)]
    for path, _ in iter_services(doc):
        paths += [(*path, "communities"), (*path, "degraded", "communities")]
    for path in paths:
        for index, community in enumerate(doc.get(*path) or ()):
            at = (*path, index)
            if community is None:
                continue
            if community in _AZURES_COMMUNITIES or community.startswith(_AZURES_BLOCK):
                message = f"{community} is used by Azure itself, which drops routes by it"
                yield doc.problem(at, message, "remove it, or write one of your own AS number")
            elif community == _NO_ADVERTISE:
                message = f"{community} (no-advertise) keeps the route inside the VNet"
                yield doc.problem(at, message, "remove it, or no other region hears the route")


RULES = (
    check_local_as,
    check_bfd,
    check_peer_as,
    check_router_id,
    check_addresses,
    check_duplicate_neighbors,
    check_address_families,
    check_route_server_pair,
    check_hold_time,
    check_transport,
    check_communities,
)
