"""Read processes from /proc and send signals; a process that has ended is no error."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

# Write it before a command that a signal is to end: the tests may have inherited that signal as
# ignored.  A shell that is not interactive ignores SIGINT in what it starts in the background.
WITH_ALL_SIGNALS = ("env", "--default-signal")


def list_processes() -> list[int]:
    """List the pids of this network namespace, without this process."""
    our_namespace = os.readlink("/proc/thread-self/ns/net")
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/ns/net") == our_namespace:
                    found.append(int(name))
    return found


def list_children(pid: int) -> list[int]:
    """List the pids of the children of a process; empty if it has ended."""
    with contextlib.suppress(OSError):
        return [
            int(word)
            for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        ]
    return []


def list_threads_children(pid: int) -> list[int]:
    """List the pids of the children of all threads of a process, those that have ended too."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in path.read_text(encoding="utf-8").split()]
    return found


def read_command_line(pid: int) -> str:
    """Read a command line, its words separated by spaces; empty if the process has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def read_state(pid: int) -> str:
    """Read the state of a process as a letter of proc(5): T is stopped, Z a zombie or ended."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    return "Z"


def read_thread_states(pid: int) -> set[str]:
    """Read the states of all threads of a process, as ``read_state``; empty if it has ended."""
    states = set()
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError, IndexError):
            states.add(path.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0])
    return states


def read_memory(pid: int) -> float:
    """Read the resident memory of a process in MB; OSError if it has ended."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def signal_pid(pid: int, number: signal.Signals) -> None:
    """Send a signal to one process; after SIGSTOP wait, 5 s at most, until all threads stand still.

    Raises ValueError for a pid that kill(2) takes for a group, all processes or init, since the
    tests themselves would get it, and ProcessLookupError if the process has ended.
    """
    if pid <= 1:
        raise ValueError(f"{pid} is no pid of a process that a test started")
    os.kill(pid, number)
    if number == signal.SIGSTOP:
        # A thread on another processor runs on for a moment, and may answer in it.
        end = time.monotonic() + 5
        while read_thread_states(pid) - {"T", "t", "Z", "X"} and time.monotonic() < end:
            time.sleep(0.0005)


def send_signal(number: signal.Signals, pids: Iterable[int]) -> None:
    """Send a signal to each process that still runs; ValueError as ``signal_pid``."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            signal_pid(pid, number)
