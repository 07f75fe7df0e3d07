"""Measure, and print the tables: `make bench`, as root.

Figures are no gate: the machine's own noise stands beside them.  Wrong behaviour is one: a route
that stood beyond its bound, a change that nothing called for; the exit code is 1 then.
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
from noise import Noise, progress, say, spread

from support.appliance import own_network

PARTS = ("failover", "faults", "servers", "services", "pass", "commands", "outage")
GROUPS = {"growth": ("servers", "services", "pass")}
TRIALS = 10
"""Trials of the failover table for each of ``--times``: a 99th percentile needs many."""


def part(name: str, directory: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one part, in a network of its own where it needs one."""
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
                found = growth.servers(directory, args.python, times, seconds)
            case "services":
                found = growth.services(directory, args.python, times, seconds)
            case "commands":
                found = commands.measure(directory, args.python, times)
            case _:
                found = passes.measure(directory, args.python, times)
    late = spread(noise.late)
    say(f"{'this machine: late wake-ups, ms':34} {late}, load {os.getloadavg()[0]:.1f}")
    return found | {"late_wakeups": asdict(late)}


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        prog="tests/bench/run.py", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--only", choices=(*PARTS, *GROUPS), action="append", help="a part; may be repeated"
    )
    parser.add_argument("--times", type=int, default=3, help="how often each fault and size (3)")
    parser.add_argument("--idle", type=float, default=8, help="seconds of idling to measure (8)")
    parser.add_argument("--fault", default="", help="only faults with this in their name")
    parser.add_argument("--python", default=sys.executable, help="the Python whose ExaBGP to use")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    args = parser.parse_args()
    asked = [name for each in args.only or PARTS for name in GROUPS.get(each, (each,))]
    figures: dict[str, Any] = {"times": args.times, "machine": list(os.uname())}
    began = time.monotonic()
    for name in asked:
        with tempfile.TemporaryDirectory() as directory:
            figures[name] = part(name, Path(directory), args)
        progress("")
        say("")
        if args.json:  # what was measured stays, whatever becomes of the rest
            args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    say(f"measured for {time.monotonic() - began:.0f} s")
    return (
        1 if any(isinstance(each, dict) and each.get("wrong") for each in figures.values()) else 0
    )


if __name__ == "__main__":
    sys.exit(main())
