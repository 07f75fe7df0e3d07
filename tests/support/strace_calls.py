"""Let system calls of a running process fail, by `strace` (Debian's)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.peer import wait_for


def find_strace() -> str | None:
    """Find strace; None where there is none, or where no process may be traced."""
    found = shutil.which("strace")
    if found is None:
        return None
    trial = [found, "-o", os.devnull, "-e", "trace=none", "true"]
    done = subprocess.run(trial, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return None if done.returncode else found


STRACE = find_strace()
INJECTED = "(INJECTED)"
"""How strace marks a call that it let fail."""
DETACH_TIMEOUT = 0.5
"""Seconds for strace to end by itself; where it does not, the whole process stands still."""


def fail_calls(
    pid: int, calls: str, error: str, every: int, *, told: str = os.devnull
) -> subprocess.Popen[bytes]:
    """Let each ``every``-th call of a set fail with ``error`` (a name of errno(3)).

    The calls are written to the file ``told``.  It lasts until ``let_succeed``.
    """
    assert STRACE is not None
    words = ["-f", "-q", "-o", told, "-e", f"trace={calls}"]
    inject = f"inject={calls}:error={error}:when={every}+{every}"
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", STRACE, *words, "-e", inject, "-p", str(pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def let_succeed(strace: subprocess.Popen[bytes]) -> None:
    """Detach from the process; its calls succeed again.

    strace waits for ever for a thread that is starting a program just now (vfork(2)): the thread
    waits for its child, and the child for strace.  So it is killed, which lets all of them go on.
    """
    strace.terminate()
    try:
        strace.wait(DETACH_TIMEOUT)
    except subprocess.TimeoutExpired:
        strace.kill()
        strace.wait(10)


class FailingCalls:
    """Calls that fail now; ``count`` says how many did."""

    def __init__(self, told: Path) -> None:
        self._told = told

    def count(self) -> int:
        """Count the calls that failed so far."""
        return self._told.read_text(encoding="utf-8", errors="replace").count(INJECTED)

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until one more call fails; AssertionError after ``timeout`` seconds."""
        before = self.count()
        wait_for(lambda: self.count() > before, timeout, "a call that fails")


@contextlib.contextmanager
def failing(pid: int, calls: str, error: str, told: Path, every: int = 1) -> Iterator[FailingCalls]:
    """Let calls of a process fail for a ``with`` block, in each of its threads.

    ``told`` is a file for what strace saw.  Raises AssertionError where strace does not attach.
    """
    strace = fail_calls(pid, calls, error, every, told=str(told))
    try:
        wait_for(lambda: _is_traced(pid), 20, f"strace to attach to {pid}")
        yield FailingCalls(told)
    finally:
        let_succeed(strace)


def _is_traced(pid: int) -> bool:
    """Return whether each thread of a process has a tracer."""
    lines = [
        line
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text(encoding="utf-8").splitlines()
        if line.startswith("TracerPid:")
    ]
    return bool(lines) and not any(line.split()[1] == "0" for line in lines)
