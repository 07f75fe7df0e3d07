"""Processes by their PIDs: descendants, signals, and an end for what somebody froze."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

END_TIMEOUT = 15.0
"""Seconds that a process of the lab gets to end, once it has been continued."""


def child_pids(pid: int) -> list[int]:
    """Return the PIDs of a process's children, oldest first; empty if it has ended."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    except OSError:
        return []
    return [int(child) for child in text.split()]


def descendant_pids(pid: int) -> list[int]:
    """Return the PIDs of a process's descendants, parents first."""
    found = child_pids(pid)
    for child in found:
        found.extend(child_pids(child))
    return found


def has_ended(pid: int) -> bool:
    """Return whether a process has ended, including one that is still a zombie."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            in "ZX"
        )
    except OSError:
        return True


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each of the processes that still run; raises PermissionError."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end_process(popen: subprocess.Popen[Any]) -> None:
    """Wait for the end of a process; continue it if it is frozen, and kill it if it does not end.

    nsenter stops itself together with its child, and stays so when the child is killed.
    """
    for timeout, numbers in (
        (1.0, (signal.SIGCONT,)),
        (END_TIMEOUT, (signal.SIGCONT, signal.SIGKILL)),
        (None, ()),
    ):
        try:
            popen.wait(timeout)
        except subprocess.TimeoutExpired:
            for number in numbers:
                signal_all([popen.pid, *descendant_pids(popen.pid)], number)
        else:
            return
