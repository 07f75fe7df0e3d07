"""Tests of `anycastd lab`: its stories with the shipped files, its errors and its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from anycastd.lab.network.process_tree import descendant_pids, has_ended
from support.processes import WITH_ALL_SIGNALS, signal_pid

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "anycastd", "lab")


def run_lab(*arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    argv = (*before, *COMMAND, *arguments)
    return subprocess.run(
        argv, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=250, check=False
    )


def paths_by_next_hop(table: dict[str, Any]) -> dict[str, str]:
    """Return a table as next hop -> AS path as text."""
    return {row["next_hop"]: " ".join(map(str, row["path"])) for row in table["rows"]}


def best(table: dict[str, Any]) -> str:
    """Return the next hop of a table's best route."""
    (hop,) = (row["next_hop"] for row in table["rows"] if row["best"])
    return str(hop)


NORTH = {"172.16.158.12": "65515 65010", "172.16.158.13": "65515 65010"}
WEST = {
    "172.16.138.12": "65515 65010 65010 65010",
    "172.16.138.13": "65515 65010 65010 65010",
}
STANDBY = "65515" + " 65010" * 7


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("checks", ["calm", "fast"])
def test_the_story(checks: str) -> None:
    """Every step of the failover story passes, with the expected tables and times."""
    options = ["--fast"] if checks == "fast" else []
    done = run_lab("--json", "--client-timeout", "0.6", *options)
    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)
    assert story["passed"] is True
    assert story["checks"] == checks
    steps = {step["name"]: step for step in story["steps"]}
    assert list(steps) == [
        "baseline",
        "speaker-stopped",
        "speaker-back",
        "backends-killed",
        "backends-back",
        "haproxy-killed",
        "haproxy-back",
        "drained",
        "undrained",
    ]
    assert all(step["passed"] and step["checks"] for step in steps.values())

    (table,) = steps["baseline"]["tables"]
    assert paths_by_next_hop(table) == NORTH | WEST
    assert best(table) in NORTH
    assert set(steps["baseline"]["answers"]) == {"northeurope ne-web1", "northeurope ne-web2"}
    check_failures(steps)
    check_returns(steps)
    check_drain(steps)


def check_failures(steps: dict[str, Any]) -> None:
    """Check the tables and times of the steps in which the primary region fails."""
    (table,) = steps["speaker-stopped"]["tables"]
    assert paths_by_next_hop(table) == WEST
    for name in ("backends-killed", "haproxy-killed"):
        (table,) = steps[name]["tables"]
        assert paths_by_next_hop(table) == WEST
        assert best(table) in WEST
        times = {one["name"]: one["seconds"] for one in steps[name]["times"]}
        assert 0 < times["withdrawn-ne-ars0"] < 3
        assert 0 < times["withdrawn-ne-ars1"] < 3
        assert 0 < times["switched"] < 3
        # When HAProxy is killed, the route may be gone between two requests.
        if steps[name]["failed"] or name == "backends-killed":
            assert 0 < times["outage"] == steps[name]["outage"] < 3


def check_returns(steps: dict[str, Any]) -> None:
    """Check that the primary region returns at standby first; the story judges the requests."""
    for name in ("speaker-back", "backends-back", "haproxy-back"):
        standby, preferred = steps[name]["tables"]
        assert paths_by_next_hop(standby) == dict.fromkeys(NORTH, STANDBY) | WEST
        assert best(standby) in WEST
        assert paths_by_next_hop(preferred) == NORTH | WEST
        assert best(preferred) in NORTH
        times = {one["name"]: one["seconds"] for one in steps[name]["times"]}
        assert times["standby-ne-ars0"] < times["switched"]


def check_drain(steps: dict[str, Any]) -> None:
    """Check that a drain moves the traffic before it withdraws the route."""
    longest, after = steps["drained"]["tables"]
    assert paths_by_next_hop(longest) == dict.fromkeys(NORTH, STANDBY) | WEST
    assert paths_by_next_hop(after) == WEST
    times = {one["name"]: one["seconds"] for one in steps["drained"]["times"]}
    assert times["switched"] + 1 < times["withdrawn-ne-ars0"]
    (table,) = steps["undrained"]["tables"]
    assert paths_by_next_hop(table) == NORTH | WEST


def test_a_story_that_is_not_seen_fails() -> None:
    """With a speaker that cannot start, the lab soon says so and exits with 1."""
    done = run_lab("--speaker", "/bin/false")
    assert done.returncode == 1
    assert "ne-nva speaker ends again and again" in done.stdout
    assert "FAILED: 0 of 9 steps passed" in done.stdout
    assert "\033" not in done.stdout


def test_without_root_it_refuses() -> None:
    """Without root the lab says what to do and exits with 77."""
    # A user who may read this checkout, wherever it lies, and nothing more.
    reads = "+dac_read_search,+dac_override"
    unprivileged = ("setpriv", "--reuid=65534", "--clear-groups", f"--inh-caps={reads}")
    done = run_lab(before=(*unprivileged, f"--ambient-caps={reads}"))
    assert done.returncode == 77
    assert done.stderr == (
        "anycastd lab: it needs root to create network namespaces: run it with sudo\n"
    )


def test_root_without_capabilities_gets_a_message() -> None:
    """A root that may not create namespaces (in a container) gets a message and exit code 77."""
    done = run_lab(before=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    assert done.returncode == 77
    assert "cannot make network namespaces" in done.stderr


def test_a_missing_haproxy_is_named() -> None:
    """A missing program is named with its Debian package, and the lab exits with 69."""
    done = run_lab("--haproxy", "/nonexistent/haproxy")
    assert done.returncode == 69
    assert "/nonexistent/haproxy (Debian package haproxy)" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_story_cut_short(number: signal.Signals) -> None:
    """After a signal in the middle of a story no process and no file is left."""
    directory = Path(tempfile.mkdtemp(prefix="lab-"))
    with subprocess.Popen(
        [*WITH_ALL_SIGNALS, *COMMAND, "--directory", str(directory)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as popen:
        agents = ("ne-nva-agent.log", "we-nva-agent.log")
        deadline = time.monotonic() + 60
        while not all((directory / "log" / name).exists() for name in agents):
            assert time.monotonic() < deadline, "no agent was started"
            assert popen.poll() is None
            time.sleep(0.05)
        pids = descendant_pids(popen.pid)
        assert len(pids) > 30
        signal_pid(popen.pid, number)
        popen.wait(40)
    deadline = time.monotonic() + 30
    while directory.exists() or not all(has_ended(pid) for pid in pids):
        assert time.monotonic() < deadline, [pid for pid in pids if not has_ended(pid)]
        time.sleep(0.02)
