"""The duration of `anycastd status`, and of an agent's start until its first Want.

The first Want is measured from before exec to its arrival at a proxy in front of the lease's
socket, which forwards every byte.  The interpreter alone is measured in the same run.
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


class LeaseProxy:
    """A proxy in front of the lease's socket.

    ``first_want_at`` is when the first Want passed it (``time.monotonic()``), None before.
    """

    def __init__(self, path: Path, lease: Path) -> None:
        self.path = path
        self.first_want_at: float | None = None
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

    def _forward(self, source: socket.socket, target: socket.socket, from_agent: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                if from_agent and self.first_want_at is None and b'"routes"' in data:
                    self.first_want_at = time.monotonic()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def time_command(command: Sequence[str], environment: dict[str, str]) -> float:
    """Run a command to its end and return the seconds that it took."""
    began_at = time.monotonic()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    return time.monotonic() - began_at


@contextlib.contextmanager
def stopped_agent(appliance: Appliance) -> Iterator[None]:
    """Kill the agent, and wait until it has ended."""
    assert appliance.agent is not None
    appliance.agent.kill()
    appliance.agent.wait()
    yield


def time_first_want(appliance: Appliance, number: int) -> float:
    """Restart the agent behind a proxy; return the seconds from before exec to its first Want."""
    proxy = LeaseProxy(appliance.directory / f"proxy{number}.sock", appliance.lease)
    with stopped_agent(appliance):
        began_at = time.monotonic()
        appliance.start_agent("--lease", str(proxy.path))
        wait_for(lambda: proxy.first_want_at, 20, f"a first Want\n{appliance.log()}")
        proxy.close()
    assert proxy.first_want_at is not None
    return proxy.first_want_at - began_at


def measure(directory: Path, python: str, times: int) -> dict[str, Any]:
    """Measure commands and restarts; print and return the figures."""
    figures: dict[str, Any] = {}
    print_line("duration of commands and restarts, milliseconds")
    print_line(f"{'':34}  median     p99     max")
    with Appliance(directory, python=python) as appliance:
        appliance.start()
        status = [sys.executable, "-m", "anycastd", "status", "--directory"]
        rows = {
            "the interpreter alone (-I -S)": [sys.executable, "-I", "-S", "-c", "pass"],
            "the interpreter alone": [sys.executable, "-c", "pass"],
            "anycastd status": [*status, appliance.directory_of("agent")],
        }
        found: dict[str, list[float]] = {label: [] for label in rows}
        for _ in range(RUNS * times):
            for label, command in rows.items():
                found[label].append(time_command(command, appliance.environment))
        restarts = []
        for number in range(4 * times):
            restarts.append(time_first_want(appliance, number))
            appliance.wait_path(1)
            # Five deaths in a minute would be a crash loop: four, then a pause.
            if number % 4 == 3 and number + 1 < 4 * times:
                wait_for(pause(61.0), 70, "the end of the crash loop's window")
        found["an agent: exec to first Want"] = restarts
    for label, values in found.items():
        row = summarize(values)
        print_line(f"{label:34} {row}")
        figures[label] = asdict(row)
    return figures


def pause(seconds: float) -> Any:
    """Return a condition that becomes true after so many seconds."""
    ends_at = time.monotonic() + seconds
    return lambda: time.monotonic() >= ends_at
