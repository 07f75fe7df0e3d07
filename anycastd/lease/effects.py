"""Effects: what the lease's state machines ask the lease process to do (stdlib only, pure)."""

from __future__ import annotations

from dataclasses import dataclass

from anycastd.lease.commands import Command
from anycastd.lease.messages import Report


@dataclass(frozen=True, slots=True)
class SendCommand:
    """Effect: send a command to the speaker.

    Commands for routes are answered in the order of sending.
    """

    command: Command


@dataclass(frozen=True, slots=True)
class SendReport:
    """Effect: send a report to the agent on the connection with the number ``to``."""

    report: Report
    to: int


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Effect: close the connection with the number ``connection``; ``detail`` says why."""

    connection: int
    detail: str


@dataclass(frozen=True, slots=True)
class WriteConfig:
    """Effect: write the speaker's files from the profile on disk.

    A session that must close for its change is changed only where its neighbor's address is in
    ``reset``.
    """

    reset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReloadConfig:
    """Effect: have the speaker load its configuration again."""


@dataclass(frozen=True, slots=True)
class KillSpeaker:
    """Effect: kill the speaker, so that its sessions close; ``detail`` says why.

    A closed session removes its routes at the neighbor (RFC 4271 section 3.1).
    """

    detail: str


@dataclass(frozen=True, slots=True)
class Log:
    """Effect: write one line to the log."""

    text: str


Effect = SendCommand | SendReport | CloseConnection | WriteConfig | ReloadConfig | KillSpeaker | Log
"""What the lease process is asked to do; effects are carried out in their order."""
