"""Break an appliance for hours, in pieces that add up, and judge that nothing grows.

``python tests/chaos/soak.py --seconds 3600 --json build/soak.json`` as root; `make soak` does it.
A piece has two halves.  In the first one all faults are used, as in the chaos run.  In the second
one agent, lease process and ExaBGP live from its beginning to its end, so only faults that none of
them dies of are used: memory, descriptors and the files of the state directory must stay flat.
Each half is added to the file when it is over, also one that failed; the file's totals are of all
pieces.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.run import SLOW_HELP, Outcome, end_in_order, print_line, run
from support.fault import Fault
from support.machine import Machine
from support.processes import read_memory
from support.surroundings import run_surrounded

PARTS = ("agent", "lease", "exabgp")
MANY = 10**6
"""Faults of a plan that no half reaches the end of."""
DEADLY = ("killed", "agent stopped", "lease stopped", "exabgp stopped")
MOMENT = "for a moment"
WARM_UP = 120.0
"""Seconds at the beginning of a life in which it may grow."""
MAX_GROWTH = {"memory": 3.0, "descriptors": 4.0, "files": 64.0}
"""From a life's warm-up to its end, by a straight line: MB, descriptors, kB of the state."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process used ``at`` (s): ``memory`` in MB, ``descriptors``, ``files`` in kB.

    ``files`` are those of the state directory, without the history, which is to grow.
    """

    at: float
    pid: int
    memory: float
    descriptors: int
    files: float


def is_survived(fault: Fault) -> bool:
    """Return whether agent, lease process and ExaBGP outlive a fault."""
    deadly = any(word in fault.name for word in DEADLY) and MOMENT not in fault.name
    haproxy = fault.name.startswith("haproxy")
    return not fault.ends and (haproxy or not deadly)


def take_samples(machine: Machine, samples: dict[str, list[Sample]]) -> None:
    """Add a sample of each part that runs."""
    state = Path(machine.appliance.directory_of("state"))
    kept = [each for each in state.rglob("*") if each.is_file() and each.suffix != ".jsonl"]
    files = sum(each.stat().st_size for each in kept) / 1024
    for part in PARTS:
        pid = machine.pid(part)
        if pid is not None:
            count = len(os.listdir(f"/proc/{pid}/fd"))
            sample = Sample(time.monotonic(), pid, read_memory(pid), count, files)
            samples.setdefault(part, []).append(sample)


def measure_growth(samples: Sequence[Sample], what: str) -> float:
    """Return by how much ``what`` grew between the first and last sample, by a straight line.

    The line is the one with the least squares.  Returns 0.0 for fewer than three samples.
    """
    if len(samples) < 3:
        return 0.0
    times = [each.at for each in samples]
    values = [float(getattr(each, what)) for each in samples]
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((at - middle) ** 2 for at in times)
    slope = sum((at - middle) * (it - mean) for at, it in zip(times, values, strict=True)) / spread
    return slope * (times[-1] - times[0])


def judge_growth(samples: dict[str, list[Sample]]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Return for each part how much it grew after its warm-up, and what is not flat as text."""
    growth: dict[str, dict[str, float]] = {}
    wrong = []
    for part, own in samples.items():
        if len({each.pid for each in own}) > 1:
            wrong.append(f"{part} ended, though no fault ends it")
        late = [each for each in own if each.at - own[0].at > WARM_UP]
        growth[part] = {what: round(measure_growth(late, what), 3) for what in MAX_GROWTH}
        wrong += [
            f"{part}: {what} grew by {grew} in {late[-1].at - late[0].at:.0f} s"
            for what, grew in growth[part].items()
            if grew > MAX_GROWTH[what]
        ]
    return growth, wrong


def run_half(
    seed: int, seconds: float, python: str, *, survived: bool, slow: float = 1.0
) -> tuple[Outcome, dict[str, list[Sample]], str]:
    """Run faults for ``seconds``; return the outcome, the samples, and the logs' end."""
    samples: dict[str, list[Sample]] = {}
    ends_at = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name, run_surrounded(Path(name), python) as machine:

        def is_over() -> bool:
            take_samples(machine, samples)
            return time.monotonic() > ends_at

        allowed = is_survived if survived else None
        faults = min(MANY, int(seconds * 4) + 20)
        outcome = run(
            machine, seed, faults, print_line, allowed=allowed, is_over=is_over, slow=slow
        )
        return outcome, samples, machine.appliance.log()[-20000:]


def add_up(pieces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the totals of all pieces."""
    halves = [half for piece in pieces for half in piece["halves"]]
    stale: dict[str, float] = {}
    for half in halves:
        for cause, seconds in half["stale"].items():
            stale[cause] = max(stale.get(cause, 0.0), seconds)
    growth = [piece["growth"] for piece in pieces if piece["growth"]]
    return {
        "pieces": len(pieces),
        "failed": sum(bool(piece["violations"]) for piece in pieces),
        "seconds": round(sum(half["seconds"] for half in halves), 1),
        "faults": sum(sum(half["faults"].values()) for half in halves),
        "requests": sum(half["requests"] for half in halves),
        "unexplained": sum(half["unexplained"] for half in halves),
        "changes": sum(half["changes"] for half in halves),
        "changes_in_harmless": sum(half["changes_in_harmless"] for half in halves),
        "longest_stale": stale,
        "largest_growth": {
            part: {what: max(each[part][what] for each in growth) for what in MAX_GROWTH}
            for part in PARTS
            if growth and all(part in each for each in growth)
        },
    }


def save(path: Path, piece: dict[str, Any]) -> dict[str, Any]:
    """Add a piece to the file, or put it in place of its first half there; return the totals."""
    pieces = json.loads(path.read_text(encoding="utf-8"))["pieces"] if path.exists() else []
    pieces = [each for each in pieces if each["began_at"] != piece["began_at"]]
    pieces.append(piece)
    total = add_up(pieces)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"total": total, "pieces": pieces}, indent=1) + "\n", "utf-8")
    new.replace(path)
    return total


def main() -> int:
    """Run a piece and add it to the file; return 1 after a violation or where something grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--python", default=sys.executable, help="whose ExaBGP")
    parser.add_argument("--slow", type=float, default=1.0, help=SLOW_HELP)
    parser.add_argument("--json", type=Path, required=True, help="the file that adds up")
    args = parser.parse_args()
    print_line(f"seed {args.seed}, {args.seconds:.0f} s")
    end_in_order()
    piece: dict[str, Any] = {
        "seed": args.seed,
        "began_at": time.time(),
        "slow": args.slow,
        "halves": [],
        "growth": {},
        "violations": [],
    }
    total: dict[str, Any] = {}
    for survived in (False, True):
        half = args.seconds / 2
        try:
            outcome, samples, log = run_half(
                args.seed, half, args.python, survived=survived, slow=args.slow
            )
        except AssertionError as error:
            piece["violations"].append(f"not begun: {error}")
            total = save(args.json, piece)
            continue
        piece["halves"].append(asdict(outcome))
        if outcome.violation:
            print_line(f"{log}\nVIOLATION, seed {args.seed}:\n{outcome.violation}")
            piece["violations"].append(outcome.violation)
        if survived:
            piece["growth"], wrong = judge_growth(samples)
            piece["violations"] += wrong
            piece["samples"] = {
                part: [asdict(each) for each in own] for part, own in samples.items()
            }
        total = save(args.json, piece)  # each half: the next one may be ended by the machine
    print_line(json.dumps({"growth": piece["growth"], "total": total}, indent=1))
    for text in piece["violations"]:
        print_line(f"VIOLATION: {text}")
    return 1 if piece["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
