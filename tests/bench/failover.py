"""The time of a withdrawal, compared with a bare ExaBGP, and the cost of an idle appliance."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bare import measure_floor
from noise import Spread, print_line, show_progress, summarize

from support.appliance import VIP, Appliance
from support.bgp_wire import Update
from support.peer import wait_for
from support.processes import signal_pid

CHECK_DURATION = 0.02
"""Seconds after which a health check that was under way has ended."""
TICKS = os.sysconf("SC_CLK_TCK")


def wait_withdrawn(appliance: Appliance, since: float) -> float:
    """Wait for the first withdrawal since a time; return when the last peer received it."""

    def times() -> list[float]:
        found = []
        for peer in appliance.peers:
            for update in peer.list_events(Update):
                if update.at >= since and f"{VIP}/32" in update.withdrawn:
                    found.append(update.at)
                    break
        return found if len(found) == len(appliance.peers) else []

    return max(wait_for(times, 10, "a withdrawal at both peers"))


def kill_haproxy(appliance: Appliance) -> float:
    """Kill worker and master; return the seconds until the last peer received the withdrawal."""
    pids = appliance.haproxy.pids()
    at = time.monotonic()
    for pid in pids:
        signal_pid(pid, signal.SIGKILL)
    took = wait_withdrawn(appliance, at) - at
    appliance.haproxy.kill()
    appliance.haproxy.start()
    return took


def set_last_server_down(appliance: Appliance) -> float:
    """Set all servers down; return the seconds from the command to the last peer."""
    while True:
        at = time.monotonic()
        # In one request: a check that passes in between would set the first one up again.
        appliance.haproxy.ask("set server web/s1 health down;set server web/s2 health down")
        wait_for(lambda: time.monotonic() > at + CHECK_DURATION, 1, "running checks")  # noqa: B023
        if are_servers_down(appliance):
            break
        appliance.wait_path(1)  # a check has passed meanwhile: they were down only briefly
    took = wait_withdrawn(appliance, at) - at
    for server in ("s1", "s2"):
        appliance.haproxy.ask(f"set server web/{server} health up")
    return took


def are_servers_down(appliance: Appliance) -> bool:
    """Return whether HAProxy reports both servers as down."""
    # By number: not all 10,000.
    text = appliance.haproxy.ask("show stat web 4 1;show stat web 4 2")
    rows = [line.split(",") for line in text.splitlines() if line.startswith("web,s")]
    return len(rows) == 2 and all(row[17].startswith("DOWN") for row in rows)


FAULTS = {"haproxy killed": kill_haproxy, "last server down": set_last_server_down}
"""What a row of the table is called, and the fault that it measures."""


def run_trials(
    appliance: Appliance, fault: Callable[[Appliance], float], count: int
) -> list[float]:
    """Run a fault ``count`` times, each time from the preferred path; return the seconds."""
    times = []
    for number in range(count):
        appliance.wait_path(1)
        times.append(fault(appliance))
        show_progress(f"{fault.__name__.replace('_', ' ')}: {number + 1} of {count}")
    appliance.wait_path(1)
    return times


def measure_idle(appliance: Appliance, seconds: float) -> dict[str, float]:
    """Return CPU (share of a core) and resident memory (MB) of each process while idle."""
    assert appliance.agent is not None
    assert appliance.speaker is not None
    children = Path(f"/proc/{appliance.speaker.pid}/task/{appliance.speaker.pid}/children")
    (lease,) = children.read_text(encoding="utf-8").split()
    pids = {
        "agent": appliance.agent.pid,
        "lease": int(lease),
        "exabgp": appliance.speaker.pid,
        "haproxy": appliance.haproxy.worker,
    }
    before = {name: _cpu(pid) for name, pid in pids.items()}
    started = time.monotonic()
    wait_for(lambda: time.monotonic() - started > seconds, seconds + 5, "time to pass")
    took = time.monotonic() - started
    found = {}
    for name, pid in pids.items():
        found[f"{name}_cpu"] = (_cpu(pid) - before[name]) / took
        found[f"{name}_mb"] = resident_memory(pid)
    return found


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_memory(pid: int) -> float:
    """Return the resident memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def measure(directory: Path, python: str, count: int, seconds: float) -> dict[str, Any]:
    """Run ``count`` trials, idle for ``seconds``, print the table and return the figures."""
    rows: dict[str, Spread] = {
        "floor: bare ExaBGP": summarize(measure_floor(directory, python, count))
    }
    with Appliance(directory, python=python, inter="300ms") as appliance:
        appliance.start()
        for label, fault in FAULTS.items():
            rows[label] = summarize(run_trials(appliance, fault, count))
        cost = measure_idle(appliance, seconds)
        exabgp = appliance.status()["lease"]["exabgp"]
    print_line(f"withdrawal received by the last of two peers, milliseconds (ExaBGP {exabgp})")
    print_line(f"{'':30}  median     p99     max")
    for label, row in rows.items():
        print_line(f"{label:30} {row}")
    base = rows["floor: bare ExaBGP"]
    print_line("above the floor, milliseconds")
    for label in FAULTS:
        row = rows[label]
        over = [1000 * (row.median - base.median), 1000 * (row.p99 - base.p99)]
        print_line(f"{label:30} {over[0]:7.2f} {over[1]:7.2f}")
    print_line(f"idle over {seconds:g} s, one look a second")
    for part in ("agent", "lease", "exabgp"):
        print_line(
            f"{part:30} {100 * cost[f'{part}_cpu']:6.2f} %  {cost[f'{part}_mb']:6.1f} MB resident"
        )
    share = 100 * (cost["agent_cpu"] + cost["lease_cpu"])
    size = cost["agent_mb"] + cost["lease_mb"]
    print_line(f"{'agent and lease together':30} {share:6.2f} %  {size:6.1f} MB resident")
    return {"seconds": {label: asdict(row) for label, row in rows.items()}, "idle": cost}
