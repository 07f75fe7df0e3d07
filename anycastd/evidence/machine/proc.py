"""Texts of /proc -> sockets and routes (pure).  See proc(5), section /proc/pid/net."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Literal

from anycastd.evidence.machine.facts import Route, Socket
from anycastd.profile.model import Address

ESTABLISHED, LISTENING = 0x01, 0x0A
"""States of TCP sockets, as the kernel numbers them."""
_WORD = 8  # digits of a 32 bit word
# Every machine on which Debian has HAProxy and Python but s390x has this order of bytes.
_ORDER: Literal["little"] = "little"
_UP, _REJECT = 0x1, 0x200  # linux/route.h


def parse_sockets(text: str) -> Iterator[Socket]:
    """Yield the sockets of ``/proc/net/tcp``, ``tcp6``, ``udp`` or ``udp6``.

    Lines that are not of that form are left out: a newer kernel may have others.
    """
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            (local, port), (remote, remote_port) = map(_parse_end, fields[1:3])
            yield Socket(local, port, remote, remote_port, int(fields[3], 16), int(fields[9]))
        except (ValueError, IndexError):
            continue


def _parse_end(text: str) -> tuple[Address, int]:
    """Parse ``0100007F:00B3``: each word of the address in this machine's order of bytes."""
    digits, _, port = text.partition(":")
    words = (digits[place : place + _WORD] for place in range(0, len(digits), _WORD))
    packed = b"".join(int(word, 16).to_bytes(4, _ORDER) for word in words)
    if len(packed) == 4:  # noqa: PLR2004 - IPv4
        return IPv4Address(packed), int(port, 16)
    address = IPv6Address(packed)
    return address.ipv4_mapped or address, int(port, 16)


def parse_routes(text: str) -> Iterator[Route]:
    """Yield the routes of ``/proc/net/route`` (IPv4, main table) that lead to an interface."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            name, destination, flags, metric, mask = (fields[at] for at in (0, 1, 3, 6, 7))
            if not int(flags, 16) & _UP or int(flags, 16) & _REJECT:
                continue
            packed = (int(each, 16).to_bytes(4, _ORDER) for each in (destination, mask))
            address, netmask = map(IPv4Address, packed)
            yield Route(IPv4Network((address, str(netmask))), name, int(metric))
        except (ValueError, IndexError):
            continue


def find_route(routes: Iterable[Route], address: IPv4Address) -> str | None:
    """Return the interface of the longest prefix that has ``address``, None if there is none."""
    fitting = [route for route in routes if address in route.destination]
    best = max(
        fitting, key=lambda route: (route.destination.prefixlen, -route.metric), default=None
    )
    return best.interface if best else None
