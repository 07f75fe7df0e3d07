"""Distributions of measured times, and the noise of the machine meanwhile."""

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
        """Return the values in milliseconds, as columns of a table."""
        ms = [f"{1000 * value:7.2f}" for value in (self.median, self.p99, self.worst)]
        return f"{ms[0]} {ms[1]} {ms[2]}   n={self.count}"


def summarize(values: Sequence[float]) -> Spread:
    """Return the distribution of the trials."""
    ordered = sorted(values)
    rank = max(0, -int(-99 * len(ordered) // 100) - 1)
    return Spread(len(ordered), ordered[len(ordered) // 2], ordered[rank], ordered[-1])


class Noise:
    """Measures the machine's noise: how late a thread wakes up that sleeps for 5 ms (s)."""

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
            due_at = time.monotonic() + 0.005
            self._stop.wait(0.005)
            self.late.append(time.monotonic() - due_at)


def print_line(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def show_progress(text: str) -> None:
    """Show the progress, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}\r")
