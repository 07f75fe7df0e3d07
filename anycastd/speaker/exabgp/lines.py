"""One line of ExaBGP's API: route -> line; line -> route, session or reason (stdlib only, pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from anycastd.bgp import session
from anycastd.bgp.route import Route, canonicalize_route
from anycastd.bgp.session import Session
from anycastd.lease.commands import Announce, Command, Withdraw
from anycastd.speaker.exabgp.contract import NOT_TAKEN, parse_peer_as

MAX_ROUTES_PER_LINE = 100
"""Routes in one line at most: a line of ExaBGP's API may have about 16 kB."""

_NOTIFIED = re.compile(r"notification (sent|received) \((\d{1,3}), ?(\d{1,3})\)")
_NO_REASONS = ("", "peer reset, message () error()")  # of 5.0, of 4.2
_SESSION_COLUMNS = 5  # at least: address, ASN, time, state and two numbers; some have more words


def describe_reason(reason: str | None) -> str:
    """Describe why a session is down; a reason that is not known here is returned unchanged.

    ``reason`` is the text of ExaBGP's event, None: the event cannot be read.  The codes of a
    NOTIFICATION are described by ``bgp.session`` (RFC 4271, section 4.5).
    """
    if (
        reason is None or 'decode update message of type "3"' in reason
    ):  # 4.2 and a Cease with a text (RFC 9003)
        return session.UNREADABLE
    if reason in _NO_REASONS:
        return session.NO_REASON
    if NOT_TAKEN in reason:
        return session.NOT_TAKEN
    if found := _NOTIFIED.search(reason):
        text = session.describe_notification(int(found[2]), int(found[3]), sent=found[1] == "sent")
        peer_as = parse_peer_as(reason)
        return text if peer_as is None else f"{text}; it has AS {peer_as}"
    return session.NO_CONNECTION if "closing connection" in reason else reason


def format_announce(*routes: Route) -> str:
    """Format the command that announces or replaces routes that differ in prefix only.

    Returns one line without a newline, by ExaBGP's manual: ``announce route``, or ``announce
    attributes`` for several routes.

    Raises ValueError for a route that ``canonicalize_route`` refuses, and without a route.
    """
    route, *more = map(canonicalize_route, routes)
    what = "attributes" if more else f"route {route.prefix}"
    parts = [f"neighbor {route.neighbor} announce {what} next-hop {route.next_hop}"]
    parts.append(f"as-path [ {' '.join(map(str, route.as_path))} ]")
    if route.med is not None:
        parts.append(f"med {route.med}")
    if route.local_pref is not None:
        parts.append(f"local-preference {route.local_pref}")
    for name, colons in (("community", 1), ("large-community", 2)):
        values = [value for value in route.communities if value.count(":") == colons]
        if values:
            parts.append(f"{name} [ {' '.join(values)} ]")
    return " ".join([*parts, *_nlri(route, more)])


def format_withdraw(*routes: Route) -> str:
    """Format the command that withdraws routes that differ in prefix and path only.

    Returns one line without a newline, by ExaBGP's manual: ``withdraw route``, or ``withdraw
    attributes`` for several routes.

    Raises ValueError for a route that ``canonicalize_route`` refuses, and without a route.
    """
    route, *more = map(canonicalize_route, routes)
    what = "attributes" if more else f"route {route.prefix}"
    line = f"neighbor {route.neighbor} withdraw {what} next-hop {route.next_hop}"
    return " ".join([line, *_nlri(route, more)])


def _nlri(route: Route, more: Iterable[Route]) -> list[str]:
    prefixes = [each.prefix for each in more]
    return ["nlri", route.prefix, *prefixes] if prefixes else []


def group_commands(commands: Iterable[Command]) -> Iterator[list[Command]]:
    """Group the commands that fit into one line each.

    Yields groups of ``MAX_ROUTES_PER_LINE`` commands at most.  Commands about the same route stay
    in their order; a command that is about no route is a group of its own.
    """
    groups: dict[object, list[Command]] = {}
    keys: set[tuple[type, tuple[str, str]]] = set()
    kind: type | None = None
    for command in commands:
        if not isinstance(command, Announce | Withdraw):
            yield from groups.values()
            groups, kind = {}, None
            yield [command]
            continue
        route = command.route
        if type(command) is not kind or (kind, route.key) in keys:
            yield from groups.values()
            groups, keys, kind = {}, set(), type(command)
        keys.add((kind, route.key))
        same: object = (route.neighbor, route.next_hop, ":" in route.prefix)
        if isinstance(command, Announce):
            same = (same, route.as_path, route.med, route.communities, route.local_pref)
        group = groups.setdefault(same, [])
        group.append(command)
        if len(group) == MAX_ROUTES_PER_LINE:
            yield groups.pop(same)
    yield from groups.values()


def parse_session_row(line: str) -> tuple[str, Session]:
    """Parse a row of the summary: ``127.0.0.2  65515  1 day, 0:00:03 established  5  0``.

    Returns the neighbor's address and its session.  Raises ValueError for any other line.
    """
    # The third column is "down" during a session's first second; the state is right.
    fields = line.split()
    if len(fields) < _SESSION_COLUMNS or not (fields[-1] + fields[-2]).isdecimal():
        raise ValueError(line)
    neighbor, state = fields[0], fields[-3]
    return str(ip_address(neighbor)), Session.UP if state == "established" else Session.DOWN


def parse_route_row(line: str) -> Route:
    """Parse a row of ``show adj-rib out extensive``.

    ``neighbor A local-ip .. family-allowed F ipv4 unicast P next-hop N as-path [ .. ] ..``, where
    5.0 writes ``( .. )``; a list with one value may have no brackets, an empty one is blank.

    Raises ValueError for a row that it cannot read in full.
    """
    fields = line.split()
    if "unicast" not in fields:
        raise ValueError(line)
    start = fields.index("unicast") + 1
    values: dict[str, list[str]] = {}
    name = ""
    keywords = ("next-hop", "as-path", "med", "local-preference", "community", "large-community")
    for word in fields[start + 1 :]:
        if word in keywords:
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
        med, local_pref = (
            [int(value) for value in values.get(name, [])] for name in ("med", "local-preference")
        )
        route = Route(
            neighbor=fields[1],
            prefix=fields[start],
            next_hop=next_hop,
            as_path=tuple(int(value) for value in values["as-path"]),
            med=med[0] if med else None,
            local_pref=local_pref[0] if local_pref else None,
            communities=(*values.get("community", []), *values.get("large-community", [])),
        )
        return canonicalize_route(route)
    except (KeyError, ValueError, IndexError) as problem:
        raise ValueError(f"{line!r} ({problem})") from None
