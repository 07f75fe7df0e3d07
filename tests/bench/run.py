"""Measure, and print the tables: `make bench`, as root.

The measured times decide nothing; the machine's noise is printed beside them.  Wrong behaviour (a
route that stood beyond its bound, a change without a cause) makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import breaking
import commands
import failover
import growth
import outage
import passes
from noise import Noise, print_line, show_progress, summarize

from support.appliance import own_network

PARTS = ("failover", "faults", "servers", "services", "pass", "commands", "outage")
GROUPS = {"growth": ("servers", "services", "pass")}
TRIALS = 10
"""Trials of the failover table for each of ``--times``; a 99th percentile needs many."""


def measure_part(name: str, directory: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one part, in its own network namespace if it needs one, and return the figures."""
    times, seconds = args.times, args.idle
    if name == "outage":
        return outage.measure(times)
    with own_network(), Noise() as noise:
        match name:
            case "failover":
                found = failover.measure(directory, args.python, TRIALS * times, seconds)
            case "faults":
                found = breaking.measure(directory, args.python, times, args.fault)
            case "servers":
                found = growth.measure_servers(directory, args.python, times, seconds)
            case "services":
                found = growth.measure_services(directory, args.python, times, seconds)
            case "commands":
                found = commands.measure(directory, args.python, times)
            case _:
                found = passes.measure(directory, args.python, times)
    late = summarize(noise.late)
    print_line(f"{'this machine: late wake-ups, ms':34} {late}, load {os.getloadavg()[0]:.1f}")
    return found | {"late_wakeups": asdict(late)}


def main() -> int:
    """Measure the parts that were requested."""
    parser = argparse.ArgumentParser(
        prog="tests/bench/run.py", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--only",
        choices=(*PARTS, *GROUPS),
        action="append",
        help="measure only this part; may be repeated",
    )
    parser.add_argument(
        "--times", type=int, default=3, help="trials of each fault and size (default 3)"
    )
    parser.add_argument(
        "--idle",
        type=float,
        default=8,
        help="seconds for which idle costs are measured (default 8)",
    )
    parser.add_argument("--fault", default="", help="only faults with this in their name")
    parser.add_argument("--python", default=sys.executable, help="the Python whose ExaBGP to use")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    args = parser.parse_args()
    requested = [name for each in args.only or PARTS for name in GROUPS.get(each, (each,))]
    figures: dict[str, Any] = {"times": args.times, "machine": list(os.uname())}
    began_at = time.monotonic()
    for name in requested:
        with tempfile.TemporaryDirectory() as directory:
            figures[name] = measure_part(name, Path(directory), args)
        show_progress("")
        print_line("")
        if args.json:  # written after each part, so that a later failure loses nothing
            args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print_line(f"measured for {time.monotonic() - began_at:.0f} s")
    return (
        1 if any(isinstance(each, dict) and each.get("wrong") for each in figures.values()) else 0
    )


if __name__ == "__main__":
    sys.exit(main())
