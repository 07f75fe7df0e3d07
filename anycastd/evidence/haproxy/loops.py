"""Find servers of HAProxy that are HAProxy itself: the VIP, or this machine at its port (pure).

A VIP is on this machine's loopback interface, so a server with its address is never another
region: HAProxy connects to itself.  Its check always passes, because HAProxy answers it, and
requests go in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class LoopTargets:
    """The addresses and ports at which a connection of HAProxy comes back to HAProxy.

    ``vips`` lead back at every port: only this machine listens there.  ``local`` are other
    addresses of this machine; they lead back at ``ports``, those at which HAProxy is known to serve
    a VIP.  127.0.0.0/8 and ::1 need not be listed.
    """

    vips: frozenset[str] = frozenset()
    local: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset()


def find_loops(servers: Iterable[tuple[str, str]], targets: LoopTargets) -> Mapping[str, str]:
    """Find the servers that lead back to HAProxy: name -> why, in the order of ``servers``.

    ``servers`` are (name, address): the address is that of HAProxy's column ``addr`` or of a
    `server` line, with or without a port.
    """
    found = ((name, describe_loop(address, targets)) for name, address in servers)
    return {name: why for name, why in found if why}


@lru_cache(maxsize=1 << 14)
def describe_loop(address: str, targets: LoopTargets) -> str:
    """Describe why a server at ``address`` leads back to HAProxy; empty if it does not.

    ``address`` is an IP address, with a port after a colon or without one.  Names, Unix sockets and
    text of any other kind never lead back.
    """
    for host, port in _iter_readings(address):
        if str(host) in targets.vips:
            return f"a loop: {address} is a VIP of this machine, so HAProxy connects to itself"
        if host.is_unspecified and targets.vips:
            # Configuration manual, section 5.2: the server is what the client connected to.
            return f"a loop: {address} is the address that the client asked for, the VIP"
        if port in targets.ports and (host.is_loopback or str(host) in targets.local):
            return f"a loop: {address} is this machine, at the port of a VIP"
    return ""


def _iter_readings(address: str) -> Iterator[tuple[IPv4Address | IPv6Address, int | None]]:
    """Yield what an address may mean: the end of one without brackets may be a port."""
    host, _, port = address.rpartition(":")
    for text, number in ((address, ""), (host, port)):
        try:
            found = ip_address(text.strip("[]"))
        except ValueError:
            continue
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        yield mapped or found, int(number) if number.isdecimal() else None
