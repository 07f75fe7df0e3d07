"""Rules for the BGP part of a profile.

Each rule takes a Document and yields Problems.  It skips values that are missing: the Document has
no value where the schema found an error.

Sources: Azure Route Server FAQ for Azure, VPC Route Server guide for AWS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_network

from anycastd.profile.document import Document, Problem
from anycastd.profile.formats import MAX_UINT16, NEXT_HOP_SELF, NO_LINK_LOCAL
from anycastd.profile.key_paths import Path
from anycastd.profile.model import IPV6, Address
from anycastd.profile.rules.sections import (
    AWS,
    AZURE,
    AZURE_ROUTE_SERVER,
    CLOUDS,
    get_platform,
    iter_neighbors,
    iter_services,
)

# RFC 6793 (AS_TRANS), RFC 7300 (the last of 16 and 32 bits).  The schema refuses 0 (RFC 7607).
_RESERVED_ASNS = (23456, 65535, 4294967295)
# First and last AS number of a range that Azure refuses, and what the range is.
_AZURE_ASNS = (
    (8074, 8075, "belongs to Microsoft"),
    (12076, 12076, "belongs to ExpressRoute"),
    (65515, 65515, "belongs to the route server"),
    (65517, 65520, "is reserved by Azure"),
    (64496, 64511, "is for documentation only, and Azure refuses it"),
    (65536, 65551, "is for documentation only, and Azure refuses it"),
)
_USE_PRIVATE_ASN = "write a private one such as 65010"
# RFC 4271 section 4.2 allows 0 or at least 3 seconds; 0 would turn off the detection.
_MIN_HOLD_TIME = 3
_LONG_HOLD_TIME = 30
# Azure marks the origin of routes with these, and drops routes by them.
_AZURE_COMMUNITIES = ("65517:65517", "65515:10000", "65515:20000")
_AZURE_COMMUNITY_PREFIX = "65518:"
_NO_ADVERTISE = "65535:65282"
_PAIR = 2
# RouteServerSubnet has /26 or /27, and its first two free addresses are the instances'.
_ROUTE_SERVER_PREFIX = 26


def check_local_as(doc: Document) -> Iterator[Problem]:
    """Refuse a reserved local AS number, and those that Azure Route Server does not accept.

    Reserved are AS_TRANS (RFC 6793) and the last numbers of 16 and of 32 bits (RFC 7300).
    """
    at: Path = ("bgp", "local_as")
    asn = doc.get(*at)
    if asn is None:
        return
    if asn in _RESERVED_ASNS:
        yield doc.make_problem(
            at, f"AS {asn} is reserved and belongs to no network", _USE_PRIVATE_ASN
        )
    elif get_platform(doc) == AZURE:
        for first, last, use in _AZURE_ASNS:
            if first <= asn <= last:
                yield doc.make_problem(at, f"AS {asn} {use}", _USE_PRIVATE_ASN)
                return
        if asn > MAX_UINT16:
            message = f"AS {asn} has more than 16 bits, which Azure Route Server refuses"
            yield doc.make_problem(at, message, _USE_PRIVATE_ASN)


def check_bfd(doc: Document) -> Iterator[Problem]:
    """Refuse BFD on Azure, whose route server does not support it."""
    at: Path = ("bgp", "bfd")
    if doc.get(*at) is not None and get_platform(doc) == AZURE:
        yield doc.make_problem(at, "Azure Route Server does not support BFD", "remove it")


def check_peer_as(doc: Document) -> Iterator[Problem]:
    """Refuse a reserved peer AS, any peer AS but 65515 on Azure, and iBGP on AWS."""
    local = doc.get("bgp", "local_as")
    for path, neighbor in iter_neighbors(doc):
        at = (*path, "peer_as")
        asn = neighbor.get("peer_as")
        if asn is None:
            continue
        if get_platform(doc) == AZURE:
            if asn != AZURE_ROUTE_SERVER:
                message = f"AS {asn} is not Azure Route Server's AS number, which is always 65515"
                yield doc.make_problem(at, message, "write 65515")
        elif asn in _RESERVED_ASNS:
            remedy = "write the neighbor's own AS number"
            yield doc.make_problem(at, f"AS {asn} is reserved and belongs to no network", remedy)
        elif asn == local and get_platform(doc) == AWS:
            message = f"AS {asn} is also local_as, and VPC Route Server peers by eBGP only"
            yield doc.make_problem(at, message, "write the neighbor's own AS number")


def check_router_id(doc: Document) -> Iterator[Problem]:
    """Refuse the router ID 0.0.0.0 (RFC 6286 section 2.1)."""
    at: Path = ("bgp", "router_id")
    identifier = doc.get(*at)
    if identifier is not None and identifier.is_unspecified:
        remedy = "write this appliance's own IPv4 address"
        yield doc.make_problem(at, "0.0.0.0 is not a valid BGP identifier", remedy)


def check_addresses(doc: Document) -> Iterator[Problem]:
    """Refuse addresses that no single host can have, and link-local ones of IPv6.

    No connection to a link-local address can be made without its interface (RFC 4007 section 6),
    which ExaBGP does not take.  Those of IPv4 have no such need: tunnels of AWS use them.
    """
    paths: list[Path] = [("bgp", "local_address")]
    for path, _ in iter_neighbors(doc):
        paths += [(*path, key) for key in ("address", "local_address", "next_hop")]
    for path, service in iter_services(doc):
        hops = range(len(service.get("next_hops") or ()))
        paths += [(*path, "next_hop"), *((*path, "next_hops", n, "address") for n in hops)]
    for at in paths:
        address = doc.get(*at)
        if address in (None, NEXT_HOP_SELF):
            continue
        if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
            message = f"{address} is not the address of one host"
            yield doc.make_problem(at, message, "write a unicast address such as 10.0.2.10")
        elif address.version == IPV6 and address.is_link_local:
            message = f"{address} is link-local, and cannot be reached without its interface"
            yield doc.make_problem(at, message, NO_LINK_LOCAL)


def check_duplicate_neighbors(doc: Document) -> Iterator[Problem]:
    """Refuse two neighbors with the same address: ExaBGP would open two sessions to it."""
    seen: dict[Address, Path] = {}
    for path, neighbor in iter_neighbors(doc):
        at = (*path, "address")
        address = neighbor.get("address")
        if address is None:
            continue
        if address in seen:
            message = f"{address} is already a neighbor, in line {doc.find_line(seen[address])}"
            yield doc.make_problem(at, message, "keep one of them")
        seen.setdefault(address, at)


def check_address_families(doc: Document) -> Iterator[Problem]:
    """Refuse a session from an address to itself, or to an address of the other IP family."""
    for path, neighbor in iter_neighbors(doc):
        at = (*path, "address")
        address = neighbor.get("address")
        local = neighbor.get("local_address", doc.get("bgp", "local_address"))
        if address is None:
            continue
        if address == local:
            message = f"{address} is also the local address"
            yield doc.make_problem(at, message, "write the neighbor's own address")
        elif address.version == IPV6 and get_platform(doc) == AZURE:
            message = f"{address} is IPv6, which Azure Route Server does not support"
            yield doc.make_problem(at, message, "write its IPv4 address")
        elif local is not None and address.version != local.version:
            message = f"{address} cannot be reached from {local}, which is IPv{local.version}"
            remedy = f"add local_address: with an IPv{address.version} address to this neighbor"
            yield doc.make_problem(at, message, remedy)


def check_families(doc: Document) -> Iterator[Problem]:
    """Refuse IPv6 on Azure, whose route server does not support it."""
    for path, neighbor in iter_neighbors(doc):
        if "ipv6" in (neighbor.get("families") or ()) and get_platform(doc) == AZURE:
            message = "Azure Route Server does not support IPv6"
            yield doc.make_problem((*path, "families"), message, "write [ipv4], or remove it")


def check_route_server_pair(doc: Document) -> Iterator[Problem]:
    """Require two neighbors on Azure, and warn of a single one on AWS.

    Azure does not support an appliance that peers with only one of the two instances of a route
    server.  AWS recommends two endpoints.
    """
    at: Path = ("bgp", "neighbors")
    count = len(doc.get(*at) or ())
    if not 0 < count < _PAIR:
        return
    if get_platform(doc) == AZURE:
        message = (
            "there is only one neighbor, and Azure Route Server requires sessions to both instances"
        )
        yield doc.make_problem(
            at, message, "add the other instance's address, also with peer_as: 65515"
        )
    elif get_platform(doc) == AWS:
        message = "there is only one neighbor, so all routes depend on one route server endpoint"
        yield doc.make_problem(at, message, "add the subnet's other endpoint", warning=True)


def check_route_server_subnet(doc: Document) -> Iterator[Problem]:
    """Warn of an Azure neighbor without a second one in its subnet, where both instances are.

    With one instance of each of two route servers half of the routes are missing in both.
    """
    if get_platform(doc) != AZURE:
        return
    found = [
        ((*path, "address"), neighbor["address"])
        for path, neighbor in iter_neighbors(doc)
        if isinstance(neighbor.get("address"), IPv4Address)
    ]
    subnets = [ip_network((address, _ROUTE_SERVER_PREFIX), strict=False) for _, address in found]
    counted = Counter(subnets)
    own = doc.get("bgp", "local_address")
    if len(found) < _PAIR or any(each.is_multicast or each == own for _, each in found):
        return  # refused already
    for (at, address), subnet in zip(found, subnets, strict=True):
        if counted[subnet] < _PAIR:
            message = (
                f"{address} has no other neighbor near it, and the two instances of a route "
                "server are in one subnet"
            )
            remedy = "write both addresses that the route server shows as its peer IPs"
            yield doc.make_problem(at, message, remedy, warning=True)


def check_hold_time(doc: Document) -> Iterator[Problem]:
    """Require a hold time of 3 s or more that is longer than the lease.

    RFC 4271 section 4.2 allows 0 or at least 3 seconds; 0 would turn off the detection of a dead
    host.  A process that hangs is found by the lease, after ``ttl`` seconds; the session must not
    end before that.  On Azure, warn of more than 30 seconds.
    """
    lease_at: Path = ("lease", "ttl")
    ttl = doc.get(*lease_at)
    for path in (("bgp",), *(path for path, _ in iter_neighbors(doc))):
        at: Path = (*path, "hold_time")
        seconds = doc.get(*at)
        if seconds is None:
            continue
        if seconds < _MIN_HOLD_TIME:
            message = (
                f"{seconds} is not allowed (RFC 4271)"
                if seconds
                else "0 turns off the detection of a dead host"
            )
            yield doc.make_problem(at, message, "write 3 or more, 9 if in doubt")
        elif ttl is not None and seconds <= ttl:
            message = f"{seconds} seconds is not more than the lease of {ttl} seconds (lease.ttl)"
            remedy = f"write hold_time: {int(ttl) + 1} or more, or a lower lease.ttl"
            blamed = at if doc.is_explicit(at) else lease_at
            yield doc.make_problem(blamed, message, remedy)
        elif seconds > _LONG_HOLD_TIME and get_platform(doc) == AZURE:
            message = f"the routes of a dead host would stay for {seconds} seconds"
            yield doc.make_problem(
                at, message, "write 9, which Azure Route Server accepts", warning=True
            )


def check_transport(doc: Document) -> Iterator[Problem]:
    """Refuse MD5 passwords (RFC 2385) on clouds, and a multihop of 1 on Azure."""
    for path, neighbor in iter_neighbors(doc):
        if "md5_file" in neighbor and get_platform(doc) in CLOUDS:
            message = (
                "cloud route servers do not support MD5 passwords, so no session would come up"
            )
            yield doc.make_problem((*path, "md5_file"), message, "remove it")
        if neighbor.get("multihop") == 1 and get_platform(doc) == AZURE:
            message = "Azure Route Server is in another subnet, more than one hop away"
            yield doc.make_problem((*path, "multihop"), message, "write 2 or more, or remove it")


def check_communities(doc: Document) -> Iterator[Problem]:
    """Refuse communities by which Azure drops a route or does not pass it on.

    The second kind is NO_ADVERTISE (RFC 1997).
    """
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
            if community in _AZURE_COMMUNITIES or community.startswith(_AZURE_COMMUNITY_PREFIX):
                message = f"{community} is used by Azure itself to drop routes"
                yield doc.make_problem(
                    at, message, "remove it, or write one with your own AS number"
                )
            elif community == _NO_ADVERTISE:
                message = f"{community} (no-advertise) keeps the route inside the VNet"
                yield doc.make_problem(
                    at, message, "remove it, so that other regions learn the route"
                )


RULES = (
    check_local_as,
    check_bfd,
    check_peer_as,
    check_router_id,
    check_addresses,
    check_duplicate_neighbors,
    check_address_families,
    check_families,
    check_route_server_pair,
    check_route_server_subnet,
    check_hold_time,
    check_transport,
    check_communities,
)
"""All rules of this file: Document -> Problems."""
