"""Decoder of BGP messages, as far as tests need it.

RFC 4271, 1997, 4760, 5492, 6793, 7313 and 8092.  Raises ValueError on what is malformed, and on
what an announcer of VIPs should not send.  ``at`` is when a message was read: a time of the
monotonic clock, in seconds.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

MARKER = b"\xff" * 16
"""First field of each message (RFC 4271, section 4.1)."""
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5
"""Types of messages (RFC 4271, RFC 2918)."""
AFI_IPV4, AFI_IPV6, UNICAST = 1, 2, 1
"""Address families, and the SAFI (RFC 4760)."""
AS_TRANS = 23456
"""AS number of an OPEN whose sender's number has four octets (RFC 6793)."""


@dataclass(frozen=True, slots=True)
class ReceivedRoute:
    """A route of an UPDATE.  ``large`` and ``communities`` are in the order of the message."""

    prefix: str
    as_path: tuple[int, ...]
    next_hop: str
    med: int | None
    communities: tuple[str, ...]
    large: tuple[str, ...]
    local_pref: int | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """An UPDATE (RFC 4271, section 4.3); ``raw`` is its body."""

    at: float
    announced: tuple[ReceivedRoute, ...]
    withdrawn: tuple[str, ...]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """The OPEN of a session; ``capabilities`` maps code -> values (RFC 5492)."""

    at: float
    peer_as: int
    hold_time: int
    router_id: str
    capabilities: Mapping[int, tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class Closed:
    """The session ended: with a NOTIFICATION (``code``, ``subcode``) or without one (None)."""

    at: float
    code: int | None
    subcode: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class EndOfRib:
    """The end of the initial routing update for one family (RFC 4724)."""

    at: float
    afi: int


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A mark around the answer to a refresh (RFC 7313): 1 begins it, 2 ends it."""

    at: float
    subtype: int


Event = Update | Opened | Closed | EndOfRib | Refreshed


def build_message(kind: int, body: bytes = b"") -> bytes:
    """Build a message of type ``kind``: header (RFC 4271, section 4.1) and body."""
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def _prefixes(data: bytes, afi: int) -> tuple[str, ...]:
    size = 4 if afi == AFI_IPV4 else 16
    found = []
    while data:
        bits = data[0]
        count = (bits + 7) // 8
        if len(data) < 1 + count or bits > size * 8:
            raise ValueError(f"malformed prefix: {data.hex()}")
        raw = data[1 : 1 + count].ljust(size, b"\0")
        found.append(f"{ipaddress.ip_address(raw)}/{bits}")
        data = data[1 + count :]
    return tuple(found)


def _as_path(data: bytes, width: int) -> tuple[int, ...]:
    path: list[int] = []
    while data:
        kind, count = data[0], data[1]
        if kind != 2:
            raise ValueError(f"AS_PATH segment of type {kind}, only AS_SEQUENCE is expected")
        end = 2 + count * width
        values = struct.unpack(f"!{count}{'I' if width == 4 else 'H'}", data[2:end])
        path.extend(values)
        data = data[end:]
    return tuple(path)


@dataclass(slots=True)
class _Attributes:
    as_path: tuple[int, ...] | None = None
    next_hop: str | None = None
    med: int | None = None
    local_pref: int | None = None
    communities: tuple[str, ...] = ()
    large: tuple[str, ...] = ()
    reach: tuple[str, tuple[str, ...]] | None = None  # next hop, prefixes
    unreach: tuple[int, tuple[str, ...]] | None = None  # AFI, prefixes
    seen: list[int] = field(default_factory=list)


def _origin(_: _Attributes, value: bytes, __: int) -> None:
    if value != b"\0":
        raise ValueError(f"ORIGIN {value.hex()}, IGP is expected")


def _path(out: _Attributes, value: bytes, width: int) -> None:
    out.as_path = _as_path(value, width)


def _next_hop(out: _Attributes, value: bytes, _: int) -> None:
    out.next_hop = str(ipaddress.IPv4Address(value))


def _med(out: _Attributes, value: bytes, _: int) -> None:
    (out.med,) = struct.unpack("!I", value)


def _local_pref(out: _Attributes, value: bytes, _: int) -> None:
    (out.local_pref,) = struct.unpack("!I", value)


def _communities(out: _Attributes, value: bytes, _: int) -> None:
    out.communities = tuple(f"{high}:{low}" for high, low in struct.iter_unpack("!HH", value))


def _large(out: _Attributes, value: bytes, _: int) -> None:
    out.large = tuple(":".join(map(str, parts)) for parts in struct.iter_unpack("!III", value))


def _reach(out: _Attributes, value: bytes, _: int) -> None:
    afi, safi, size = struct.unpack("!HBB", value[:4])
    if (afi, safi, size) != (AFI_IPV6, UNICAST, 16):
        raise ValueError(f"MP_REACH_NLRI for {afi}/{safi}, next hop of {size} octets")
    out.reach = (str(ipaddress.IPv6Address(value[4:20])), _prefixes(value[21:], AFI_IPV6))


def _unreach(out: _Attributes, value: bytes, _: int) -> None:
    afi, safi = struct.unpack("!HB", value[:3])
    if safi != UNICAST or afi not in (AFI_IPV4, AFI_IPV6):
        raise ValueError(f"MP_UNREACH_NLRI for {afi}/{safi}")
    out.unreach = (afi, _prefixes(value[3:], afi))


def _as4_path(out: _Attributes, value: bytes, width: int) -> None:
    if width != 2:
        raise ValueError("AS4_PATH between speakers of four octets (RFC 6793)")
    out.as_path = _as_path(value, 4)  # no AS between us added its number


_DECODERS: dict[int, Callable[[_Attributes, bytes, int], None]] = {
    1: _origin,
    2: _path,
    3: _next_hop,
    4: _med,
    5: _local_pref,
    8: _communities,
    14: _reach,
    15: _unreach,
    17: _as4_path,
    32: _large,
}


def _attributes(data: bytes, width: int) -> _Attributes:
    out = _Attributes()
    while data:
        flags, code = data[0], data[1]
        if flags & 0x10:
            (length,), start = struct.unpack("!H", data[2:4]), 4
        else:
            length, start = data[2], 3
        value = data[start : start + length]
        if len(value) != length:
            raise ValueError(f"attribute {code} is cut short")
        data = data[start + length :]
        if code in out.seen:
            raise ValueError(f"attribute {code} twice")
        if code not in _DECODERS:
            raise ValueError(f"attribute {code} (flags {flags:#x}) is not expected")
        out.seen.append(code)
        _DECODERS[code](out, value, width)
    return out


def decode_update(body: bytes, at: float, width: int = 4) -> Update | EndOfRib:
    """Decode the body of an UPDATE.  ``width``: octets of an ASN in AS_PATH.

    Raises ValueError, struct.error or IndexError on what is malformed, and ValueError on what is
    not expected from an announcer of VIPs.
    """
    (length,) = struct.unpack("!H", body[:2])
    withdrawn = _prefixes(body[2 : 2 + length], AFI_IPV4)
    rest = body[2 + length :]
    (length,) = struct.unpack("!H", rest[:2])
    attributes = _attributes(rest[2 : 2 + length], width)
    nlri = _prefixes(rest[2 + length :], AFI_IPV4)
    if not withdrawn and not nlri and not attributes.seen:
        return EndOfRib(at, AFI_IPV4)
    if attributes.unreach is not None:
        afi, gone = attributes.unreach
        if not gone and attributes.seen == [15] and not withdrawn and not nlri:
            return EndOfRib(at, afi)
        withdrawn += gone
    announced = [(prefix, attributes.next_hop) for prefix in nlri]
    if attributes.reach is not None:
        hop, prefixes = attributes.reach
        announced += [(prefix, hop) for prefix in prefixes]
    if announced and attributes.as_path is None:
        raise ValueError("an UPDATE without AS_PATH")
    heard = []
    for prefix, next_hop in announced:
        if next_hop is None:
            raise ValueError(f"{prefix} without a next hop")
        heard.append(
            ReceivedRoute(
                prefix,
                attributes.as_path or (),
                next_hop,
                attributes.med,
                attributes.communities,
                attributes.large,
                attributes.local_pref,
            )
        )
    return Update(at, tuple(heard), withdrawn, body)


def decode_open(body: bytes, at: float) -> Opened:
    """Decode the body of an OPEN (RFC 4271, section 4.2; RFC 5492).

    Raises ValueError, struct.error or IndexError on what is malformed.
    """
    version, peer_as, hold, router, length = struct.unpack("!BHH4sB", body[:10])
    if version != 4 or length != len(body) - 10:
        raise ValueError(f"malformed OPEN: {body.hex()}")
    capabilities: dict[int, tuple[bytes, ...]] = {}
    data = body[10:]
    while data:
        kind, size = data[0], data[1]
        if kind != 2:
            raise ValueError(f"OPEN parameter {kind}")
        value, data = data[2 : 2 + size], data[2 + size :]
        while value:
            code, size = value[0], value[1]
            capabilities[code] = (*capabilities.get(code, ()), value[2 : 2 + size])
            value = value[2 + size :]
    if peer_as == AS_TRANS and 65 in capabilities:
        (peer_as,) = struct.unpack("!I", capabilities[65][0])
    return Opened(at, peer_as, hold, str(ipaddress.IPv4Address(router)), capabilities)
