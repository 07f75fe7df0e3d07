"""What a client sees when both backends of the primary die: outages in the lab, as a spread.

The whole rehearsal network with the shipped files: the client on premises sends a request each
10 ms, both backends of the primary region are killed, and the outage lasts from the sending of the
first request that failed to the end of the first good answer after the last one.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from noise import Noise, say, spread

from anycastd.lab.network.appliance import LabSettings
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.outage import find_outage
from anycastd.lab.network.topology import PRIMARY, SECONDARY

BACK = {"rise": 1, "hold_down": 2, "hold_down_max": 2, "spacing": 1}
"""Return timers, shortened so that the trials follow each other."""

FAULTS = {"backends": "both backends killed", "haproxy": "HAProxy killed"}


def trial(lab: Lab, fault: str) -> tuple[float, int]:
    """Break the primary once and mend it; the outage in seconds, and how many requests failed."""
    lab.wait_preferred()
    lab.client.start()
    lab.wait_answers(PRIMARY, 50, 20)
    if fault == "backends":
        at = lab.faults.kill_web_servers(PRIMARY.name)
    else:
        at = lab.faults.kill_haproxy(PRIMARY.name)
    lab.wait_answers(SECONDARY, 30, 20, at)
    found = find_outage(lab.client.stop(), at)
    if fault == "backends":
        lab.faults.start_web_servers(PRIMARY.name)
    else:
        lab.faults.start_haproxy(PRIMARY.name)
    return (0.0, 0) if found is None else (found.seconds, found.failed)


def measure(count: int) -> dict[str, Any]:
    """Break each ``count`` times with the shipped fast and calm block; print, give the figures."""
    figures: dict[str, Any] = {}
    say("outage as the client sees it, milliseconds: a request each 10 ms")
    say(f"{'':44}  median     p99     max")
    for block in ("fast", "calm"):
        with Lab(LabSettings(fast=block == "fast", return_timers=BACK)) as lab, Noise() as noise:
            for fault, words in FAULTS.items():
                trials = [trial(lab, fault) for _ in range(count)]
                row = spread([seconds for seconds, _ in trials])
                failed = sorted(count for _, count in trials)
                label = f"{words}, {block} block"
                say(f"{label:44} {row}   {failed[len(failed) // 2]} requests failed (median)")
                figures[label] = asdict(row) | {"failed": failed}
        row = spread(noise.late)
        say(f"{'this machine meanwhile: late wake-ups':44} {row}")
        figures[f"noise, {block}"] = asdict(row)
    return figures
