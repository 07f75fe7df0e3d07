"""The duration of `anycastd status`; the interpreter alone is measured in the same run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from noise import print_line, summarize

from support.appliance import Appliance

RUNS = 20
"""Runs of each command for each of ``--times``."""


def time_command(command: Sequence[str], environment: dict[str, str]) -> float:
    """Run a command to its end and return the seconds that it took."""
    began_at = time.monotonic()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    return time.monotonic() - began_at


def measure(directory: Path, python: str, times: int) -> dict[str, Any]:
    """Measure commands; print and return the figures."""
    figures: dict[str, Any] = {}
    print_line("duration of commands, milliseconds")
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
    for label, values in found.items():
        row = summarize(values)
        print_line(f"{label:34} {row}")
        figures[label] = asdict(row)
    return figures
