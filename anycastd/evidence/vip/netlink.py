"""The kernel's addresses and routes, read and changed by rtnetlink (RFC 3549, rtnetlink(7)).

Only what a loopback address needs.  pyroute2 can do it as well; importing any part of it costs the
agent 11 to 13 MB of the 60 that it may have, this file costs next to nothing (DESIGN.md).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

from anycastd.profile.model import Address, Network

# linux/netlink.h
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_REQUEST, _ACK, _INTERRUPTED, _EXCLUSIVE, _DUMP, _CREATE = 0x1, 0x4, 0x10, 0x200, 0x300, 0x400
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_ERROR_TEXT = 1
# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE = 24, 25
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDR = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, lengths, tos, table, protocol, scope, type, flags
_LINK_NAME = 3
_ADDR_ADDRESS, _ADDR_LOCAL = 1, 2
_ROUTE_DESTINATION, _ROUTE_METRIC = 1, 6
_UP, _NO_DAD, _SCOPE_GLOBAL, _SCOPE_HOST = 0x1, 0x02, 0, 254
_TABLE_MAIN, _BY_ADMINISTRATOR, _UNREACHABLE = 254, 4, 7
_ADDRESS_LENGTHS = (4, 16)
_GROUPS = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses

DAD_FAILED, TENTATIVE = 0x08, 0x40
"""Flags of an address (linux/if_addr.h): a duplicate was found, or is still searched (RFC 4862)."""
UNREACHABLE_METRIC = 4294967294
"""Metric of an unreachable route: the worst but one, so that any other route wins."""
_ANSWER_TIMEOUT = 5.0  # seconds; the kernel answers before send returns, so it never passes

Prefix = IPv4Interface | IPv6Interface
"""An address with its prefix length."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface.

    ``up``: its administrator has set it up (IFF_UP); this says nothing about its cable.
    """

    index: int
    up: bool


class NetlinkSocket:
    """A netlink socket for requests.  Every call blocks, so call it outside the event loop.

    The constructor and every request raise OSError where the kernel refuses, with the kernel's own
    text where it gave one, where it does not answer within 5 seconds, and where its answer cannot
    be read.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.settimeout(_ANSWER_TIMEOUT)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def find_link(self, name: str) -> Link | None:
        """Find the interface of that name; returns None if there is none.  Raises OSError."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _attribute(_LINK_NAME, name.encode() + b"\0")
        try:
            for kind, answer in self._request(_GETLINK, _ACK, body):
                if kind == _NEWLINK:
                    _, _, index, flags, _ = _LINK.unpack_from(answer)
                    return Link(index, bool(flags & _UP))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        return None

    def list_addresses(self) -> dict[tuple[int, Address], int]:
        """List every address of this host.  Raises OSError.

        Returns (interface's index, address) -> flags, such as TENTATIVE.
        """
        addresses = {}
        for kind, answer in self._request(_GETADDR, _DUMP, _ADDR.pack(0, 0, 0, 0, 0)):
            if kind == _NEWADDR and (address := _address(answer)) is not None:
                _, _, flags, _, index = _ADDR.unpack_from(answer)
                addresses[index, address] = flags
        return addresses

    def list_links(self) -> dict[int, tuple[str, Link]]:
        """List every interface: index -> (its name, its Link).  Raises OSError."""
        links = {}
        for kind, answer in self._request(_GETLINK, _DUMP, _LINK.pack(0, 0, 0, 0, 0)):
            if kind == _NEWLINK:
                _, _, index, flags, _ = _LINK.unpack_from(answer)
                name = dict(_attributes(answer[_LINK.size :])).get(_LINK_NAME, b"")
                text = name.rstrip(b"\0").decode(errors="surrogateescape")
                links[index] = (text, Link(index, bool(flags & _UP)))
        return links

    def list_prefixes(self) -> list[tuple[int, Prefix]]:
        """List (interface's index, address with its prefix length) of this host.  Raises OSError.

        An address that IPv6 still searches for duplicates is in it as well.
        """
        found: list[tuple[int, Prefix]] = []
        for kind, answer in self._request(_GETADDR, _DUMP, _ADDR.pack(0, 0, 0, 0, 0)):
            if kind == _NEWADDR and (address := _address(answer)) is not None:
                _, length, _, _, index = _ADDR.unpack_from(answer)
                found.append((index, ip_interface((address, length))))
        return found

    def add_address(self, index: int, vip: Network) -> None:
        """Add ``vip`` to the interface ``index``, if it is not there.  Raises OSError."""
        self._change(_NEWADDR, _CREATE | _EXCLUSIVE, _address_body(index, vip), errno.EEXIST)

    def delete_address(self, index: int, vip: Network) -> None:
        """Remove ``vip`` from the interface ``index``, if it is there.  Raises OSError."""
        self._change(_DELADDR, 0, _address_body(index, vip), errno.EADDRNOTAVAIL)

    def add_unreachable(self, vip: Network) -> bool:
        """Add the unreachable route for ``vip``.

        Returns whether it was missing.  Raises OSError.
        """
        return self._change(_NEWROUTE, _CREATE | _EXCLUSIVE, _route_body(vip), errno.EEXIST)

    def delete_unreachable(self, vip: Network) -> None:
        """Delete the unreachable route for ``vip``, if it is there.  Raises OSError."""
        self._change(_DELROUTE, 0, _route_body(vip), errno.ESRCH)

    def _change(self, kind: int, flags: int, body: bytes, harmless: int) -> bool:
        try:
            self._request(kind, flags | _ACK, body)
        except OSError as error:
            if error.errno != harmless:
                raise
            return False
        return True

    def _request(self, kind: int, flags: int, body: bytes) -> list[tuple[int, bytes]]:
        while True:
            self._sequence += 1
            length = _HEADER.size + len(body)
            head = _HEADER.pack(length, kind, _REQUEST | flags, self._sequence, 0)
            self._socket.send(head + body)
            answers, interrupted, done = [], False, False
            while not done:
                for kind_, flags_, sequence, answer in _messages(_receive(self._socket)):
                    if sequence != self._sequence:
                        continue  # the rest of an earlier answer
                    interrupted |= bool(flags_ & _INTERRUPTED)
                    if kind_ in {_ERROR, _DONE}:
                        _raise(answer)
                        done = True
                    else:
                        answers.append((kind_, answer))
            if not interrupted:  # else the table changed while it was read
                return answers


class AddressChanges:
    """A netlink socket with the kernel's messages about changes of interfaces and addresses.

    It never blocks.  The constructor raises OSError where the kernel gives no such socket.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _GROUPS))

    def fileno(self) -> int:
        """Return the file descriptor for an event loop."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def read(self) -> set[str | Address] | None:
        """Return the interfaces' names and the addresses that changed since the last call.

        None: the kernel had to drop some (ENOBUFS), so that anything may have changed.  Raises
        OSError where the socket fails in another way, or a message cannot be read: anything may
        have changed then, too.
        """
        changed: set[str | Address] = set()
        whole = True
        while True:
            try:
                data = _receive(self._socket)
            except BlockingIOError:
                return changed if whole else None
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                whole = False
                continue
            changed |= parse_changes(data)


def parse_changes(datagram: bytes) -> set[str | Address]:
    """Parse messages about changes: the names of the interfaces and the addresses that changed.

    A name that is not UTF-8 has surrogates, as in `os.fsdecode`.  Raises OSError where a length is
    wrong.
    """
    changed: set[str | Address] = set()
    for kind, _, _, body in _messages(datagram):
        if kind in {_NEWADDR, _DELADDR} and (address := _address(body)) is not None:
            changed.add(address)
        elif kind in {_NEWLINK, _DELLINK}:
            name = dict(_attributes(body[_LINK.size :])).get(_LINK_NAME, b"")
            changed.add(name.rstrip(b"\0").decode(errors="surrogateescape"))
    return changed


def _receive(netlink: socket.socket) -> bytes:
    """Receive one datagram of the kernel's; empty if another process has sent it."""
    data, (port, _) = netlink.recvfrom(1 << 16)
    return data if port == 0 else b""


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (type, flags, sequence, body) of each message in a datagram.

    Raises OSError where a length is wrong: what follows cannot be found then.
    """
    while len(data) >= _HEADER.size:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            raise OSError(errno.EBADMSG, "a netlink message has a wrong length")
        yield kind, flags, sequence, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _address(body: bytes) -> Address | None:
    found = dict(_attributes(body[_ADDR.size :]))
    value = found.get(_ADDR_LOCAL, found.get(_ADDR_ADDRESS))  # on a point-to-point link: ours
    # Other families have addresses of other lengths.
    return None if value is None or len(value) not in _ADDRESS_LENGTHS else ip_address(value)


def _raise(answer: bytes) -> None:
    """Raise OSError if the kernel refused; its own text is an attribute after the error."""
    (number,) = struct.unpack_from("=i", answer) if len(answer) >= 4 else (0,)  # noqa: PLR2004
    if number < 0:
        texts = dict(_attributes(answer[4 + _HEADER.size :])).get(_ERROR_TEXT, b"")
        text = os.strerror(-number)
        detail = texts.rstrip(b"\0").decode(errors="replace").strip(" .")
        raise OSError(-number, f"{text} ({detail})" if detail else text)


def _address_body(index: int, vip: Network) -> bytes:
    address = vip.network_address
    # Host scope: the VIP answers, and never becomes the source of this host's own connections.
    scope = _SCOPE_HOST if vip.version == 4 else _SCOPE_GLOBAL  # noqa: PLR2004
    flags = 0 if vip.version == 4 else _NO_DAD  # noqa: PLR2004
    family = socket.AF_INET if vip.version == 4 else socket.AF_INET6  # noqa: PLR2004
    return (
        _ADDR.pack(family, vip.prefixlen, flags, scope, index)
        + _attribute(_ADDR_LOCAL, address.packed)
        + _attribute(_ADDR_ADDRESS, address.packed)
    )


def _route_body(vip: Network) -> bytes:
    family = socket.AF_INET if vip.version == 4 else socket.AF_INET6  # noqa: PLR2004
    return (
        _ROUTE.pack(family, vip.prefixlen, 0, 0, _TABLE_MAIN, _BY_ADMINISTRATOR, 0, _UNREACHABLE, 0)
        + _attribute(_ROUTE_DESTINATION, vip.network_address.packed)
        + _attribute(_ROUTE_METRIC, struct.pack("=I", UNREACHABLE_METRIC))
    )
