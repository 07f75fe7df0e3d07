"""Effects: what the lease's state machines ask the lease process to do (stdlib only, pure)."""

from __future__ import annotations

from dataclasses import dataclass

from anycastd.lease.commands import Command
from anycastd.lease.messages import Report


@dataclass(frozen=True, slots=True)
class SendCommand:
    """Send a command to the speaker.  Commands for routes are answered in the order of sending."""

    command: Command


@dataclass(frozen=True, slots=True)
class SendReport:
    """Send a report to the agent on connection ``to``."""

    report: Report
    to: int


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close a connection; ``detail`` says why."""

    connection: int
    detail: str


@dataclass(frozen=True, slots=True)
class WriteConfig:
    """Write the speaker's files from the profile on disk.

    Sessions that must close for their change are changed only where their neighbor is in
    ``reset``.
    """

    reset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReloadConfig:
    """Have the speaker load its configuration again."""


@dataclass(frozen=True, slots=True)
class KillSpeaker:
    """Kill the speaker: it does not answer, so its sessions must close.  ``detail`` says why."""

    detail: str


@dataclass(frozen=True, slots=True)
class Log:
    """Write a line to the log."""

    text: str


Effect = SendCommand | SendReport | CloseConnection | WriteConfig | ReloadConfig | KillSpeaker | Log
