"""What a system costs while nothing happens: CPU and memory of its processes."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from compare.network import pass_time, wait_for
from compare.systems import Running

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """Share of a core, and memory (proportional set size) in MB, of checker and speaker."""

    cpu: float
    memory: float
    processes: int


def measure_cost(running: Running, seconds: float) -> Cost:
    """Measure the first region's system for ``seconds``, its short-lived commands included."""
    programs = running.a.programs
    wait_for(lambda: all(each.pids for each in programs), 20, "its processes")
    before = sum(_cpu(pid) for each in programs for pid in each.pids)
    pass_time(seconds)
    pids = [pid for each in programs for pid in each.pids]
    spent = sum(map(_cpu, pids)) - before
    return Cost(max(0.0, spent / seconds), sum(map(_memory, pids)), len(pids))


def _cpu(pid: int) -> float:
    """Return the seconds of CPU of a process and of its children that have ended."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1]
        return sum(map(int, text.split()[11:15])) / TICKS
    return 0.0


def _memory(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
