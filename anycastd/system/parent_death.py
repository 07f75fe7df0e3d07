"""End a process when its parent ends, by the kernel: prctl(2), PR_SET_PDEATHSIG (stdlib only)."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def request_parent_death_signal() -> None:
    """Have the kernel send SIGKILL to this process when its parent ends.

    SIGKILL works on a process that hangs or is stopped, too.  A parent that ended before this
    call is not noticed: compare ``os.getppid()`` afterwards.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_parent(parent: int) -> None:
    """Have this process killed when ``parent`` ends, or now if it has already ended.

    ``parent`` is the pid of the process that started this one.
    """
    request_parent_death_signal()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
