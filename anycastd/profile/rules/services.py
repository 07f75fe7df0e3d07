"""Rules for the HAProxy and services parts of a profile.

Each rule takes a Document and yields Problems.  It skips values that are missing: the Document has
no value where the schema found an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import pairwise

from anycastd.profile.document import Document, Problem
from anycastd.profile.formats import NEXT_HOP_SELF
from anycastd.profile.key_paths import Path, quote_value
from anycastd.profile.model import IPV6, Address
from anycastd.profile.rules.limits import check_all_routes
from anycastd.profile.rules.sections import (
    AZURE,
    AZURE_CHANGE_DELAY,
    CLOUDS,
    carries,
    get_platform,
    iter_neighbors,
    iter_services,
)

# sockaddr_un's sun_path is 108 bytes with its final zero (unix(7)).
_MAX_SOCKET_PATH = 107
# HAProxy counts as hung after two unanswered looks, so two must fit into the deadline.
_LOOKS = 2
MAX_PATH_LENGTH = 10
"""ASNs in a path at most.  No cloud documents a limit; common filters drop longer paths."""
_SELF_TEST_KINDS = ("tcp", "http")


# HAProxy -----------------------------------------------------------------------------------------


def check_sockets(doc: Document) -> Iterator[Problem]:
    """Refuse socket paths that are too long to bind (unix(7)), or that two instances share."""
    seen: dict[str, Path] = {}
    for name, instance in (doc.get("haproxy") or {}).items():
        at: Path = ("haproxy", name, "socket")
        socket = instance.get("socket")
        if socket is None:
            continue
        size = len(socket.encode())
        if size > _MAX_SOCKET_PATH and not socket.startswith("tcp://"):
            message = f"the path has {size} bytes, and sockets allow {_MAX_SOCKET_PATH}"
            yield doc.make_problem(at, message, "use a shorter path, here and in haproxy.cfg")
        if socket in seen:
            message = (
                f"{quote_value(socket)} is also the socket in line {doc.find_line(seen[socket])}"
            )
            yield doc.make_problem(at, message, "write each HAProxy's own socket")
        seen.setdefault(socket, at)


def check_poll_interval(doc: Document) -> Iterator[Problem]:
    """Require a deadline (seconds) that is long enough for two looks at HAProxy.

    A `poll` that is not written follows the deadline.
    """
    for name, instance in (doc.get("haproxy") or {}).items():
        at: Path = ("haproxy", name, "poll")
        deadline, poll = instance.get("deadline"), instance.get("poll")
        if deadline is None or poll is None or not doc.is_explicit(at):
            continue
        if deadline < _LOOKS * poll:
            message = f"two looks, {poll} seconds apart, do not fit into the deadline of {deadline}"
            yield doc.make_problem(at, message, f"write {deadline / _LOOKS:g} or less")


# VIPs --------------------------------------------------------------------------------------------


def check_vips(doc: Document) -> Iterator[Problem]:
    """Require one unicast address per VIP, and IPv4 on Azure.

    A shorter prefix would attract traffic for other addresses.  RFC 1122 and RFC 1112 say which
    IPv4 addresses are reserved.
    """
    for path, service in iter_services(doc):
        vip = service.get("vip")
        if vip is None:
            continue
        at = (*path, "vip")
        message = _explain_not_unicast(vip.ip)
        if message:
            yield doc.make_problem(at, f"{vip.ip} {message}", "write a unicast address of your own")
        elif vip.network.prefixlen != vip.max_prefixlen:
            message = f"{vip} is more than one address"
            yield doc.make_problem(at, message, f"write {vip.ip}/{vip.max_prefixlen}")
        elif vip.version == IPV6 and get_platform(doc) == AZURE:
            message = f"{vip.ip} is IPv6, which Azure Route Server does not support"
            yield doc.make_problem(at, message, "write an IPv4 address")


def _explain_not_unicast(ip: Address) -> str | None:
    """Return why an address cannot be a VIP, None if it can."""
    mapped = isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None
    # 0.0.0.0/8 is this network (RFC 1122), 240.0.0.0/4 with broadcast reserved (RFC 1112).
    reserved = isinstance(ip, IPv4Address) and (ip.is_reserved or ip.packed[0] == 0)
    kinds = (
        (ip.is_unspecified, "is the unspecified address"),
        (ip.is_multicast, "is a multicast address"),
        (ip.is_loopback, "is a loopback address"),
        (ip.is_link_local, "is link-local"),
        (str(ip) == "255.255.255.255", "is the broadcast address"),
        (reserved, "is reserved"),
        (mapped, "is an IPv4-mapped IPv6 address"),
    )
    return next((text for applies, text in kinds if applies), None)


def check_vip_conflicts(doc: Document) -> Iterator[Problem]:
    """Refuse a VIP that is already used by another service, this host or a neighbor."""
    taken: dict[Address, tuple[str, Path]] = {}
    at: Path = ("bgp", "local_address")
    if doc.get(*at) is not None:
        taken[doc.get(*at)] = ("the local address", at)
    for path, neighbor in iter_neighbors(doc):
        for key, use in (("address", "a neighbor's address"), ("local_address", "our address")):
            if key in neighbor:
                taken.setdefault(neighbor[key], (use, (*path, key)))
    for path, service in iter_services(doc):
        vip, at = service.get("vip"), (*path, "vip")
        if vip is None:
            continue
        if vip.ip in taken:
            use, where = taken[vip.ip]
            message = f"{vip.ip} is already {use}, in line {doc.find_line(where)}"
            yield doc.make_problem(at, message, "write an address that nothing else uses")
        taken.setdefault(vip.ip, ("a VIP", at))


def check_vip_in_cloud_network(doc: Document) -> Iterator[Problem]:
    """Refuse a VIP inside the cloud network, where system routes win over BGP routes."""
    if get_platform(doc) not in CLOUDS:
        return
    networks = {network for network in doc.get("networks") or () if network is not None}
    lengths = sorted({network.prefixlen for network in networks})
    for path, service in iter_services(doc):
        vip = service.get("vip")
        if vip is None:
            continue
        # By length: each VIP with each network took a minute for a profile of 1 MiB.
        for length in lengths:
            if length > vip.max_prefixlen:
                continue
            network = ip_network((vip.ip, length), strict=False)
            if network in networks:
                message = (
                    f"{vip.ip} is inside {network}, and the cloud does not accept such a route"
                )
                remedy = "write an address outside all networks of the VNet or VPC"
                yield doc.make_problem((*path, "vip"), message, remedy)
                break


def check_next_hops(doc: Document) -> Iterator[Problem]:
    """Require a next hop of the VIP's IP family, not the VIP itself.

    An IPv4 VIP needs an IPv6 one at a neighbor with extended next hops (RFC 8950).
    """
    if any(check_all_routes(doc)):
        return  # each route is looked at
    for path, service in iter_services(doc):
        vip, own = service.get("vip"), service.get("next_hop")
        if vip is None or own is None or doc.is_explicit((*path, "next_hops")):
            continue
        if vip.version == IPV6 and get_platform(doc) == AZURE:
            continue  # refused already
        for above, neighbor in iter_neighbors(doc):
            if not carries(neighbor, f"ipv{vip.version}"):
                continue
            hop, at = neighbor.get("next_hop", own), (*above, "next_hop")
            if "next_hop" not in neighbor:
                at = (*path, "next_hop" if doc.is_explicit((*path, "next_hop")) else "vip")
            if hop == NEXT_HOP_SELF:
                hop = neighbor.get("local_address", doc.get("bgp", "local_address"))
            extended = neighbor.get("extended_next_hop") is True and get_platform(doc) != AZURE
            refusal = _refuse_next_hop(vip.ip, hop, IPV6 if extended else vip.version)
            if refusal:
                yield doc.make_problem(at, *refusal)
                break


def _refuse_next_hop(vip: Address, hop: Address | None, version: int) -> tuple[str, str] | None:
    """Return message and remedy if ``hop`` cannot be the next hop of ``vip``.

    ``version`` is that of IP that it needs.
    """
    if hop == vip:
        return f"{hop} is the VIP itself", "write next_hop: self"
    if hop is None or hop.version == version:
        return None
    if version != vip.version:
        message = f"the next hop {hop} of {vip} is IPv{hop.version}, with extended_next_hop"
        return message, "write next_hop: with an IPv6 address, or remove extended_next_hop"
    message = f"{vip} is IPv{vip.version}, and its next hop {hop} is IPv{hop.version}"
    return message, f"write next_hop: with an IPv{vip.version} address of this appliance"


def check_carried(doc: Document) -> Iterator[Problem]:
    """Refuse a VIP whose address family no neighbor carries: it would never be announced."""
    neighbors = [neighbor for _, neighbor in iter_neighbors(doc)]
    for path, service in iter_services(doc):
        vip = service.get("vip")
        if vip is None or not neighbors:
            continue
        family = f"ipv{vip.version}"
        if not any(carries(neighbor, family) for neighbor in neighbors):
            message = f"{vip} is IPv{vip.version}, and no neighbor has {family} in its families"
            yield doc.make_problem(
                (*path, "vip"), message, f"add {family} to a neighbor's families"
            )


# Levels and times --------------------------------------------------------------------------------


def check_levels(doc: Document) -> Iterator[Problem]:
    """Require longer paths at worse levels, so that a worse level loses.

    Also warn of ``degraded`` without ``healthy``: it has no effect.
    """
    for path, service in iter_services(doc):
        for better, worse in pairwise(_list_prepend_keys(doc, path)):
            less, more = doc.get(*path, *better), doc.get(*path, *worse)
            if less is None or more is None or less < more:
                continue
            key, than = _join_keys(worse), _join_keys(better)
            message = (
                f"{key} {more} is not more than {than} {less}, so the worse level would not lose"
            )
            blamed = worse if doc.is_explicit((*path, *worse)) else better
            yield doc.make_problem((*path, *blamed), message, f"write {less + 1} or more for {key}")
        if (
            "degraded" in service
            and doc.is_explicit((*path, "degraded"))
            and not _can_degrade(doc, path)
        ):
            message = "has no effect without healthy, which decides when to degrade"
            remedy = "add healthy: {backend: NAME, usable: 50%}, or remove it"
            yield doc.make_problem((*path, "degraded"), message, remedy, warning=True)


def check_path_lengths(doc: Document) -> Iterator[Problem]:
    """Refuse paths of more than MAX_PATH_LENGTH ASNs on clouds: filters may drop them."""
    if get_platform(doc) not in CLOUDS:
        return
    extra = 0
    for path, neighbor in iter_neighbors(doc):
        more = neighbor.get("prepend", 0)
        if 1 + more > MAX_PATH_LENGTH:
            message = f"each path would contain our own AS number {1 + more} times or more"
            remedy = f"write {MAX_PATH_LENGTH - 1} or less"
            yield doc.make_problem((*path, "prepend"), message, remedy)
        else:
            extra = max(extra, more)
    for path, _ in iter_services(doc):
        for level in _list_prepend_keys(doc, path):
            count = doc.get(*path, *level)
            if count is None or 1 + count + extra <= MAX_PATH_LENGTH:
                continue
            added = f" ({extra} for a neighbor)" if extra else ""
            message = (
                f"the path would contain our own AS number {1 + count + extra} times{added}, and "
                f"routers on the way may drop paths longer than {MAX_PATH_LENGTH}"
            )
            remedy = f"write {_join_keys(level)}: {MAX_PATH_LENGTH - 1 - extra} or less"
            yield doc.make_problem((*path, *level), message, remedy)


def _list_prepend_keys(doc: Document, path: Path) -> list[tuple[str, ...]]:
    """Return the keys that have the prepends of the announced levels, best level first."""
    degraded = [("degraded", "prepend")] if _can_degrade(doc, path) else []
    return [("prepend",), *degraded, ("standby", "prepend")]


def _can_degrade(doc: Document, path: Path) -> bool:
    """Return whether a service has a degraded level."""
    return doc.is_explicit((*path, "healthy"))


def _join_keys(keys: tuple[str, ...]) -> str:
    return ".".join(keys)


def check_timers(doc: Document) -> Iterator[Problem]:
    """Require ``hold_down`` to be at most ``hold_down_max``.

    On Azure, warn of times (seconds) that are shorter than AZURE_CHANGE_DELAY.
    """
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
            yield doc.make_problem((*path, "return", key), message, remedy)
        if get_platform(doc) != AZURE:
            continue
        for key in ("hold_down", "spacing"):
            seconds = timers.get(key)
            if seconds is not None and seconds < AZURE_CHANGE_DELAY:
                message = (
                    f"{seconds} seconds is less than the {AZURE_CHANGE_DELAY} seconds for which "
                    "Azure may delay a second change"
                )
                remedy = f"write {AZURE_CHANGE_DELAY + 5} or more"
                yield doc.make_problem((*path, "return", key), message, remedy, warning=True)


# Self-test ---------------------------------------------------------------------------------------


def check_self_tests(doc: Document) -> Iterator[Problem]:
    """Require exactly one kind of self-test, and only keys that apply to it."""
    for path, service in iter_services(doc):
        if "self_test" not in service:
            continue
        at = (*path, "self_test")
        kinds = [kind for kind in _SELF_TEST_KINDS if doc.is_explicit((*at, kind))]
        if len(kinds) != 1:
            message = "has both tcp and http" if kinds else "has neither tcp nor http"
            yield doc.make_problem(at, message, "write {http: PORT} or {tcp: PORT}")
        elif kinds[0] == "tcp":
            for key in ("path", "host"):
                if doc.is_explicit((*at, key)):
                    message = "applies to http, not to tcp"
                    yield doc.make_problem(
                        (*at, key), message, "write http: instead of tcp:, or remove it"
                    )


RULES = (
    check_sockets,
    check_poll_interval,
    check_vips,
    check_vip_conflicts,
    check_vip_in_cloud_network,
    check_next_hops,
    check_carried,
    check_levels,
    check_path_lengths,
    check_timers,
    check_self_tests,
)
"""All rules of this file: Document -> Problems."""
