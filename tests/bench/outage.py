"""What a client sees when both backends of the primary die: outages in the lab, as a spread.

The whole rehearsal network with the shipped files: the client on premises sends a request each
10 ms, both backends of the primary region are killed, and the outage lasts from the sending of the
first request that failed to the end of the first good answer after the last one.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from noise import Noise, spread

from anycastd.lab.appliance import Settings
from anycastd.lab.lab import Lab
from anycastd.lab.record import outage
from anycastd.lab.topology import PRIMARY, SECONDARY

BACK = {"rise": 1, "hold_down": 2, "hold_down_max": 2, "spacing": 1}
"""Return timers, shortened so that the trials follow each other."""

FAULTS = {"backends": "both backends killed", "haproxy": "HAProxy killed"}


def trial(lab: Lab, fault: str) -> tuple[float, int]:
    """Break the primary once and mend it; the outage in seconds, and how many requests failed."""
    lab.wait_preferred()
    lab.client.start()
    lab.wait_answers(PRIMARY, 50, 20)
    if fault == "backends":
        at = lab.faults.kill_backends(PRIMARY.name)
    else:
        at = lab.faults.kill_haproxy(PRIMARY.name)
    lab.wait_answers(SECONDARY, 30, 20, at)
    found = outage(lab.client.stop(), at)
    if fault == "backends":
        lab.faults.start_backends(PRIMARY.name)
    else:
        lab.faults.start_haproxy(PRIMARY.name)
    return (0.0, 0) if found is None else (found.seconds, found.failed)


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    args = parser.parse_args()
    figures: dict[str, object] = {}
    print("outage as the client sees it, milliseconds: a request each 10 ms")
    print(f"{'':44}  median     p99     max")
    for block in ("fast", "calm"):
        with Lab(Settings(fast=block == "fast", back=BACK)) as lab, Noise() as noise:
            for fault, words in FAULTS.items():
                trials = [trial(lab, fault) for _ in range(args.trials)]
                row = spread([seconds for seconds, _ in trials])
                failed = sorted(count for _, count in trials)
                label = f"{words}, {block} block"
                print(f"{label:44} {row}   {failed[len(failed) // 2]} requests failed (median)")
                figures[label] = asdict(row) | {"failed": failed}
        row = spread(noise.late)
        print(f"{'this machine meanwhile: late wake-ups':44} {row}")
        figures[f"noise, {block}"] = asdict(row)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
