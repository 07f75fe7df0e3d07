"""Commands to a BGP speaker and facts from it, independent of the speaker (stdlib only, pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session


@dataclass(frozen=True, slots=True)
class Announce:
    """Announce a route, or replace the one that its neighbor has for the prefix."""

    route: Route


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Withdraw a route that was announced before."""

    route: Route


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask for the version; ExaBGP answers this at once."""


@dataclass(frozen=True, slots=True)
class QuerySessions:
    """Ask which neighbors have an established session."""


@dataclass(frozen=True, slots=True)
class QueryAdjRibOut:
    """Ask for the routes in the adj-rib-out of all neighbors."""


Command = Announce | Withdraw | Ping | QuerySessions | QueryAdjRibOut


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to ``command``.  ExaBGP's answers carry no id, so they are matched in order.

    ``error`` is None where ExaBGP did it.  ``version`` is set for Ping, ``sessions`` (neighbor ->
    Session) for QuerySessions, ``rib`` for QueryAdjRibOut.
    """

    command: Command
    error: str | None = None
    version: str | None = None
    sessions: Mapping[str, Session] | None = None
    rib: tuple[Route, ...] | None = None


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """The session with ``neighbor`` came up or went down.

    ``detail`` is the reason that ExaBGP gave, as text; it may be empty.
    """

    neighbor: str
    session: Session
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ConfigLoaded:
    """ExaBGP has loaded its configuration: ``config`` is the hash of what it runs now.

    ``error`` is None where it took the new one.  Otherwise it keeps the old one, and ``error``
    says why.
    """

    config: str
    error: str | None = None


Fact = Answer | SessionChanged | ConfigLoaded


def describe_command(command: Command) -> str:
    """Describe a command in a few words, for logs and reports."""
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
