"""Commands to a speaker and facts from it, in no speaker's own words (stdlib only, pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session


@dataclass(frozen=True, slots=True)
class Announce:
    """Announce (or replace) a route."""

    route: Route


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Withdraw a route that was announced before."""

    route: Route


@dataclass(frozen=True, slots=True)
class Ping:
    """A question that ExaBGP answers at once, with its version."""


@dataclass(frozen=True, slots=True)
class QuerySessions:
    """Which neighbors have a session."""


@dataclass(frozen=True, slots=True)
class QueryAdjRibOut:
    """What stands in ExaBGP's adj-rib-out, per neighbor."""


Command = Announce | Withdraw | Ping | QuerySessions | QueryAdjRibOut


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a command: routes are matched in order, since ExaBGP's answers carry no id.

    ``error`` is None when ExaBGP said it was done.  ``version`` is set for Ping, ``sessions``
    (neighbor -> Session) for AskSessions, ``rib`` for AskRib.
    """

    command: Command
    error: str | None = None
    version: str | None = None
    sessions: Mapping[str, Session] | None = None
    rib: tuple[Route, ...] | None = None


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """A neighbor's session came up or went down; ``why`` is ExaBGP's reason, may be empty."""

    neighbor: str
    session: Session
    why: str = ""


@dataclass(frozen=True, slots=True)
class ConfigLoaded:
    """ExaBGP has read its configuration again: ``config`` is the hash of what it runs now.

    ``error`` is None when it took it; else it keeps what it had, and this says why.
    """

    config: str
    error: str | None = None


Fact = Answer | SessionChanged | ConfigLoaded


def describe_command(command: Command) -> str:
    """Name a command to ExaBGP in words."""
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
