"""Rules for the HAProxy and services parts of a profile, each with its reason.

Each looks at a Document and passes over what is missing from it: what the schema found wrong has
been cut out.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

from anycastd.profile.document import Document, Problem
from anycastd.profile.formats import SELF
from anycastd.profile.model import Address
from anycastd.profile.rules.sections import (
    AZURE,
    CLOUDS,
    get_platform,
    iter_neighbors,
    iter_services,
)
from anycastd.profile.yaml_reader import Path, quote

# sockaddr_un's sun_path is 108 bytes with its final zero (unix(7)).
_MAX_SOCKET_PATH = 107
# Hung is what left two looks unanswered, so two must fit into the deadline.
_LOOKS = 2
# No cloud documents a limit, and filters on the way commonly begin above this.
MAX_PATH = 10
# Azure's fabric lets one change through at once and may hold the next for this long (seconds).
_AZURES_WINDOW = 30
_TESTS = ("tcp", "http")
_IPV6 = 6


# HAProxy -----------------------------------------------------------------------------------------


def check_sockets(doc: Document) -> Iterator[Problem]:
    """Refuse socket paths that cannot be bound, or that two instances share."""
    seen: dict[str, Path] = {}
    for name, instance in (doc.get("haproxy") or {}).items():
        at: Path = ("haproxy", name, "socket")
        socket = instance.get("socket")
        if socket is None:
            continue
        size = len(socket.encode())
        if size > _MAX_SOCKET_PATH:
            message = f"the path has {size} bytes, and a socket's may have {_MAX_SOCKET_PATH}"
            yield doc.problem(at, message, "use a shorter path, here and in haproxy.cfg")
        if socket in seen:
            message = f"{quote(socket)} is also the socket in line {doc.line(seen[socket])}"
            yield doc.problem(at, message, "write each HAProxy's own socket")
        seen.setdefault(socket, at)


def check_poll_interval(doc: Document) -> Iterator[Problem]:
    """Ask for a deadline in which two looks fit: one slow answer is no proof of death."""
    for name, instance in (doc.get("haproxy") or {}).items():
        deadline, poll = instance.get("deadline"), instance.get("poll")
        if deadline is not None and poll is not None and deadline < _LOOKS * poll:
            message = f"two looks, {poll} seconds apart, do not fit into the deadline of {deadline}"
            at: Path = ("haproxy", name, "poll")
            yield doc.problem(at, message, f"write {deadline / _LOOKS:g} or less")


# VIPs --------------------------------------------------------------------------------------------


def check_vips(doc: Document) -> Iterator[Problem]:
    """Ask for one unicast address per VIP: anything wider would draw foreign traffic here."""
    for path, service in iter_services(doc):
        vip = service.get("vip")
        if vip is None:
            continue
        at = (*path, "vip")
        message = _not_anycast(vip.ip)
        if message:
            yield doc.problem(at, f"{vip.ip} {message}", "write a unicast address of your own")
        elif vip.network.prefixlen != vip.max_prefixlen:
            message = f"{vip} is more than one address"
            yield doc.problem(at, message, f"write {vip.ip}/{vip.max_prefixlen}")
        elif vip.version == _IPV6 and get_platform(doc) == AZURE:
            message = f"{vip.ip} is IPv6, which Azure Route Server does not carry"
            yield doc.problem(at, message, "write an IPv4 address")


def _not_anycast(ip: Address) -> str | None:
    """Say what else an address is, None if it can be a VIP."""
    mapped = isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None
    # 0.0.0.0/8 is this network (RFC 1122), 240.0.0.0/4 with broadcast reserved (RFC 1112).
    reserved = isinstance(ip, IPv4Address) and (ip.is_reserved or ip.packed[0] == 0)
    words = (
        (ip.is_unspecified, "is no address"),
        (ip.is_multicast, "is a multicast address"),
        (ip.is_loopback, "is a loopback address"),
        (ip.is_link_local, "is link-local"),
        (str(ip) == "255.255.255.255", "is the broadcast address"),
        (reserved, "is reserved"),
        (mapped, "is an IPv4 address in IPv6's clothes"),
    )
    return next((word for applies, word in words if applies), None)


def check_vip_conflicts(doc: Document) -> Iterator[Problem]:
    """Refuse a VIP that is somebody's already: another service's, ours, a neighbor's."""
    taken: dict[Address, tuple[str, Path]] = {}
    at: Path = ("bgp", "local_address")
    if doc.get(*at) is not None:
        taken[doc.get(*at)] = ("the local address", at)
    for path, neighbor in iter_neighbors(doc):
        for key, whose in (("address", "a neighbor's address"), ("local_address", "our address")):
            if key in neighbor:
                taken.setdefault(neighbor[key], (whose, (*path, key)))
    for path, service in iter_services(doc):
        vip, at = service.get("vip"), (*path, "vip")
        if vip is None:
            continue
        if vip.ip in taken:
            whose, where = taken[vip.ip]
            message = f"{vip.ip} is {whose} already, in line {doc.line(where)}"
            yield doc.problem(at, message, "write an address that nothing else uses")
        taken.setdefault(vip.ip, ("a VIP", at))


def check_vip_in_cloud_network(doc: Document) -> Iterator[Problem]:
    """Refuse a VIP inside the cloud network: its own system routes win over what BGP says."""
    if get_platform(doc) not in CLOUDS:
        return
    networks = [network for network in doc.get("networks") or () if network is not None]
    for path, service in iter_services(doc):
        vip = service.get("vip")
        for network in networks:
            if vip is not None and vip.ip in network:
                message = f"{vip.ip} is inside {network}, and the cloud does not take such a route"
                remedy = "write an address outside all networks of the VNet or VPC"
                yield doc.problem((*path, "vip"), message, remedy)
                break


def check_next_hops(doc: Document) -> Iterator[Problem]:
    """Ask for a next hop of the VIP's family (RFC 8950 is not spoken), and not the VIP itself."""
    for path, service in iter_services(doc):
        vip, own = service.get("vip"), service.get("next_hop")
        if vip is None or own is None:
            continue
        if vip.version == _IPV6 and get_platform(doc) == AZURE:
            continue  # refused already
        for above, neighbor in iter_neighbors(doc):
            hop, at = neighbor.get("next_hop", own), (*above, "next_hop")
            if "next_hop" not in neighbor:
                at = (*path, "next_hop" if doc.is_explicit((*path, "next_hop")) else "vip")
            if hop == SELF:
                hop = neighbor.get("local_address", doc.get("bgp", "local_address"))
            fault = _next_hop(vip.ip, hop)
            if fault:
                yield doc.problem(at, *fault)
                break


def _next_hop(vip: Address, hop: Address | None) -> tuple[str, str] | None:
    if hop == vip:
        return f"{hop} is the VIP itself", "write next_hop: self"
    if hop is not None and hop.version != vip.version:
        message = f"{vip} is IPv{vip.version}, and its next hop {hop} is IPv{hop.version}"
        return message, f"write next_hop: with an IPv{vip.version} address of this appliance"
    return None


# Levels and times --------------------------------------------------------------------------------


def check_levels(doc: Document) -> Iterator[Problem]:
    """Ask for longer paths at worse levels: what is worse must lose against what is better."""
    for path, service in iter_services(doc):
        for better, worse in pairwise(_levels(doc, path)):
            less, more = doc.get(*path, *better), doc.get(*path, *worse)
            if less is None or more is None or less < more:
                continue
            key, than = _dotted(worse), _dotted(better)
            message = (
                f"{key} {more} is not more than {than} {less}, so it would not lose against it"
            )
            blamed = worse if doc.is_explicit((*path, *worse)) else better
            yield doc.problem((*path, *blamed), message, f"write {less + 1} or more for {key}")
        if (
            "degraded" in service
            and doc.is_explicit((*path, "degraded"))
            and not _grades(doc, path)
        ):
            message = "has no effect without healthy, which says when to degrade"
            remedy = "add healthy: {backend: NAME, usable: 50%}, or remove it"
            yield doc.problem((*path, "degraded"), message, remedy, warning=True)


def check_path_lengths(doc: Document) -> Iterator[Problem]:
    """Refuse paths that filters on the way to or in a cloud may drop for their length."""
    if get_platform(doc) not in CLOUDS:
        return
    extra = 0
    for path, neighbor in iter_neighbors(doc):
        more = neighbor.get("prepend", 0)
        if 1 + more > MAX_PATH:
            message = f"paths would have {1 + more} AS numbers of our own or more"
            remedy = f"write {MAX_PATH - 1} or less"
            yield doc.problem((*path, "prepend"), message, remedy)
        else:
            extra = max(extra, more)
    for path, _ in iter_services(doc):
        for level in _levels(doc, path):
            count = doc.get(*path, *level)
            if count is None or 1 + count + extra <= MAX_PATH:
                continue
            added = f", {extra} of them for a neighbor" if extra else ""
            message = (
                f"the path would have {1 + count + extra} AS numbers of our own{added}, and more "
                f"than {MAX_PATH} may be dropped on the way"
            )
            remedy = f"write {_dotted(level)}: {MAX_PATH - 1 - extra} or less"
            yield doc.problem((*path, *level), message, remedy)


def _levels(doc: Document, path: Path) -> list[tuple[str, ...]]:
    """List the keys with the prepends of the announced levels, best first."""
    degraded = [("degraded", "prepend")] if _grades(doc, path) else []
    return [("prepend",), *degraded, ("standby", "prepend")]


def _grades(doc: Document, path: Path) -> bool:
    return doc.is_explicit((*path, "healthy"))


def _dotted(keys: tuple[str, ...]) -> str:
    return ".".join(keys)


def check_timers(doc: Document) -> Iterator[Problem]:
    """Ask for a hold-down that can grow, and for times longer than Azure's window."""
    for path, service in iter_services(doc):
        timers = service.get("return", {})
        least, most = timers.get("hold_down"), timers.get("hold_down_max")
        if least is not None and most is not None and most < least:
            key = (
                "hold_down_max"
                if doc.is_explicit((*path, "return", "hold_down_max"))
                else "hold_down"
            )
            message = f"hold_down {least} is more than hold_down_max {most}"
            remedy = f"write hold_down_max: {least} or more"
            yield doc.problem((*path, "return", key), message, remedy)
        if get_platform(doc) != AZURE:
            continue
        for key in ("hold_down", "spacing"):
            seconds = timers.get(key)
            if seconds is not None and seconds < _AZURES_WINDOW:
                message = (
                    f"{seconds} seconds are inside the {_AZURES_WINDOW} seconds for which Azure "
                    "may hold a second change back"
                )
                remedy = f"write {_AZURES_WINDOW + 5} or more"
                yield doc.problem((*path, "return", key), message, remedy, warning=True)


# Self-test ---------------------------------------------------------------------------------------


def check_self_tests(doc: Document) -> Iterator[Problem]:
    """Ask for one kind of self-test, and for keys that mean something for it."""
    for path, service in iter_services(doc):
        if "self_test" not in service:
            continue
        at = (*path, "self_test")
        kinds = [kind for kind in _TESTS if doc.is_explicit((*at, kind))]
        if len(kinds) != 1:
            message = "holds both tcp and http" if kinds else "says neither tcp nor http"
            yield doc.problem(at, message, "write {http: PORT} or {tcp: PORT}")
        elif kinds[0] == "tcp":
            for key in ("path", "host"):
                if doc.is_explicit((*at, key)):
                    message = "is of HTTP, and stands beside tcp"
                    yield doc.problem(
                        (*at, key), message, "write http: instead of tcp:, or remove it"
                    )


RULES = (
    check_sockets,
    check_poll_interval,
    check_vips,
    check_vip_conflicts,
    check_vip_in_cloud_network,
    check_next_hops,
    check_levels,
    check_path_lengths,
    check_timers,
    check_self_tests,
)
