"""Let system calls of a running process fail, by `strace` (Debian's)."""

from __future__ import annotations

import os
import shutil
import subprocess

STRACE = shutil.which("strace")


def fail_calls(pid: int, calls: str, error: str, every: int) -> subprocess.Popen[bytes]:
    """Let each ``every``-th call of a set fail with ``error`` (a name of errno(3)).

    It lasts until ``let_succeed``.
    """
    assert STRACE is not None
    words = ["-f", "-q", "-o", os.devnull, "-e", f"trace={calls}"]
    inject = f"inject={calls}:error={error}:when={every}+{every}"
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", STRACE, *words, "-e", inject, "-p", str(pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def let_succeed(strace: subprocess.Popen[bytes]) -> None:
    """Detach from the process; its calls succeed again."""
    strace.terminate()
    strace.wait(10)
