"""Feed every surface with hostile inputs, and print how many each had, and what they took.

``python tests/fuzz/run.py --seed N --count 100000``; `make fuzz` does it.  At the first input that
breaks a bound it prints the shortest one found that does, writes it to a file, and ends with 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.engine import Count, FoundError, run
from fuzz.surfaces import SURFACES

BY_NAME = {surface.name: surface for surface in SURFACES}


def work(name: str, seed: int, count: int, seconds: float) -> tuple[str, Count, str, bytes]:
    """Feed one surface; returns (name, counts, what was found or empty, its input)."""
    logging.disable()  # a hostile input may be logged each time
    try:
        return name, run(BY_NAME[name], seed, inputs=count, seconds=seconds), "", b""
    except FoundError as found:
        return name, Count(), str(found), found.data


def main() -> int:
    """Run, print a line for each surface, and return the exit code: 1 if an input found a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--count", type=int, default=100_000, help="inputs for each surface")
    parser.add_argument("--seconds", type=float, default=600.0, help="at most, for each surface")
    parser.add_argument("--surface", choices=sorted(BY_NAME), action="append")
    parser.add_argument("--jobs", type=int, default=2, help="surfaces at a time")
    parser.add_argument("--found", default="build/fuzz", help="directory for inputs that fail")
    parser.add_argument("--json", help="file for all figures")
    options = parser.parse_args()
    names = options.surface or list(BY_NAME)
    print(f"seed {options.seed}")
    print(f"{'surface':18} {'inputs':>10} {'seconds':>8} {'slowest':>10} {'memory':>10}")
    figures, faults = {}, 0
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(work, name, options.seed, options.count, options.seconds) for name in names
        ]
        for job in as_completed(jobs):
            name, count, found, data = job.result()
            figures[name] = asdict(count) | {"found": found}
            if found:
                faults += 1
                path = Path(options.found, f"{name}-{options.seed}")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                print(f"{found}\nthe input is in {path}", flush=True)
                continue
            print(
                f"{name:18} {count.inputs:10,} {count.seconds:8.1f} {count.slowest * 1000:7.1f} ms "
                f"{count.memory / 1e6:7.1f} MB",
                flush=True,
            )
    total = sum(each["inputs"] for each in figures.values())
    print(f"{'all':18} {total:10,}   faults: {faults}")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
