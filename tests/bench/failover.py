"""How fast a withdrawal is, against the floor of a bare ExaBGP, and what idling costs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bare import floor
from noise import Spread, progress, say, spread

from support.appliance import VIP, Appliance
from support.bgp_wire import Update
from support.peer import wait_for

UNDER_WAY = 0.02
"""Seconds in which a check of a server of ours that was under way has passed."""
TICKS = os.sysconf("SC_CLK_TCK")


def heard(appliance: Appliance, since: float) -> float:
    """When the last of the peers heard the first withdrawal after ``since``."""

    def times() -> list[float]:
        found = []
        for peer in appliance.peers:
            for update in peer.of(Update):
                if update.at >= since and f"{VIP}/32" in update.withdrawn:
                    found.append(update.at)
                    break
        return found if len(found) == len(appliance.peers) else []

    return max(wait_for(times, 10, "a withdrawal at both peers"))


def haproxy_killed(appliance: Appliance) -> float:
    """Kill worker and master; seconds until the last peer heard the withdrawal."""
    pids = appliance.haproxy.pids()
    at = time.monotonic()
    for pid in pids:
        os.kill(pid, 9)
    took = heard(appliance, at) - at
    appliance.haproxy.kill()
    appliance.haproxy.start()
    return took


def last_server_down(appliance: Appliance) -> float:
    """Have HAProxy mark its servers down; seconds from the command to the last peer."""
    while True:
        at = time.monotonic()
        # In one request: a check that passes in between would bring the first one up again.
        appliance.haproxy.ask("set server web/s1 health down;set server web/s2 health down")
        wait_for(lambda: time.monotonic() > at + UNDER_WAY, 1, "checks that were under way")  # noqa: B023
        if down(appliance):
            break
        appliance.wait_path(1)  # such a check has passed: they were down for a moment only
    took = heard(appliance, at) - at
    for server in ("s1", "s2"):
        appliance.haproxy.ask(f"set server web/{server} health up")
    return took


def down(appliance: Appliance) -> bool:
    """Whether HAProxy has both servers down."""
    text = appliance.haproxy.ask("show stat web 4 1;show stat web 4 2")  # by number: not all 10,000
    rows = [line.split(",") for line in text.splitlines() if line.startswith("web,s")]
    return len(rows) == 2 and all(row[17].startswith("DOWN") for row in rows)


def trials(appliance: Appliance, fault: Callable[[Appliance], float], count: int) -> list[float]:
    """Run a fault ``count`` times, each from the settled preferred path."""
    times = []
    for number in range(count):
        appliance.wait_path(1)
        times.append(fault(appliance))
        progress(f"{fault.__name__.replace('_', ' ')}: {number + 1} of {count}")
    appliance.wait_path(1)
    return times


def idle(appliance: Appliance, seconds: float) -> dict[str, float]:
    """CPU (share of a core) and resident memory (MB) of each process of ours, doing nothing."""
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
        found[f"{name}_mb"] = resident(pid)
    return found


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> float:
    """Give the resident memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def measure(directory: Path, python: str, count: int, seconds: float) -> dict[str, Any]:
    """Take ``count`` trials and idle for ``seconds``, print the table, give the figures."""
    rows: dict[str, Spread] = {"floor: bare ExaBGP": spread(floor(directory, python, count))}
    with Appliance(directory, python=python, inter="300ms") as appliance:
        appliance.start()
        for fault in (haproxy_killed, last_server_down):
            times = trials(appliance, fault, count)
            rows[fault.__name__.replace("_", " ")] = spread(times)
        cost = idle(appliance, seconds)
        exabgp = appliance.status()["lease"]["exabgp"]
    say(f"withdrawal heard by the last of two peers, milliseconds (ExaBGP {exabgp})")
    say(f"{'':30}  median     p99     max")
    for label, row in rows.items():
        say(f"{label:30} {row}")
    base = rows["floor: bare ExaBGP"]
    say("above the floor, milliseconds")
    for label in ("haproxy killed", "last server down"):
        row = rows[label]
        over = [1000 * (row.median - base.median), 1000 * (row.p99 - base.p99)]
        say(f"{label:30} {over[0]:7.2f} {over[1]:7.2f}")
    say(f"idle over {seconds:g} s, one look a second")
    for part in ("agent", "lease", "exabgp"):
        say(f"{part:30} {100 * cost[f'{part}_cpu']:6.2f} %  {cost[f'{part}_mb']:6.1f} MB resident")
    share = 100 * (cost["agent_cpu"] + cost["lease_cpu"])
    size = cost["agent_mb"] + cost["lease_mb"]
    say(f"{'agent and lease together':30} {share:6.2f} %  {size:6.1f} MB resident")
    return {"seconds": {label: asdict(row) for label, row in rows.items()}, "idle": cost}
