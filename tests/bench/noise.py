"""Distributions, and how noisy the machine was while they were taken."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Spread:
    """Seconds: median, 99th percentile (nearest rank) and maximum of ``count`` trials."""

    count: int
    median: float
    p99: float
    worst: float

    def __str__(self) -> str:
        """Give it in milliseconds."""
        ms = [f"{1000 * value:7.2f}" for value in (self.median, self.p99, self.worst)]
        return f"{ms[0]} {ms[1]} {ms[2]}   n={self.count}"


def spread(values: Sequence[float]) -> Spread:
    """Sum trials up."""
    ordered = sorted(values)
    rank = max(0, -int(-99 * len(ordered) // 100) - 1)
    return Spread(len(ordered), ordered[len(ordered) // 2], ordered[rank], ordered[-1])


class Noise:
    """How late a thread wakes up that asked for 5 ms: the machine's own noise."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            asked = time.monotonic() + 0.005
            self._stop.wait(0.005)
            self.late.append(time.monotonic() - asked)


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def progress(text: str) -> None:
    """Say where we are, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}\r")
