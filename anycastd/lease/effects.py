"""The lease's terms: what it is told at its start, what it asks its edge to do (stdlib only)."""

from __future__ import annotations

from dataclasses import dataclass

from anycastd.lease.commands import Command
from anycastd.lease.messages import Report


@dataclass(frozen=True, slots=True)
class SendCommand:
    """Say a command to ExaBGP; routes are answered in the order in which they were said."""

    command: Command


@dataclass(frozen=True, slots=True)
class SendReport:
    """Send a report to one connection."""

    report: Report
    to: int


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close a connection; ``why`` in words."""

    connection: int
    why: str


@dataclass(frozen=True, slots=True)
class WriteConfig:
    """Write the speaker's files from the profile on disk.

    Of the sessions that close for their change only those with ``reset`` may be changed now.
    """

    reset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReloadConfig:
    """Have ExaBGP read its configuration again."""


@dataclass(frozen=True, slots=True)
class KillSpeaker:
    """End ExaBGP: it does not answer, so its sessions must close; ``why`` in words."""

    why: str


@dataclass(frozen=True, slots=True)
class Log:
    """Something worth a line in the log."""

    text: str


Effect = SendCommand | SendReport | CloseConnection | WriteConfig | ReloadConfig | KillSpeaker | Log
