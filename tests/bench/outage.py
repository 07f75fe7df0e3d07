"""Outages in the lab as a client sees them, as a distribution.

The whole rehearsal network runs with the shipped files, and the on-premises client sends a request
each 10 ms.  Both web servers of the primary region are killed, or its HAProxy.  An outage is
defined as in ``anycastd.lab.network.outage``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from noise import Noise, print_line, summarize

from anycastd.lab.network.appliance import LabSettings
from anycastd.lab.network.azure import PRIMARY, SECONDARY
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.outage import find_outage

RETURN_TIMERS = {"rise": 1, "hold_down": 2, "hold_down_max": 2, "spacing": 1}
"""Return timers, shortened so that the trials need less time."""

FAULTS = {"backends": "both web servers killed", "haproxy": "HAProxy killed"}


def trial(lab: Lab, fault: str) -> tuple[float, int]:
    """Cause a fault in the primary region once and repair it.

    Returns the outage in seconds, and how many requests failed.
    """
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
    """Run ``count`` trials of each fault with the fast and the calm block; return the figures."""
    figures: dict[str, Any] = {}
    print_line("outage as the client sees it, milliseconds: a request each 10 ms")
    print_line(f"{'':40}  median     p99     max        failed")
    for block in ("fast", "calm"):
        with (
            Lab(LabSettings(fast=block == "fast", return_timers=RETURN_TIMERS)) as lab,
            Noise() as noise,
        ):
            for fault, title in FAULTS.items():
                trials = [trial(lab, fault) for _ in range(count)]
                row = summarize([seconds for seconds, _ in trials])
                failed = sorted(count for _, count in trials)
                label = f"{title}, {block} block"
                print_line(f"{label:40} {row} {failed[len(failed) // 2]:7}")
                figures[label] = asdict(row) | {"failed": failed}
        row = summarize(noise.late)
        print_line(f"{'this machine meanwhile: late wake-ups':40} {row}")
        figures[f"noise, {block}"] = asdict(row)
    return figures
