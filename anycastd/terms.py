"""The lease's terms: what it is told at its start, what it asks its edge to do (stdlib only)."""

from __future__ import annotations

from dataclasses import dataclass

from anycastd.lease import Announce, AskRib, AskSessions, Command, Ping, Report, Withdraw


@dataclass(frozen=True, slots=True)
class Settings:
    """What a lease is told at its start.

    ``prefixes`` are all it will ever announce, to ``neighbors`` only, ``local_as`` first in each
    path.  ``ttl_max`` bounds a lease, ``inherit`` is how long a lease that finds routes in ExaBGP
    at its start keeps them without a holder, ``answer_within`` is how long ExaBGP may take to
    answer: seconds.  ``config`` and ``vips`` are hashes of the sessions and of the prefixes;
    ``able``: this speaker can take over others of both while it runs.
    """

    instance: str
    prefixes: frozenset[str]
    neighbors: tuple[str, ...]
    local_as: int
    ttl_max: float
    inherit: float
    answer_within: float = 4.0
    ping_every: float = 1.0
    read_every: float = 30.0
    settle: float = 1.0
    config: str = ""
    vips: str = ""
    able: bool = False


@dataclass(frozen=True, slots=True)
class Say:
    """Say a command to ExaBGP; routes are answered in the order in which they were said."""

    command: Command


@dataclass(frozen=True, slots=True)
class Send:
    """Send a report to one connection."""

    report: Report
    to: int


@dataclass(frozen=True, slots=True)
class Hang:
    """Close a connection; ``why`` in words."""

    connection: int
    why: str


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Write the speaker's files from the profile on disk.

    Of the sessions that close for their change only those with ``reset`` may be changed now.
    """

    reset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reread:
    """Have ExaBGP read its configuration again."""


@dataclass(frozen=True, slots=True)
class EndExabgp:
    """End ExaBGP: it does not answer, so its sessions must close; ``why`` in words."""

    why: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a line in the log."""

    text: str


Effect = Say | Send | Hang | Rewrite | Reread | EndExabgp | Note


def words(command: Command) -> str:
    """Name a command to ExaBGP in words."""
    match command:
        case Announce(route):
            return f"announce {route.prefix} to {route.neighbor}"
        case Withdraw(route):
            return f"withdraw {route.prefix} from {route.neighbor}"
        case Ping():
            return "version"
        case AskSessions():
            return "session states"
        case AskRib():
            return "adj-rib-out"
