"""The duration of `anycastd status`, and of an agent's start until its first Want.

The first Want is measured from before exec until the lease process logs it.  The interpreter alone
is measured in the same run.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from noise import print_line, summarize

from support.appliance import Appliance
from support.peer import wait_for

START_TIMEOUT = 20.0
"""An agent that has sent nothing for so long (s) is taken for one that does not start."""
RUNS = 20
"""Runs of each command for each of ``--times``."""


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


def time_first_want(appliance: Appliance) -> float:
    """Restart the agent; return the seconds from before exec to its first Want at the lease.

    The lease process logs whose Want it took.  A proxy before its socket would be refused, since a
    message has to come from the process that it names.
    """
    log = appliance.directory / "speaker.err"
    size = log.stat().st_size
    with stopped_agent(appliance):
        began_at = time.monotonic()
        appliance.start_agent()
        assert appliance.agent is not None
        line = f"the agent with pid {appliance.agent.pid} owns the lease"
        while line not in read_from(log, size):
            took = time.monotonic() - began_at
            assert took < START_TIMEOUT, f"no first Want in {took:.0f} s\n{appliance.log()}"
            time.sleep(0.0005)
        return time.monotonic() - began_at


def read_from(path: Path, offset: int) -> str:
    """Read what a log has after ``offset`` bytes."""
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read().decode("utf-8", "replace")


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
            restarts.append(time_first_want(appliance))
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
