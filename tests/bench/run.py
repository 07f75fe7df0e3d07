"""Measure, and print the tables: `make bench`, as root (25 minutes).

The measured times decide nothing; the machine's noise is printed beside them.  Wrong behaviour (a
route that stood beyond its bound, a change without a cause) makes the exit code 1, and so does a
part that could not be measured; the other parts are measured all the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "package"))

import breaking
import commands
import failover
import fleet
import growth
import outage
import passes
import restarts
import starts
from noise import Noise, print_line, show_progress, summarize

from support.appliance import own_network

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 10
"""Trials of the failover table for each of ``--times``; a 99th percentile needs many."""

IDLE_FACTOR = 4
"""The idle table measures so many times ``--idle``: shares of less than 1 % need time."""

Measure = Callable[[Path, argparse.Namespace], dict[str, Any]]
"""Measures a part with the files in a directory, prints its table, returns its figures."""
PARTS: dict[str, Measure] = {
    "failover": lambda directory, args: failover.measure(
        directory, args.python, TRIALS * args.times, args.idle
    ),
    "faults": lambda directory, args: breaking.measure(
        directory, args.python, args.times, args.fault
    ),
    "servers": lambda directory, args: growth.measure_servers(
        directory, args.python, args.times, args.idle
    ),
    "services": lambda directory, args: growth.measure_services(
        directory, args.python, args.times, args.idle
    ),
    "fleet": lambda directory, args: fleet.measure_fleet(directory, args.python),
    "pass": lambda directory, args: passes.measure(directory, args.python, args.times),
    "commands": lambda directory, args: commands.measure(directory, args.python, args.times),
    "start": lambda directory, args: starts.measure_start(directory, args.python, args.times),
    "restart": lambda directory, _: restarts.measure(directory),
    "idle": lambda directory, args: starts.measure_idle(
        directory, args.python, IDLE_FACTOR * args.idle
    ),
    "outage": lambda _, args: outage.measure(args.times),
}
"""The parts in their order.  Each has a network namespace and a directory of its own."""
GROUPS = {"growth": ("servers", "services", "pass")}
OWN_NOISE = ("outage",)
"""Parts that measure the machine's noise themselves, and make their own namespaces."""
OWN_NODES = ("restart",)
"""Parts that make their own namespaces: on a new machine they fetch what they need before."""


def measure_part(name: str, directory: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one part, in its own network namespace if it needs one, and return the figures."""
    if name in OWN_NOISE:
        return PARTS[name](directory, args)
    network = contextlib.nullcontext() if name in OWN_NODES else own_network()
    with network, Noise() as noise:
        found = PARTS[name](directory, args)
    late = summarize(noise.late)
    print_line(f"{'this machine: late wake-ups, ms':34} {late}, load {os.getloadavg()[0]:.1f}")
    return found | {"late_wakeups": asdict(late)}


def try_part(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one part; one that fails is reported, and has its failure as a figure."""
    began_at = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        try:
            found = measure_part(name, Path(directory), args)
        except Exception as error:  # noqa: BLE001 - hours of other figures must not be lost
            traceback.print_exc()
            print_line(f"NOT MEASURED: {name}: {(str(error) or repr(error)).splitlines()[0]}")
            found = {"failed": str(error) or repr(error)}
    show_progress("")
    took = time.monotonic() - began_at
    print_line(f"part {name}: {took:.0f} s\n")
    return found | {"took": took}


def list_parts(only: list[str] | None) -> Iterator[str]:
    """List the parts of a command line, each once and in their order."""
    chosen = {part for each in only or PARTS for part in GROUPS.get(each, (each,))}
    return (name for name in PARTS if name in chosen)


def list_wrong(figures: dict[str, Any]) -> list[str]:
    """List the parts that failed, or in which something behaved wrongly."""
    return [name for name in PARTS if _is_wrong(figures.get(name, {}))]


def _is_wrong(part: dict[str, Any]) -> bool:
    return bool(part.get("wrong") or part.get("failed"))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
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
    parser.add_argument(
        "--json",
        type=Path,
        default=ROOT / "build" / "bench.json",
        help="a file for the figures (default build/bench.json)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="leave out the parts that the file has, and add to it",
    )
    args = parser.parse_args()
    if args.times < 1:
        parser.error("--times: must be 1 or more")
    return args


def read_before(file: Path) -> dict[str, Any]:
    """Read the figures of an interrupted run, without its failed parts.

    Raises SystemExit (2) where the file has none.
    """
    try:
        figures = json.loads(file.read_text(encoding="utf-8"))
        return {
            name: each
            for name, each in figures.items()
            if name not in PARTS or not each.get("failed")
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        sys.stderr.write(f"{file}: no figures to resume from: {error}\n")
        raise SystemExit(2) from None


def main() -> int:
    """Measure the parts that were requested."""
    args = parse_arguments()
    figures = read_before(args.json) if args.resume else {}
    figures |= {"times": args.times, "machine": list(os.uname())}
    began_at = time.monotonic()
    args.json.parent.mkdir(parents=True, exist_ok=True)
    for name in list_parts(args.only):
        if name in figures:
            print_line(f"part {name}: {args.json} has it\n")
            continue
        figures[name] = try_part(name, args)
        # Written after each part, so that a later failure loses nothing.
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print_line(f"measured for {time.monotonic() - began_at:.0f} s; figures in {args.json}")
    wrong = list_wrong(figures)
    if wrong:
        print_line(f"WRONG: {', '.join(wrong)}: see above")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
