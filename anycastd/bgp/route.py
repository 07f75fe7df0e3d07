"""A route to one neighbor (stdlib only, pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network

COMMUNITY_NAMES = {
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "no-export-subconfed": "65535:65283",
    "no-peer": "65535:65284",
    "blackhole": "65535:666",
    "graceful-shutdown": "65535:0",
}
"""Names of well-known communities -> the community (RFC 1997, 3765, 7999, 8326).

ExaBGP prints all but the last one by their names.
"""

USUAL_LOCAL_PREF = 100
"""Local preference over iBGP without prepends; routers give it to routes that have none, too."""

_MAX_32_BIT = 2**32 - 1  # ASN (RFC 6793), MED, local preference, and parts of large communities
_MAX_COMMUNITY = 32  # characters: three numbers of ten digits
_COMMUNITY_LIMITS = {2: 2**16 - 1, 3: _MAX_32_BIT}


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A route as it is sent to one neighbor.

    ``neighbor`` and ``next_hop`` are addresses, ``prefix`` is a CIDR prefix.  ``as_path`` is the
    complete path in the UPDATE: our own ASN at least once over eBGP, empty over iBGP (RFC 4271
    section 5.1.2).  ``med`` is None for no MED.  ``communities`` are written ``65010:100``, large
    ones ``65010:1:2``.  ``local_pref`` is for iBGP alone (RFC 4271 section 5.1.5); None over eBGP.
    """

    neighbor: str
    prefix: str
    next_hop: str
    as_path: tuple[int, ...]
    med: int | None = None
    communities: tuple[str, ...] = ()
    local_pref: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Return (neighbor, prefix): a route replaces the one with the same key (RFC 4271, 3.1)."""
        return (self.neighbor, self.prefix)


def canonicalize_route(route: Route) -> Route:
    """Return the route in the form that ExaBGP prints: short addresses, sorted communities.

    Standard communities (``65010:100``, RFC 1997) come first, then large ones (``65010:1:2``, RFC
    8092), each once and in numeric order.  Names of well-known ones become numbers.  Raises
    ValueError where a field is not a valid address, prefix, ASN, MED, local preference or
    community, where the prefix has host bits set, where an address has a scope, or where the path
    is empty and there is no local preference: only a route for iBGP has an empty path.
    """
    if not route.as_path and route.local_pref is None:
        raise ValueError(f"{route.prefix}: the AS path is empty")
    for number in route.as_path:
        if not 0 < number <= _MAX_32_BIT:
            raise ValueError(f"{route.prefix}: {number} is no ASN")
    if route.med is not None and not 0 <= route.med <= _MAX_32_BIT:
        raise ValueError(f"{route.prefix}: {route.med} is no MED")
    if route.local_pref is not None and not 0 <= route.local_pref <= _MAX_32_BIT:
        raise ValueError(f"{route.prefix}: {route.local_pref} is no local preference")
    return replace(
        route,
        neighbor=_address(route.neighbor),
        prefix=_network(route.prefix),
        next_hop=_address(route.next_hop),
        communities=_communities(route.communities),
    )


@lru_cache(maxsize=4096)
def _address(text: str) -> str:
    _refuse_scope(text)
    # Out of the bytes of the address: nothing that was written beside them can get through.
    return str(ip_address(ip_address(text).packed))


@lru_cache(maxsize=32768)
def _network(text: str) -> str:
    _refuse_scope(text)
    network = ip_network(text)
    return str(ip_network((network.network_address.packed, network.prefixlen)))


def _refuse_scope(text: str) -> None:
    """Refuse an IPv6 scope (RFC 4007, section 11): it may be any text, and no route has one."""
    if "%" in text:
        raise ValueError(f"{text!r} has a scope, which a route cannot have")


@lru_cache(maxsize=4096)
def _communities(texts: tuple[str, ...]) -> tuple[str, ...]:
    found = sorted(set(map(_community, texts)), key=lambda parts: (len(parts), parts))
    return tuple(":".join(map(str, parts)) for parts in found)


def canonicalize_community(text: str) -> str:
    """Return a community as numbers without leading zeros: ``65010:100``, large ``65010:1:2``.

    Raises ValueError for a text that is neither such numbers nor a name in COMMUNITY_NAMES.
    """
    written = re.sub(r"\b0+(?=[0-9])", "", text)
    return ":".join(map(str, _community(written)))


def _community(text: str) -> tuple[int, ...]:
    """Parse a community: two numbers of 16 bits (RFC 1997) or three of 32 bits (RFC 8092)."""
    text = COMMUNITY_NAMES.get(text, text)
    if len(text) > _MAX_COMMUNITY:
        raise ValueError(f"{text[:_MAX_COMMUNITY]!r} and more is no community")
    parts = tuple(int(word) for word in text.split(":") if word.isdecimal())
    limit = _COMMUNITY_LIMITS.get(len(parts))
    written = ":".join(map(str, parts))
    if limit is None or max(parts) > limit or text != written:
        raise ValueError(f"{text!r} is no community; write 65010:100 or, large, 65010:1:2")
    return parts
