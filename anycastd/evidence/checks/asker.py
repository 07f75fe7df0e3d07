"""What each kind of check has in common: one run, and what ends it (I/O).

A run returns Seen, or raises UnseenError where it could not see: that proves nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import NamedTuple, Protocol

from anycastd.system.side_thread import SideThread

UNSEEN_ERRORS = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EACCES,
        errno.EPERM,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EINVAL,
        errno.EAGAIN,
    }
)
"""Errors that say something of this machine or this agent, and nothing of what is asked."""


class UnseenError(Exception):
    """A run could not see what it asks for; the text says why, for people."""


class Seen(NamedTuple):
    """What a run has seen: see ``CheckResult``."""

    passed: bool
    detail: str
    answered: bool = True
    step: int | None = None


class Asker(Protocol):
    """One kind of check, ready to run."""

    async def ask(self, timeout: float, step: int | None) -> Seen:
        """Run once; raises UnseenError.  The caller cancels it after ``timeout`` seconds.

        ``step`` is the step of a load that counts now.
        """

    def judge_late(self, timeout: float) -> Seen:
        """Judge a run that was cancelled after ``timeout`` seconds; raises UnseenError."""

    async def wait(self, delay: float) -> None:
        """Wait ``delay`` seconds, or until there is reason to run earlier."""

    async def close(self) -> None:
        """End what still runs, and give everything back."""

    def list_problems(self) -> list[str]:
        """List what is wrong with the way of asking."""


class PlainAsker:
    """Base of those that only wait for their time, and may have a thread of their own.

    ``waits_for`` says what of this machine a run waits for: while it does, being late proves
    nothing.  It is empty while the run waits for what it asks.
    """

    def __init__(self, name: str) -> None:
        self.thread = SideThread(name)
        self.waits_for = ""

    def judge_late(self, timeout: float) -> Seen:
        """Judge a run that was late: it failed, unless it waited for this machine."""
        if self.waits_for:
            raise UnseenError(f"{self.waits_for} did not come within {timeout:g} s")
        return Seen(passed=False, detail=f"no answer within {timeout:g} s", answered=False)

    async def wait(self, delay: float) -> None:
        """Wait ``delay`` seconds."""
        await asyncio.sleep(delay)

    async def close(self) -> None:
        """Let the thread end."""
        self.thread.close()

    def list_problems(self) -> list[str]:
        """List nothing: what is wrong is said by each run."""
        return []


def describe_error(error: OSError) -> str:
    """Describe an error in the system's words; asyncio's own texts name its calls."""
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)


def judge_error(error: OSError) -> Seen:
    """Judge an error of a connection: it failed, or it proves nothing (UnseenError)."""
    if error.errno in UNSEEN_ERRORS:
        raise UnseenError(describe_error(error)) from None
    refused = isinstance(error, ConnectionRefusedError)
    return Seen(
        passed=False, detail="refused" if refused else describe_error(error), answered=False
    )
