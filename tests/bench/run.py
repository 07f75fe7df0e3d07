"""Measure, and print the tables: `make bench`, as root.

``--part failover|faults|servers|services`` (repeatable) measures one of them only.  Figures are no
gate: the machine's own noise stands beside them.  Wrong behaviour is one: a route that stood
beyond its bound, a change that nothing called for; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import breaking
import failover
import growth
from noise import Noise, progress, say, spread

from appliance import own_network

PARTS = ("failover", "faults", "servers", "services")


def part(name: str, directory: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one part in a network of its own."""
    with own_network(), Noise() as noise:
        match name:
            case "failover":
                found = failover.measure(directory, args.python, args.trials, args.idle)
            case "faults":
                found = breaking.measure(directory, args.python, args.repeat, args.only)
            case _:
                found = growth.measure(directory, args.python, args.repeat, args.idle, (name,))
    late = spread(noise.late)
    say(f"{'this machine: late wake-ups, ms':34} {late}, load {os.getloadavg()[0]:.1f}\n")
    return found | {"late_wakeups": asdict(late)}


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--trials", type=int, default=50, help="of the failover table")
    parser.add_argument("--repeat", type=int, default=5, help="each fault, and each size")
    parser.add_argument("--idle", type=float, default=30, help="seconds of idling to measure")
    parser.add_argument("--only", default="", help="of the faults, those with this in their name")
    parser.add_argument("--python", default=sys.executable, help="whose ExaBGP")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    args = parser.parse_args()
    figures: dict[str, Any] = {}
    for name in args.part or PARTS:
        with tempfile.TemporaryDirectory() as directory:
            figures[name] = part(name, Path(directory), args)
        progress("")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if any(found.get("wrong") for found in figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
