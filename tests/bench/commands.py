"""What a person and a restart wait for: `anycastd status`, and an agent's first Want.

The first Want is timed from before exec to its arrival at the lease's socket, where a program in
between forwards every byte and stamps the line.  The interpreter alone is measured in the same run.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from noise import print_line, summarize

from support.appliance import Appliance
from support.peer import wait_for

RUNS = 20
"""Runs of each command for each of ``--times``."""


class Tap:
    """A socket in front of the lease's: forwards both ways, stamps the first Want it sees."""

    def __init__(self, path: Path, lease: Path) -> None:
        self.path = path
        self.first: float | None = None
        self._lease = lease
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                agent, _ = self._listener.accept()
                lease = socket.socket(socket.AF_UNIX)
                lease.connect(str(self._lease))
                for pair in ((agent, lease, True), (lease, agent, False)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket, from_agent: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 20):
                if from_agent and self.first is None and b'"routes"' in data:
                    self.first = time.monotonic()
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


def timed(command: Sequence[str], environment: dict[str, str]) -> float:
    """Run a command to its end and return the seconds that it took."""
    began = time.monotonic()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    return time.monotonic() - began


@contextlib.contextmanager
def agent_stopped(appliance: Appliance) -> Iterator[None]:
    """Kill the agent, and wait until it has ended."""
    assert appliance.agent is not None
    appliance.agent.kill()
    appliance.agent.wait()
    yield


def first_want(appliance: Appliance, number: int) -> float:
    """Restart the agent behind a tap; return the seconds from before exec to its first Want."""
    tap = Tap(appliance.directory / f"tap{number}.sock", appliance.lease)
    with agent_stopped(appliance):
        began = time.monotonic()
        appliance.start_agent("--lease", str(tap.path))
        wait_for(lambda: tap.first, 20, f"a first Want\n{appliance.log()}")
        tap.close()
    assert tap.first is not None
    return tap.first - began


def measure(directory: Path, python: str, times: int) -> dict[str, Any]:
    """Measure commands and restarts; print and return the figures."""
    figures: dict[str, Any] = {}
    print_line("what a person and a restart wait for, milliseconds")
    print_line(f"{'':34}  median     p99     max")
    with Appliance(directory, python=python) as appliance:
        appliance.start()
        status = [sys.executable, "-m", "anycastd", "status", "--directory"]
        rows = {
            "the interpreter alone (-I -S)": [sys.executable, "-I", "-S", "-c", "pass"],
            "the interpreter alone": [sys.executable, "-c", "pass"],
            "anycastd status": [*status, appliance.place("agent")],
        }
        found: dict[str, list[float]] = {label: [] for label in rows}
        for _ in range(RUNS * times):
            for label, command in rows.items():
                found[label].append(timed(command, appliance.environment))
        restarts = []
        for number in range(4 * times):
            restarts.append(first_want(appliance, number))
            appliance.wait_path(1)
            # Five deaths within a minute would be a crash loop: four, then a rest.
            if number % 4 == 3 and number + 1 < 4 * times:
                wait_for(pause(61.0), 70, "the end of the window in which crashes count")
        found["an agent: exec to first Want"] = restarts
    for label, values in found.items():
        row = summarize(values)
        print_line(f"{label:34} {row}")
        figures[label] = asdict(row)
    return figures


def pause(seconds: float) -> Any:
    """Return a condition that becomes true after so many seconds."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until
