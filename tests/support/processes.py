"""What the kernel says of processes, for tests; a process that is gone answers nothing."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

# In front of a command that is to be ended by a signal: whoever runs the tests may have it ignored,
# as a shell that is not interactive has SIGINT for what it starts in the background.
WITH_ALL_SIGNALS = ("env", "--default-signal")


def list_processes() -> list[int]:
    """Every process of this network namespace but ourselves."""
    ours = os.readlink("/proc/thread-self/ns/net")
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/ns/net") == ours:
                    found.append(int(name))
    return found


def list_children(pid: int) -> list[int]:
    """Children of a process."""
    with contextlib.suppress(OSError):
        return [
            int(word)
            for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        ]
    return []


def read_command_line(pid: int) -> str:
    """Its command line."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def read_state(pid: int) -> str:
    """Its state in a letter: T is stopped, Z dead and not waited for, or gone."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    return "Z"


def read_memory(pid: int) -> float:
    """Resident memory in MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def send_signal(number: signal.Signals, pids: Iterable[int]) -> None:
    """Send a signal to those that are there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
