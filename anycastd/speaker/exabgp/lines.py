"""ExaBGP's words: route -> line, line -> route, session or reason (stdlib only, pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from anycastd.bgp import session
from anycastd.bgp.route import Route, canonicalize
from anycastd.bgp.session import Session
from anycastd.lease.commands import Announce, Command, Withdraw

MAX_ROUTES_PER_LINE = 100


_NOTIFIED = re.compile(r"notification (sent|received) \((\d+), ?(\d+)\)")


def describe_reason(reason: str) -> str:
    """Say why a session is down; what is not known here is left as ExaBGP says it."""
    if 'decode update message of type "3"' in reason:  # 4.2 and a Cease with a text (RFC 9003)
        return session.UNREAD
    if found := _NOTIFIED.search(reason):
        return session.describe_notification(int(found[2]), int(found[3]), sent=found[1] == "sent")
    return session.NO_CONNECTION if "closing connection" in reason else reason


def format_announce(*routes: Route) -> str:
    """Write the command that announces or replaces a route, or several that differ in prefix only.

    Raises ValueError as ``canonical`` does.
    """
    route, *others = map(canonicalize, routes)
    what = "attributes" if others else f"route {route.prefix}"
    words = [f"neighbor {route.neighbor} announce {what} next-hop {route.next_hop}"]
    words.append(f"as-path [ {' '.join(map(str, route.as_path))} ]")
    if route.med is not None:
        words.append(f"med {route.med}")
    for name, colons in (("community", 1), ("large-community", 2)):
        values = [value for value in route.communities if value.count(":") == colons]
        if values:
            words.append(f"{name} [ {' '.join(values)} ]")
    return " ".join([*words, *_nlri(route, others)])


def format_withdraw(*routes: Route) -> str:
    """Write the command that withdraws a route, or several that differ in prefix and path only.

    Raises ValueError as ``canonical`` does.
    """
    route, *others = map(canonicalize, routes)
    what = "attributes" if others else f"route {route.prefix}"
    line = f"neighbor {route.neighbor} withdraw {what} next-hop {route.next_hop}"
    return " ".join([line, *_nlri(route, others)])


def _nlri(route: Route, others: Iterable[Route]) -> list[str]:
    prefixes = [other.prefix for other in others]
    return ["nlri", route.prefix, *prefixes] if prefixes else []


def group_commands(commands: Iterable[Command]) -> Iterator[list[Command]]:
    """Put together what one line can say; the order of what concerns one route stays."""
    found: dict[object, list[Command]] = {}
    keys: set[tuple[type, tuple[str, str]]] = set()
    kind: type | None = None
    for command in commands:
        if not isinstance(command, Announce | Withdraw):
            yield from found.values()
            found, kind = {}, None
            yield [command]
            continue
        route = command.route
        if type(command) is not kind or (kind, route.key) in keys:
            yield from found.values()
            found, keys, kind = {}, set(), type(command)
        keys.add((kind, route.key))
        same: object = (route.neighbor, route.next_hop, ":" in route.prefix)
        if isinstance(command, Announce):
            same = (same, route.as_path, route.med, route.communities)
        group = found.setdefault(same, [])
        group.append(command)
        if len(group) == MAX_ROUTES_PER_LINE:
            yield found.pop(same)
    yield from found.values()


def parse_session_row(line: str) -> tuple[str, Session]:
    """Read a row of the summary: ``127.0.0.2  65515  1 day, 0:00:03 established  5  0``."""
    # The third word says "down" during a session's first second; the state does not.
    found = re.fullmatch(r"(\S+) .* (\w+) +\d+ +\d+", line)
    if found is None:
        raise ValueError(line)
    neighbor, state = found.groups()
    return str(ip_address(neighbor)), Session.UP if state == "established" else Session.DOWN


def parse_route_row(line: str) -> Route:
    """Read a row of ``show adj-rib out extensive``; ValueError names what is unknown.

    ``neighbor A local-ip .. family-allowed F ipv4 unicast P next-hop N as-path [ .. ] ..``, where
    5.0 writes ``( .. )``, a list of one may stand without brackets, and an empty one is nothing.
    """
    words = line.split()
    if "unicast" not in words:
        raise ValueError(line)
    start = words.index("unicast") + 1
    values: dict[str, list[str]] = {}
    name = ""
    known = ("next-hop", "as-path", "med", "community", "large-community")
    for word in words[start + 1 :]:
        if word in known:
            name = word
            values[name] = []
        elif word in "[]()":
            continue
        elif not name:
            raise ValueError(f"{word!r} in {line!r}")
        else:
            values[name].append(word)
    try:
        (next_hop,) = values["next-hop"]
        med = [int(value) for value in values.get("med", [])]
        route = Route(
            neighbor=words[1],
            prefix=words[start],
            next_hop=next_hop,
            as_path=tuple(int(value) for value in values["as-path"]),
            med=med[0] if med else None,
            communities=(*values.get("community", []), *values.get("large-community", [])),
        )
        return canonicalize(route)
    except (KeyError, ValueError, IndexError) as problem:
        raise ValueError(f"{line!r} ({problem})") from None
