"""An agent's start until its first Want, and what agent and lease process cost while idle.

The first Want is measured from before exec until the lease process logs it; the CPU time of the
agent until then is beside it, since it depends less on what else the machine does.
"""

from __future__ import annotations

import signal
import time
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

from noise import print_line, summarize

from anycastd.agent.accepted_file import NAME
from support.appliance import PROFILE, Appliance
from support.children import find_lease_process
from support.peer import wait_for
from support.processes import signal_pid

START_TIMEOUT = 20.0
"""An agent that has sent nothing for so long (s) is taken for one that does not start."""
RUNS = 8
"""Starts of each kind for each of ``--times``."""
SETTLE = 5.0
"""Seconds after a start that do not count as idle."""
WEB = '\nweb: {{listen: "127.0.0.1:9480"}}\n'
PAGES = ("/", "/metrics", "/status", "/history", "/healthz", "/readyz")


def measure_start(directory: Path, python: str, times: int) -> dict[str, Any]:
    """Measure starts whose profile was checked before, and starts that check it; print both."""
    kept: list[tuple[float, float]] = []
    anew: list[tuple[float, float]] = []
    with Appliance(directory, python=python) as appliance:
        appliance.start()
        file = Path(appliance.directory_of("agent")) / NAME
        for _ in range(RUNS * times):
            wait_for(file.exists, 20, f"what the check accepted\n{appliance.log()}")
            kept.append(time_first_want(appliance))
            file.unlink()
            anew.append(time_first_want(appliance))
    rows = {
        "profile checked before": [wall for wall, _ in kept],
        "its CPU time": [cpu for _, cpu in kept],
        "profile checked anew": [wall for wall, _ in anew],
        "its CPU time, without the child": [cpu for _, cpu in anew],
    }
    print_line("an agent from exec to its first Want, milliseconds")
    print_line(f"{'':34}  median     p99     max")
    figures = {}
    for label, values in rows.items():
        row = summarize(values)
        print_line(f"{label:34} {row}")
        figures[label] = asdict(row)
    return figures


def time_first_want(appliance: Appliance) -> tuple[float, float]:
    """Restart the agent in order; return seconds to its first Want, and of its CPU time.

    In order: five agents that die within a minute would be a crash loop.
    """
    assert appliance.agent is not None
    appliance.wait_path(1)
    signal_pid(appliance.agent.pid, signal.SIGTERM)
    appliance.agent.wait(START_TIMEOUT)
    log = appliance.directory / "speaker.err"
    size = log.stat().st_size
    began_at = time.monotonic()
    appliance.start_agent()
    line = f"the agent with pid {appliance.agent.pid} owns the lease".encode()
    with log.open("rb") as stream:
        stream.seek(size)
        said = b""
        while line not in said:
            took = time.monotonic() - began_at
            assert took < START_TIMEOUT, f"no first Want in {took:.0f} s\n{appliance.log()}"
            time.sleep(0.0005)
            said += stream.read()
    return time.monotonic() - began_at, read_cpu(appliance.agent.pid)


def measure_idle(directory: Path, python: str, seconds: float) -> dict[str, Any]:
    """Measure agent and lease process while idle, without and with ``web``; print the figures."""
    print_line("agent and lease process while idle: CPU in % of a core, memory in MB")
    print_line(f"{'':34}     CPU     RSS     PSS")
    figures: dict[str, Any] = {}
    for label, profile in (("without web", PROFILE), ("with web, a page each 5 s", PROFILE + WEB)):
        below = directory / label.split()[0]
        below.mkdir()
        with Appliance(below, python=python, profile=profile) as appliance:
            appliance.start()
            found = _measure_idle(appliance, seconds, has_web=profile is not PROFILE)
        total = [sum(each[n] for each in found.values()) for n in range(3)]
        for part, row in {**found, "both": total}.items():
            text = f"{100 * row[0]:7.2f} {row[1]:7.1f} {row[2]:7.1f}"
            print_line(f"{f'{label}: {part}':34} {text}")
            figures[f"{label}: {part}"] = {"cpu": row[0], "rss_mb": row[1], "pss_mb": row[2]}
    return figures


def _measure_idle(
    appliance: Appliance, seconds: float, *, has_web: bool
) -> dict[str, tuple[float, float, float]]:
    """Return part -> CPU (share of a core), resident memory, and its own share of it (MB)."""
    assert appliance.agent is not None
    pids = {"agent": appliance.agent.pid, "lease": find_lease_process(appliance)}
    for page in PAGES if has_web else ():
        read_page(page)
    _pass_time(SETTLE)
    before = {part: read_cpu(pid) for part, pid in pids.items()}
    began_at = time.monotonic()
    while (left := seconds - (time.monotonic() - began_at)) > 0:
        _pass_time(min(left, 5.0))
        if has_web:
            read_page("/")
    took = time.monotonic() - began_at
    return {
        part: ((read_cpu(pid) - before[part]) / took, *read_memory(pid))
        for part, pid in pids.items()
    }


def read_page(path: str) -> None:
    """Read a page of the agent."""
    with urllib.request.urlopen(f"http://127.0.0.1:9480{path}") as answer:
        answer.read()


def read_cpu(pid: int) -> float:
    """Read the CPU time of all threads of a process that live, in seconds (proc(5))."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text(encoding="ascii").split()[0]) for file in files) / 1e9


def read_memory(pid: int) -> tuple[float, float]:
    """Read resident memory, and the share of it that is a process's own (RSS and PSS, MB)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
    return found["Rss"], found["Pss"]


def _pass_time(seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= ends_at, seconds + 5, "time to pass")
