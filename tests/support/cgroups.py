"""Give a running process a small share of a CPU, by a control group (version 1 or 2)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PERIOD = 100_000
"""Microseconds (CFS bandwidth control, the kernel's scheduler documentation)."""


def find_cpu_root() -> Path | None:
    """Find where groups with a share of the CPU can be made; None where that is not possible."""
    for place, needed in ((ROOT / "cpu", "cgroup.procs"), (ROOT, "cgroup.subtree_control")):
        if os.access(place / needed, os.W_OK):
            return place
    return None


class CpuShare:
    """A group whose process gets ``share`` of one CPU until ``end``; OSError if it has ended."""

    def __init__(self, pid: int, share: float) -> None:
        root = find_cpu_root()
        assert root is not None
        self._pid, self._root = pid, root
        self._group = root / f"anycastd-test-{os.getpid()}-{pid}"
        if (root / "cgroup.subtree_control").exists():
            (root / "cgroup.subtree_control").write_text("+cpu", encoding="ascii")
        self._group.mkdir()
        quota = int(PERIOD * share)
        if (self._group / "cpu.max").exists():
            (self._group / "cpu.max").write_text(f"{quota} {PERIOD}", encoding="ascii")
        else:
            (self._group / "cpu.cfs_period_us").write_text(str(PERIOD), encoding="ascii")
            (self._group / "cpu.cfs_quota_us").write_text(str(quota), encoding="ascii")
        try:
            (self._group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        except OSError:
            self._group.rmdir()
            raise

    def end(self) -> None:
        """Take the limit away."""
        pids = (self._group / "cgroup.procs").read_text(encoding="ascii").split()
        for pid in pids:
            with contextlib.suppress(OSError):
                (self._root / "cgroup.procs").write_text(pid, encoding="ascii")
        with contextlib.suppress(OSError):
            self._group.rmdir()
