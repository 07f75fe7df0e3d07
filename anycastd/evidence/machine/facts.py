"""Values that were read of this machine (pure).

None: it could not be read, see ``Machine.unread``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface
from typing import Any, NamedTuple

from anycastd.profile.model import Address


class MachineProblem(NamedTuple):
    """One thing of this machine that does not fit the profile; the remedy says what to do.

    ``hopeless``: with it the profile cannot work here.
    """

    message: str
    remedy: str
    hopeless: bool = False

    def __str__(self) -> str:
        """Return message and remedy as one line."""
        return f"{self.message}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface with its addresses.

    ``up``: its administrator has set it up.  ``rp_filter``: the kernel's value that applies to it
    (ip-sysctl: 0 off, 1 strict, 2 loose), None where it could not be read.
    """

    name: str
    up: bool
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    rp_filter: int | None = None

    @property
    def is_loopback(self) -> bool:
        """Return whether it is the loopback, whose addresses no host asks for by ARP."""
        return self.name == "lo"


class Process(NamedTuple):
    """A process: its id, and its command line as it is printed."""

    pid: int
    command: str
    ours: bool = False

    def __str__(self) -> str:
        """Return how a message names it."""
        return f"{self.command} (pid {self.pid})"


class Socket(NamedTuple):
    """A TCP or UDP socket of this network namespace.

    ``state`` is TCP's number of the kernel (include/net/tcp_states.h); for UDP, 7.
    """

    local: Address
    port: int
    remote: Address
    remote_port: int
    state: int
    inode: int


class Route(NamedTuple):
    """An IPv4 route: destination, interface, metric."""

    destination: IPv4Network
    interface: str
    metric: int


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts.

    ``tcp`` and ``udp``: sockets.  ``owners``: inode of a socket with port 179 -> its process.
    ``unroutable``: address of a neighbor -> why the kernel has no route to it.  ``clock_in_step``:
    the kernel's clock is synchronised.  ``conntrack``: (entries, at most).  ``ruleset``: nftables'
    rules, as ``nft --json list ruleset`` prints them.  ``unread``: what could not be looked at,
    as words for a list.
    """

    interfaces: tuple[Interface, ...] | None = None
    routes: tuple[Route, ...] | None = None
    tcp: tuple[Socket, ...] | None = None
    udp: tuple[Socket, ...] | None = None
    owners: Mapping[int, Process] = field(default_factory=dict)
    unroutable: Mapping[Address, str] = field(default_factory=dict)
    clock_in_step: bool | None = None
    conntrack: tuple[int, int] | None = None
    ruleset: tuple[Mapping[str, Any], ...] | None = None
    unread: tuple[str, ...] = ()

    @property
    def addresses(self) -> frozenset[Address]:
        """Return all addresses of this machine; empty where they could not be read."""
        return frozenset(each.ip for link in self.interfaces or () for each in link.addresses)

    def find_interfaces(self, address: Address) -> list[Interface]:
        """Return the interfaces that have the address."""
        links = self.interfaces or ()
        return [link for link in links if any(each.ip == address for each in link.addresses)]
