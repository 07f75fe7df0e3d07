"""Measure the load of this machine (I/O).

The unit of the agent sees nothing in /proc but processes (`ProcSubset=pid`).  There the load
average comes from sysinfo(2), and the memory from the kernel's nodes in /sys.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from anycastd.evidence.checks.asker import PlainAsker, Seen, UnseenError, describe_error
from anycastd.evidence.checks.load_steps import (
    choose_step,
    describe_load,
    join_nodes,
    read_load,
)
from anycastd.profile.checks import LoadCheck

PROC, NODES = Path("/proc"), Path("/sys/devices/system/node")
_FRACTION = 1 << 16
"""The loads of sysinfo(2) are multiples of 1 / _FRACTION."""


class LoadAsker(PlainAsker):
    """Reads the load average and the available memory from ``proc``, or else from the kernel."""

    def __init__(self, name: str, asks: LoadCheck, proc: Path = PROC, nodes: Path = NODES) -> None:
        super().__init__(name)
        self._asks = asks
        self._proc, self._nodes = proc, nodes

    async def ask(self, timeout: float, step: int | None) -> Seen:  # noqa: ARG002 - waits for nothing
        """Measure once."""
        try:
            average, meminfo = self._read("loadavg"), self._read("meminfo")
            load = read_load(
                average or _ask_kernel(),
                meminfo or join_nodes(map(_read, sorted(self._nodes.glob("node*/meminfo")))),
                len(os.sched_getaffinity(0)),
            )
        except OSError as error:
            raise UnseenError(describe_error(error)) from None
        except ValueError as error:
            raise UnseenError(str(error)) from None
        now = choose_step(self._asks, load, step)
        return Seen(now < self._asks.steps, describe_load(self._asks, load, now), step=now)

    def _read(self, name: str) -> str:
        path = self._proc / name
        return _read(path) if path.exists() else ""


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace")


def _ask_kernel() -> str:
    """Return the load average of the last minute by sysinfo(2), as /proc/loadavg has it."""
    words = (ctypes.c_ulong * 64)()  # uptime, then three load averages; longer than the structure
    if ctypes.CDLL(None, use_errno=True).sysinfo(ctypes.byref(words)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return f"{words[1] / _FRACTION:.2f}"
