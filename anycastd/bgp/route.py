"""A route as one neighbor is to receive it (stdlib only, pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network

# Names that ExaBGP prints for communities (RFC 1997, 3765, 7999).
_NAMES = {
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "no-export-subconfed": "65535:65283",
    "no-peer": "65535:65284",
    "blackhole": "65535:666",
}


_HIGHEST = 2**32 - 1  # ASN (RFC 6793), MED and a large community's parts alike


_COMMUNITY_LIMITS = {2: 2**16 - 1, 3: _HIGHEST}


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """One route as one neighbor is to hear it.

    ``neighbor`` and ``next_hop`` are addresses, ``prefix`` is a CIDR prefix, ``as_path`` is the
    whole path as it goes out (our own ASN at least once), ``med`` is None for no MED,
    ``communities`` are written ``65010:100``.
    """

    neighbor: str
    prefix: str
    next_hop: str
    as_path: tuple[int, ...]
    med: int | None = None
    communities: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What a route replaces: (neighbor, prefix)."""
        return (self.neighbor, self.prefix)


def canonicalize(route: Route) -> Route:
    """Write a route as ExaBGP does: addresses in their short form, communities in order.

    Standard communities (``65010:100``) come first, then large ones (``65010:1:2``), each in
    numeric order; ExaBGP's well-known names become numbers.  Raises ValueError on anything that
    is not an address, a prefix, an ASN, a MED or a community.
    """
    if not route.as_path:
        raise ValueError(f"{route.prefix}: the AS path is empty")
    for number in route.as_path:
        if not 0 < number <= _HIGHEST:
            raise ValueError(f"{route.prefix}: {number} is no ASN")
    if route.med is not None and not 0 <= route.med <= _HIGHEST:
        raise ValueError(f"{route.prefix}: {route.med} is no MED")
    return replace(
        route,
        neighbor=_address(route.neighbor),
        prefix=_network(route.prefix),
        next_hop=_address(route.next_hop),
        communities=_communities(route.communities),
    )


@lru_cache(maxsize=4096)
def _address(text: str) -> str:
    return str(ip_address(text))


@lru_cache(maxsize=32768)
def _network(text: str) -> str:
    return str(ip_network(text))


@lru_cache(maxsize=4096)
def _communities(texts: tuple[str, ...]) -> tuple[str, ...]:
    found = sorted(map(_community, texts), key=lambda parts: (len(parts), parts))
    return tuple(":".join(map(str, parts)) for parts in found)


def _community(text: str) -> tuple[int, ...]:
    """Read a community: two numbers of 16 bits (RFC 1997) or three of 32 (RFC 8092)."""
    parts = tuple(int(word) for word in _NAMES.get(text, text).split(":") if word.isdecimal())
    limit = _COMMUNITY_LIMITS.get(len(parts))
    written = ":".join(map(str, parts))
    if limit is None or max(parts) > limit or _NAMES.get(text, text) != written:
        raise ValueError(f"{text!r} is no community; write 65010:100 or, large, 65010:1:2")
    return parts
