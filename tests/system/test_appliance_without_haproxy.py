"""A whole appliance without HAProxy: agent, ExaBGP and peers are real, and checks decide."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from support.appliance import Appliance, own_network
from support.haproxy import Web, until
from support.processes import list_threads_children, read_command_line, read_state, signal_pid

pytestmark = pytest.mark.root

PROFILE = """\
region: northeurope
platform: plain
lease: {{ttl: 2}}
bgp:
  local_as: 65010
  router_id: 192.0.2.10
  local_address: 192.0.2.10
  neighbors:
    - {{address: 192.0.2.4, peer_as: 65515}}
    - {{address: 192.0.2.5, peer_as: 65515}}
checks:
  app:
    {{http: 'http://localhost:{port}/health', contains: ok, every: 0.1, timeout: 2, deadline: 30}}
  lag: {{command: ['{folder}/lag'], every: 0.2, timeout: 3, deadline: 8}}
  busy: {{file: '{folder}/busy', exists: false, every: 60}}
  load: {{load: {{load_average: [500, 1000]}}, every: 0.5}}
services:
  dns:
    vip: 203.0.113.10/32
    serve: {{all: [{{check: app}}, {{check: busy}}]}}
    healthy: {{all: [{{check: lag}}, {{check: load}}]}}
    degraded: {{prepend: 3, fall: 0.2}}
    standby: {{prepend: 6, after: 0.2}}
    failed: withdraw
    return: {{rise: 0.5, hold_down: 1, hold_down_max: 2, spacing: 0.5}}
"""
QUICK = "#!/bin/sh\necho lag 2 s\n"


class Small(Appliance):
    """An appliance whose HAProxy never runs."""

    def __enter__(self) -> Self:
        for peer in self.peers:
            peer.__enter__()
        return self


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Small, Web, Path]]:
    """An appliance that serves, what its check asks, and the folder of its files."""
    folder = tmp_path_factory.mktemp("checks")
    write_command(folder, QUICK)
    with own_network():
        web = Web()
        with Small(folder, profile=PROFILE, port=web.port, folder=folder) as it:
            it.start()
            yield it, web, folder
        web.stop()


def write_command(folder: Path, text: str) -> None:
    """Replace the command of a check."""
    new = folder / "new"
    new.write_text(text, encoding="utf-8")
    new.chmod(0o755)
    new.replace(folder / "lag")


def ask(it: Appliance, command: str) -> Any:
    """Give the JSON of a command."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "anycastd", command, "--json"),
            *("--directory", it.directory_of("agent")),
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=it.environment,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_status_and_explain_show_the_checks(scene: tuple[Small, Web, Path]) -> None:
    """Each with what it asks and what it found; there is no HAProxy to show."""
    it, _, folder = scene
    status = it.status()
    assert status["haproxy"] == {}
    assert {name: each["state"] for name, each in status["checks"].items()} == dict.fromkeys(
        ("app", "lag", "busy", "load"), "passes"
    )
    assert status["checks"]["lag"]["why"] == "exit status 0: lag 2 s"
    assert status["checks"]["lag"]["asks"] == f"command {folder}/lag"
    assert status["checks"]["load"]["step"] == 0
    text = subprocess.run(
        [sys.executable, "-m", "anycastd", "status", "--directory", it.directory_of("agent")],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=it.environment | {"COLUMNS": "80"},
    ).stdout
    assert "CHECK  STATE" in text
    assert "HAPROXY" not in text
    assert max(map(len, text.splitlines())) <= 80
    rules = ask(it, "explain")["services"]["dns"]["rules"]
    assert [(each["rule"], each["truth"]) for each in rules] == [
        ("check app passes", "true"),
        ("check busy passes", "true"),
        ("check lag passes", "true"),
        ("check load passes", "true"),
    ]


def test_the_lease_is_renewed_while_nothing_changes(scene: tuple[Small, Web, Path]) -> None:
    """Several times the lease: no route leaves, and no peer hears anything."""
    it, _, _ = scene
    it.wait_path(1)
    heard = [len(peer.events) for peer in it.peers]
    began_at = time.monotonic()
    until(lambda: time.monotonic() - began_at > 5, 10)  # in which nothing may happen
    assert [len(peer.events) for peer in it.peers] == heard
    it.wait_path(1)


def test_a_dead_server_withdraws_and_returns(scene: tuple[Small, Web, Path]) -> None:
    """By the check's `fall`; the route comes back when it passes again."""
    it, web, _ = scene
    it.wait_path(1)
    web.stop()
    it.wait_path(0)
    assert "check app" in json.dumps(it.status()["services"]["dns"]["reason"])
    web.start()
    it.wait_path(1)


def test_a_silent_server_withdraws(scene: tuple[Small, Web, Path]) -> None:
    """It accepts and says nothing: each run fails at its time limit."""
    it, web, _ = scene
    it.wait_path(1)
    web.answer = None
    try:
        it.wait_path(0)
        assert it.status()["checks"]["app"]["why"].startswith("no answer within 2 s")
    finally:
        web.answer = Web.OK
    it.wait_path(1)


def test_a_file_takes_the_route_away_at_once(scene: tuple[Small, Web, Path]) -> None:
    """Long before `every`: 60 s."""
    it, _, folder = scene
    it.wait_path(1)
    began_at = time.monotonic()
    (folder / "busy").touch()
    it.wait_path(0)
    assert time.monotonic() - began_at < 30
    (folder / "busy").unlink()
    it.wait_path(1)


def test_a_command_degrades_and_hangs(scene: tuple[Small, Web, Path]) -> None:
    """A bad exit status makes the path longer; while it hangs, the agent goes on."""
    it, _, folder = scene
    it.wait_path(1)
    write_command(folder, "#!/bin/sh\necho lag 900 s\nexit 1\n")
    it.wait_path(4)
    assert it.status()["checks"]["lag"]["why"] == "exit status 1: lag 900 s"
    write_command(folder, QUICK)
    it.wait_path(1)
    write_command(folder, "#!/bin/sh\nsleep 600\n")
    until(lambda: commands_of(it, "sleep"), timeout=30)
    (folder / "busy").touch()
    it.wait_path(0)  # a hung command delays no other check, and no pass
    (folder / "busy").unlink()
    write_command(folder, QUICK)
    it.wait_path(1)


def test_a_command_that_is_gone_is_named_and_counts_as_false(
    scene: tuple[Small, Web, Path],
) -> None:
    """Unknown until its deadline, then the level is lower; a new command ends that."""
    it, _, folder = scene
    it.wait_path(1)
    (folder / "lag").unlink()
    until(lambda: it.status()["checks"]["lag"]["state"] == "unseen", timeout=30)
    assert it.status()["checks"]["lag"]["why"].startswith(
        f"the command cannot be started: there is no {folder}/lag"
    )
    it.wait_path(4)
    write_command(folder, QUICK)
    it.wait_path(1)


def commands_of(it: Appliance, word: str) -> list[int]:
    """List the descendants of the agent whose command line has ``word``."""
    assert it.agent is not None
    found, left = [], [it.agent.pid]
    while left:
        pid = left.pop()
        left += list_threads_children(pid)
        if word in read_command_line(pid) and pid != it.agent.pid:
            found.append(pid)
    return found


def test_a_reload_and_a_stop_leave_no_command_behind(tmp_path: Path) -> None:
    """The run that goes on is killed and waited for, also where the process becomes the new one."""
    pids = tmp_path / "pids"
    write_command(tmp_path, QUICK)
    hanging = f"#!/bin/sh\necho $$ >>{pids}\nsleep 600\n"
    with own_network():
        web = Web()
        with Small(tmp_path, profile=PROFILE, port=web.port, folder=tmp_path) as it:
            it.start()
            agent = it.agent
            assert agent is not None
            write_command(tmp_path, hanging)
            first = wait_for_pid(pids, 0)
            signal_pid(agent.pid, signal.SIGHUP)
            second = wait_for_pid(pids, 1)  # the new agent has started the command anew
            assert first not in list_threads_children(agent.pid)
            assert read_state(first) == "Z"  # gone: nobody has to wait for it
            assert it.status()["pid"] == agent.pid
            it.wait_path(1)
            agent.terminate()
            agent.wait(60)
            until(lambda: read_state(second) == "Z", timeout=30)
        web.stop()


def wait_for_pid(pids: Path, number: int) -> int:
    """Wait for the line ``number`` of a file of pids."""

    def read() -> list[str]:
        return pids.read_text(encoding="ascii").split() if pids.exists() else []

    until(lambda: len(read()) > number, timeout=30)
    return int(read()[number])
