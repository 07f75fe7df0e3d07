"""A reload without what it needs: no drain is lost, and no agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anycastd.agent.control_client import ask_agent
from support.appliance import PROFILE, Appliance, own_network
from support.drains import run_anycastd, run_drain
from support.full_disk import full_disk as fill_disk
from support.peer import wait_for
from support.route_log import RouteLog

pytestmark = pytest.mark.root

SERVICES = 60
PREFIX = "203.0.113.10/32"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Make the state directory of an appliance a full disk."""
    with fill_disk(tmp_path / "state") as place:
        yield place


def build_profile() -> str:
    """Build a profile of many services."""
    head, service = PROFILE.split("services:\n")
    many = [
        service.replace("  web:", f"  web{number}:", 1).replace(
            "vip: 203.0.113.10/", f"vip: 198.51.100.{number}/"
        )
        for number in range(1, SERVICES)
    ]
    return head + "services:\n" + service + "".join(many)


def read_status(one: Appliance) -> dict[str, Any]:
    """Read the status; empty while no agent answers."""
    done = run_anycastd(one, "status", "--json")
    if done.returncode == 3:
        return {}
    status: dict[str, Any] = json.loads(done.stdout)
    return status


def test_many_drains_on_a_full_disk_outlive_a_reload(tmp_path: Path, full_disk: Path) -> None:
    """Their texts have more than a variable of the environment takes."""  # review M10
    assert full_disk.is_dir()
    with own_network(), Appliance(tmp_path, profile=build_profile()) as one:
        one.start()
        directory, reason = one.directory_of("agent"), "\U0001f600" * 200
        for name in ["web", *(f"web{number}" for number in range(1, SERVICES))]:
            arguments = {"service": name, "reason": reason, "by": "me"}
            answer = ask_agent(directory, "drain", 15, arguments)
            assert "No space left" in str(answer["warnings"]), answer
        pid = read_status(one)["pid"]
        assert run_anycastd(one, "reload").returncode == 0, one.log()
        status = wait_for(lambda: read_status(one), 30, one.log())
        assert status["pid"] == pid
        drains = [each["drains"] for each in status["services"].values()]
        assert [each[0]["reason"] for each in drains] == [reason] * SERVICES


@pytest.fixture
def lost_python(tmp_path: Path) -> Path:
    """Return a Python that vanishes once it has started `run --validate`."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(os.path.realpath(sys.executable))
    (tmp_path / "site").mkdir()
    text = f"import os, sys\nif '--validate' in sys.orig_argv:\n    os.unlink({str(python)!r})\n"
    (tmp_path / "site" / "sitecustomize.py").write_text(text, encoding="utf-8")
    return python


def test_a_new_agent_that_cannot_be_executed(
    tmp_path: Path, lost_python: Path, full_disk: Path
) -> None:
    """The old one goes on, with its drains and routes; the next reload succeeds."""
    assert full_disk.is_dir()
    with own_network(), Appliance(tmp_path) as one:
        one.start_speaker()
        where = (str(tmp_path / "site"), one.environment["PYTHONPATH"], *filter(None, sys.path))
        with (tmp_path / "agent.err").open("ab") as log:
            one.agent = subprocess.Popen(
                [*one.command(str(lost_python), "run", "agent"), "--lease", str(one.lease)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=one.environment | {"PYTHONPATH": os.pathsep.join(where)},
            )
        one.wait_path(1)
        assert run_drain(one, "--force").returncode == 1
        one.wait_path(7)
        wire, began = RouteLog(one.peers, PREFIX), time.monotonic()
        done = run_anycastd(one, "reload")
        goes_on = "cannot execute the new agent: No such file or directory; this agent goes on"
        wait_for(lambda: goes_on in one.log(), 30, done.stderr + one.log())
        status = wait_for(lambda: read_status(one), 30, one.log())
        assert status["pid"] == one.agent.pid
        assert status["services"]["web"]["drains"][0]["reason"] == "new kernel"
        assert done.returncode == 69
        assert goes_on in done.stderr
        assert goes_on in str(status["problems"])
        assert not wire.changes(began)
        lost_python.symlink_to(os.path.realpath(sys.executable))
        (tmp_path / "site" / "sitecustomize.py").unlink()
        assert run_anycastd(one, "reload").returncode == 0, one.log()
        status = wait_for(lambda: read_status(one), 30, one.log())
        assert status["services"]["web"]["drains"][0]["reason"] == "new kernel"
        assert goes_on not in str(status["problems"])
        assert run_anycastd(one, "undrain").returncode == 1
        one.wait_path(1)
