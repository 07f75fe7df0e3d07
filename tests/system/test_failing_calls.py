"""System calls that fail: of the disk, and of the sockets of agent and lease process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.appliance import VIP, Appliance, own_network
from support.drains import read_web, run_anycastd, run_drain, run_drainable
from support.machine import Machine, pass_time
from support.peer import wait_for
from support.route_log import RouteLog
from support.strace_calls import STRACE, failing

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        STRACE is None, reason="no strace, or no process may be traced: make packages"
    ),
]

PREFIX = f"{VIP}/32"
DISK = "fsync,rename,renameat,renameat2"
SENDING = "sendto,sendmsg,write"
RECEIVING = "recvfrom,recvmsg,read"
TTL = 3.0


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EROFS"])
def test_a_disk_that_fails_costs_no_drain(tmp_path: Path, error: str) -> None:
    """The drain counts and says that it is not kept; `status` names it; later it is written."""
    words = {"EIO": "Input/output error", "ENOSPC": "No space left", "EROFS": "Read-only"}[error]
    file = tmp_path / "state" / "drains.json"
    with run_drainable(tmp_path) as one:
        assert one.agent is not None
        wire, began = RouteLog(one.peers, PREFIX), time.monotonic()
        with failing(one.agent.pid, DISK, error, tmp_path / "strace") as calls:
            done = run_drain(one, "--force")
            assert done.returncode == 1
            assert "lost with this agent" in done.stderr
            assert words in done.stderr
            assert calls.count()
            wire.wait(0, 30, one.log())
            assert read_web(one)["reason"]["name"] == "drained"
            assert words in str(one.status()["problems"])
            assert not file.exists() or not json.loads(file.read_text(encoding="utf-8"))["value"]
        wait_for(lambda: not one.status()["problems"], 60, f"no problem\n{one.log()}")
        assert json.loads(file.read_text(encoding="utf-8"))["value"]
        assert one.agent.poll() is None
        assert [story.split()[-1] for story in wire.describe_changes(began)] == ["x", "x"]
        assert run_anycastd(one, "undrain").returncode == 0
        one.wait_path(1)


@pytest.mark.parametrize("error", ["ENOBUFS", "ENOMEM", "EIO"])
@pytest.mark.parametrize("calls", [SENDING, RECEIVING], ids=["sending", "receiving"])
def test_an_agent_whose_calls_all_fail(tmp_path: Path, calls: str, error: str) -> None:
    """Nothing proves that HAProxy serves, or renews the lease: gone within `ttl`, then back."""
    with own_network(), Machine(Appliance(tmp_path, ttl=TTL)) as machine:
        machine.wait_settled()
        machine.wait_in_order()
        pid = machine.pid("agent")
        assert pid is not None
        with failing(pid, calls, error, tmp_path / "strace") as failed:
            failed.wait()
            machine.wire.wait(0, 40, machine.appliance.log())
        machine.wait_settled(60)
        machine.wait_in_order(60)


@pytest.mark.parametrize("part", ["agent", "lease"])
@pytest.mark.parametrize("error", ["ENOBUFS", "ENOMEM"])
def test_calls_that_fail_now_and_then(tmp_path: Path, part: str, error: str) -> None:
    """Whatever it costs, all is in order afterwards, and no process was left behind."""
    with own_network(), Machine(Appliance(tmp_path, ttl=TTL)) as machine:
        machine.wait_settled()
        machine.wait_in_order()
        pid = machine.pid(part)
        assert pid is not None
        with failing(pid, f"{SENDING},{RECEIVING}", error, tmp_path / "strace", 4) as failed:
            failed.wait()
            pass_time(time.monotonic(), TTL)
        machine.wait_settled(60)
        machine.wait_in_order(60)
        if part == "agent":
            assert os.path.exists(f"/proc/{pid}"), "it went on"


STARTER = """\
import os, threading
def start():
    while True:
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        os.utime("started")
open("started", "w").close()
threading.Thread(target=start).start()
"""


def test_strace_lets_go_of_a_process_that_starts_programs(tmp_path: Path) -> None:
    """It never ends by itself where a thread waits for its child just then: it is killed."""
    started = tmp_path / "started"
    with subprocess.Popen([sys.executable, "-c", STARTER], cwd=tmp_path) as starter:
        try:
            wait_for(started.exists, 30, "a start")
            for _ in range(5):
                with failing(starter.pid, DISK, "EIO", tmp_path / "strace"):
                    pass
                _wait_touched(started)
        finally:
            starter.kill()


def _wait_touched(path: Path) -> None:
    before = path.stat().st_mtime_ns
    wait_for(lambda: path.stat().st_mtime_ns > before, 30, "another start")
