"""Commands to a BGP speaker and facts from it, independent of the speaker (stdlib only, pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.route import Route
from anycastd.bgp.session import Session


@dataclass(frozen=True, slots=True)
class Announce:
    """Command: announce a route; it replaces the neighbor's one for the prefix (RFC 4271, 3.1)."""

    route: Route


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Command: withdraw a route that was announced before (RFC 4271 section 3.1)."""

    route: Route


@dataclass(frozen=True, slots=True)
class Ping:
    """Query: the speaker's version; ExaBGP answers this at once."""


@dataclass(frozen=True, slots=True)
class QuerySessions:
    """Query: which neighbors have an established session."""


@dataclass(frozen=True, slots=True)
class QueryAdjRibOut:
    """Query: the routes in the adj-rib-out of all neighbors."""


Command = Announce | Withdraw | Ping | QuerySessions | QueryAdjRibOut
"""A command or a query to the speaker."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Fact: the speaker's answer to ``command``.

    ``error`` is None where ExaBGP did it, else ExaBGP's text.  ``version`` is set for Ping,
    ``sessions`` (neighbor's address -> Session) for QuerySessions, ``rib`` (all routes) for
    QueryAdjRibOut.  ExaBGP's answers carry no id, so they are matched in order.
    """

    command: Command
    error: str | None = None
    version: str | None = None
    sessions: Mapping[str, Session] | None = None
    rib: tuple[Route, ...] | None = None


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """Fact: the session with ``neighbor`` (its address) came up or went down.

    ``detail`` is the reason that ExaBGP gave, as text; it may be empty.
    """

    neighbor: str
    session: Session
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SessionNegotiated:
    """Fact: what was agreed on with ``neighbor`` (its address), for the session that comes up next.

    A speaker may repeat it for the session that is up.
    """

    neighbor: str
    negotiated: Negotiated


@dataclass(frozen=True, slots=True)
class ConfigLoaded:
    """Fact: ExaBGP has loaded its configuration, or refused it.

    ``config`` is the hash of the configuration that it runs now.  ``error`` is None where it runs
    the new one.  Otherwise it keeps the old one, and ``error`` says why.
    """

    config: str
    error: str | None = None


Fact = Answer | SessionChanged | SessionNegotiated | ConfigLoaded
"""What the speaker reports."""


def describe_command(command: Command) -> str:
    """Describe a command in a few words, for logs and reports; returns one line."""
    match command:
        case Announce(route):
            return f"announce {route.prefix} to {route.neighbor}"
        case Withdraw(route):
            return f"withdraw {route.prefix} from {route.neighbor}"
        case Ping():
            return "version"
        case QuerySessions():
            return "session states"
        case QueryAdjRibOut():
            return "adj-rib-out"
