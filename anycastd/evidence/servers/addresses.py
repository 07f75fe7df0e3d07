"""Find the servers that a connection can be asked of, and where (pure).

HAProxy's column ``addr`` has ``ADDRESS:PORT`` (``[ADDRESS]:PORT`` for IPv6) where the socket has
the level `operator`, and nothing at the level `user` (management manual, section 9.1).

Only where the agent's connection would be what HAProxy's check and traffic do is a server asked::

    server                                  asked  because
    IPv4 or IPv6 address and port           yes
    its name was resolved by HAProxy        yes    the column has the address that HAProxy uses
    UNIX socket, abstract socket            no     it has no TCP address
    no address in the column                no     the socket's level is `user`
    0.0.0.0, ::, multicast, port 0          no     HAProxy connects to another address
    link-local IPv6 address                 no     the column does not name the interface
    no check of HAProxy's, agent alone      no     nothing would show that it is back
    tracks a server at another address      no     the check says nothing of its own address
    DOWN, DRAIN, MAINT, weight 0            no     it does not count
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from anycastd.evidence.haproxy.check_results import Row
from anycastd.evidence.haproxy.judged_rows import find_target
from anycastd.evidence.haproxy.servers import Override, Usable, override_servers
from anycastd.evidence.haproxy.snapshot import Snapshot

ServerKey = tuple[str, str]
"""A server: (backend, server)."""


class Target(NamedTuple):
    """Where a server is asked: ``host`` is an IP address, ``ipv6`` its family.

    ``address`` is the text in HAProxy's column.
    """

    address: str
    host: str
    port: int
    ipv6: bool


@lru_cache(maxsize=1 << 14)
def parse_target(address: str) -> Target | None:
    """Parse HAProxy's column ``addr``; None: no server is asked at this address."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or len(port) > len("65535"):
        return None
    try:
        found = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    ipv6 = found.version == 6  # noqa: PLR2004 - the version of IP
    link_local = ipv6 and found.is_link_local
    if found.is_unspecified or found.is_multicast or link_local or not 0 < int(port) < 1 << 16:
        return None
    return Target(address, str(found), int(port), ipv6)


def find_checker(row: Row, seen: Snapshot) -> Row | None:
    """Find the row whose check stands for the server in ``row``; None if it is not known.

    It is the server's own, or that of the server at the end of what it tracks.
    """
    return find_target(row, seen.judged.rows) if row.tracked else row


def iter_askable(
    seen: Snapshot, backend: str, overrides: Mapping[str, Override]
) -> Iterator[tuple[ServerKey, Target]]:
    """Yield the servers of ``backend`` that count, and can be asked: see the table above.

    ``overrides``: server -> what an earlier answer has made of it; a backup counts once these leave
    no other server.
    """
    found, rows = seen.backends.get(backend), seen.judged.rows.get(backend, {})
    if found is None:
        return
    counting = override_servers(found.servers, overrides) if overrides else found.servers
    for server in counting:
        if server.usable is Usable.NO and server.name not in overrides:
            continue
        row = rows.get(server.name)
        if row is None or row.word != "UP":
            continue
        checker = find_checker(row, seen)
        target = parse_target(row.addr)
        if target is None or checker is None or not checker.check or checker.addr != row.addr:
            continue
        yield (backend, server.name), target
