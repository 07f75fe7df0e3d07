"""Drains on a whole appliance: what the BGP peers receive, and what the operator is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import VIP, Appliance
from support.bgp_wire import Closed
from support.drains import REGIONS, Region, read_web, run_anycastd, run_drain, run_drainable
from support.full_disk import full_disk
from support.peer import wait_for
from support.reloads import read_instance, run_reload
from support.route_log import RouteLog

pytestmark = pytest.mark.root

PREFIX = f"{VIP}/32"


def test_a_drain_is_a_longer_path_and_then_a_withdrawal(tmp_path: Path) -> None:
    """One replacement, one withdrawal, `wait` apart, without a session reset; then gently back."""
    with run_drainable(tmp_path) as one:
        wire = RouteLog(one.peers, PREFIX)
        began = time.monotonic()
        done = run_drain(one, "--wait")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0] == "web: at the longest path now, withdrawn in 1.5 s"
        assert lines[-1] == "safe to reboot"
        assert [word for word in lines if "sessions left" in word]
        # ExaBGP confirms a withdrawal before the peers have read it.
        wire.wait(0, 20, one.log())
        assert wire.describe_changes(began) == ["7 x", "7 x"]
        for number in range(2):
            longer, gone = [each for each in wire.changes(began) if each.peer == number]
            assert 1.4 < gone.at - longer.at < 10
        # RFC 8326's community for the neighbor that honours it, and for no other.
        told = {each.peer: each.route for each in wire.changes(began) if each.route is not None}
        assert [told[number].communities for number in range(2)] == [(), ("65535:0",)]
        found = read_web(one)
        assert found["reason"]["name"] == "drained"
        assert found["drains"][0]["reason"] == "new kernel"
        assert found["drains"][0]["phase"] == "withdrawn"
        assert found["safe"] is True
        shown = run_anycastd(one, "status", "web")
        assert shown.returncode == 1  # meant, so not critical
        assert "northeurope: web is drained; " in shown.stdout
        assert "  drain  all services, for " in shown.stdout
        assert "         new kernel; by " in shown.stdout
        assert "         0 sessions left; safe to reboot" in shown.stdout

        back = time.monotonic()
        ended = run_anycastd(one, "undrain")
        assert ended.returncode == 0, ended.stderr
        assert "web: comes back as its rules and timers allow" in ended.stdout
        wire.wait(1, 20, one.log())
        assert set(wire.describe_changes(back)) <= {"1", "7 1"}
        assert not any(peer.list_events(Closed) for peer in one.peers)


def start_again(one: Appliance) -> None:
    """Start an agent, and wait until it has decided."""
    one.start_agent()
    wait_for(lambda: read_instance(one), 60, one.log())


def killed(one: Appliance) -> None:
    """Kill the agent and start another one."""
    assert one.agent is not None
    one.agent.kill()
    one.agent.wait()
    start_again(one)


def reloaded(one: Appliance) -> None:
    """Reload the agent."""
    assert run_reload(one).returncode == 0


def restarted(one: Appliance) -> None:
    """Stop the agent as systemd does, and start it."""
    assert one.agent is not None
    one.agent.send_signal(signal.SIGTERM)
    one.agent.wait(20)
    start_again(one)


def rebooted(one: Appliance) -> None:
    """Kill speaker and agent, and start them as after a reboot with the clock set back."""
    for process in (one.agent, one.speaker):
        assert process is not None
        process.kill()
        process.wait()
    file = Path(one.directory_of("state"), "drains.json")
    text = file.read_text(encoding="utf-8")
    boot = text.split('"boot": "')[1].split('"')[0]
    wall = text.split('"wall": ')[1].split(",")[0]
    file.write_text(
        text.replace(boot, "another").replace(wall, str(time.time() + 1e6)), encoding="utf-8"
    )
    one.start_speaker()
    start_again(one)


@pytest.mark.parametrize("again", [killed, reloaded, restarted, rebooted])
def test_a_drain_outlives_the_agent(tmp_path: Path, again: object) -> None:
    """The VIP is not announced again before `undrain`, whatever happens to the agent."""
    assert callable(again)
    with run_drainable(tmp_path) as one:
        wire = RouteLog(one.peers, PREFIX)
        assert run_drain(one, "--wait", "--for", "1h").returncode == 0
        began = time.monotonic()
        again(one)
        wait_for(lambda: read_web(one)["in_sync"], 20, one.log())
        found = read_web(one)
        assert (found["level"], found["reason"]["name"]) == ("withdrawn", "drained")
        assert 3000 < found["drains"][0]["until"] <= 3600
        assert not [change for change in wire.changes(began) if change.route is not None]
        assert run_anycastd(one, "undrain").returncode == 0
        wire.wait(1, 30, one.log())


def test_a_drain_is_kept_before_it_is_acknowledged(tmp_path: Path) -> None:
    """The agent is killed right after its answer: the next one continues the drain."""
    with run_drainable(tmp_path, changes=[("wait: 1.5", "wait: 300")], ttl=8) as one:
        wire = RouteLog(one.peers, PREFIX)
        began = time.monotonic()
        assert run_drain(one).returncode == 0
        killed(one)
        wait_for(lambda: read_web(one)["in_sync"], 20, one.log())
        (found,) = read_web(one)["drains"]
        assert found["reason"] == "new kernel"
        assert 0 <= found["left"] < 300
        if wire.describe_changes(began) == ["7", "7"]:  # else it came back too late for its lease
            assert found["phase"] == "longer path"
            assert "  no change" in run_reload(one, "--plan").stdout.splitlines()
        else:
            assert wire.describe_changes(began) == ["7 x", "7 x"]
            assert found["phase"] == "withdrawn"


def test_a_drain_ends_when_it_was_told_to(tmp_path: Path) -> None:
    """By itself, with a line in the log."""
    with run_drainable(tmp_path) as one:
        assert run_drain(one, "web", "--for", "4s").returncode == 0
        one.wait_path(0)
        one.wait_path(1)
        assert read_web(one)["drains"] == []
        ended = "drain of web ends: its time is up (new kernel; by "
        wait_for(lambda: ended in one.log(), 10, one.log())


def test_where_prepends_do_not_steer_a_drain_is_a_withdrawal(tmp_path: Path) -> None:
    """There is no longer path first, and the command says so; `wait` follows the withdrawal."""
    unsteered = [("bgp:\n", "bgp:\n  prepends_steer: false\n")]
    with run_drainable(tmp_path, changes=unsteered) as one:
        wire = RouteLog(one.peers, PREFIX)
        began = time.monotonic()
        done = run_drain(one, "--wait")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0].startswith("web: withdrawn now, since prepends do not steer here; ")
        assert lines[-1] == "safe to reboot"
        wire.wait(0, 20, one.log())
        assert wire.describe_changes(began) == ["x", "x"]
        assert time.monotonic() - max(each.at for each in wire.changes()) > 1.5


def test_what_cannot_be_meant_is_said(tmp_path: Path) -> None:
    """Each mistake has one message and its own exit code, and changes nothing."""
    with run_drainable(tmp_path) as one:

        def said(command: str, *options: str) -> tuple[int, str]:
            done = run_anycastd(one, command, *options)
            assert done.stdout == ""
            return done.returncode, done.stderr.removeprefix("anycastd: ").strip()

        why = ("--reason", "new kernel")
        unknown = "there is no service wbe; the profile has: web"
        assert said("drain", "wbe", *why) == (2, unknown)
        assert said("undrain", "wbe") == (2, unknown)
        assert said("drain")[0] == 2
        assert said("drain", "--for", "soon", *why)[0] == 2
        assert said("undrain") == (4, "all services: there is no drain to end")

        one.haproxy.stop()
        one.wait_path(0)
        done = run_drain(one, "web")
        assert (done.returncode, done.stdout.splitlines()[0]) == (
            0,
            "web: is withdrawn already, and stays so",
        )
        code, text = said("drain", "web", *why)
        assert code == 4
        assert text.startswith("web: it is drained already, for ")
        assert " s (new kernel; by " in text
        assert text.endswith("`anycastd undrain web` ends it")
        assert said("undrain") == (
            4,
            "all services: there is no such drain to end; there is a drain of web",
        )
        # Both cover it, and each has to be ended.
        assert "both have to be ended" in run_drain(one).stdout
        assert (
            "stays drained by the drain of all services"
            in run_anycastd(one, "undrain", "web").stdout
        )
        one.haproxy.start()
        assert read_web(one)["drains"][0]["what"] == "all services"
        assert run_anycastd(one, "undrain").returncode == 0
        one.wait_path(1)


# The guard ---------------------------------------------------------------------------------------


def test_the_last_region_that_serves_is_not_drained(tmp_path: Path) -> None:
    """Unreachable, not serving, draining: refused with the reason; --force is obeyed."""
    with run_drainable(tmp_path, REGIONS) as one:

        def refused() -> str:
            done = run_drain(one)
            assert (done.returncode, done.stdout) == (4, "")
            return done.stderr

        assert "no other region is known to serve (westeurope " in refused()
        with Region() as other:
            other.serves = False
            assert "westeurope does not serve" in refused()
            other.serves = other.draining = True
            assert "westeurope is being drained itself" in refused()
        assert read_web(one)["drains"] == []
        assert run_drain(one, "--force", "--wait").returncode == 0
        one.wait_path(0)


def test_the_guard_is_asked_again_before_the_withdrawal(tmp_path: Path) -> None:
    """If the other region fails meanwhile, this one stays at the longest path until it is back."""
    # Long enough for the other region to fail first.
    later = [("wait: 1.5", "wait: 4")]
    with run_drainable(tmp_path, REGIONS, later) as one, Region() as other:
        wire = RouteLog(one.peers, PREFIX)
        began = time.monotonic()
        assert run_drain(one).returncode == 0
        other.serves = False
        wait_for(lambda: read_web(one)["reason"]["name"] == "drain_waits", 20, one.log())
        assert "westeurope does not serve" in read_web(one)["reason"]["detail"]
        before = other.requests
        wait_for(lambda: other.requests > before + 2, 20, "the agent does not ask again")
        assert wire.describe_changes(began) == ["7", "7"]
        other.serves = True
        wire.wait(0, 20, one.log())
        assert wire.describe_changes(began) == ["7 x", "7 x"]


def test_the_status_is_there_over_http(tmp_path: Path) -> None:
    """Other regions and monitoring see what `status` shows; nothing can be changed there."""
    with run_drainable(tmp_path, REGIONS) as one, Region():

        def asked(text: str) -> str:
            with socket.create_connection(("192.0.2.10", 9480), 5) as connection:
                connection.sendall(text.encode())
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
            return answer.decode()

        get = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
        assert '"level": "preferred"' in asked(get.format("/status"))
        assert '"203.0.113.10/32": {"serves": true, "draining": false, ' in asked(
            get.format("/serving")
        )
        assert run_drain(one, "--wait").returncode == 0
        wait_for(
            lambda: '"serves": false, "draining": true' in asked(get.format("/serving")), 5, "?"
        )
        assert asked(get.format("/etc")).startswith("HTTP/1.1 404 ")
        assert asked("POST /status HTTP/1.1\r\nHost: x\r\n\r\n").startswith("HTTP/1.1 405 ")
        assert asked("hello\r\n\r\n").startswith("HTTP/1.1 400 ")


def test_all_regions_are_asked_at_once(tmp_path: Path) -> None:
    """`status --all`: who announces what; a region that does not answer is shown as such."""
    with run_drainable(tmp_path, REGIONS) as one:
        with Region():
            done = run_anycastd(one, "status", "--all")
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.startswith("OK all regions: 1 of 1 VIPs announced; 2 of 2 regions ")
            (row,) = [line for line in done.stdout.splitlines() if line.startswith("web ")]
            assert row.split()[1:] == [VIP, "northeurope", "(this)", "preferred", "65010", "wins?"]
        done = run_anycastd(one, "status", "--all")
        assert done.returncode == 1
        assert "1 of 2 regions answer" in done.stdout
        assert "westeurope " in done.stdout
        quiet = run_anycastd(one, "status", "--all", "-q")
        assert quiet.stdout == "WARNING 1 of 1 VIPs announced; 1 of 2 regions answer\n"


# What is left ------------------------------------------------------------------------------------


def test_sessions_are_waited_for_and_what_is_left_is_said(tmp_path: Path) -> None:
    """An open session delays `safe to reboot` for `linger` seconds; then it is mentioned."""
    with run_drainable(tmp_path) as one, socket.create_connection((VIP, 80), 5):
        wait_for(lambda: read_web(one)["sessions"] == 1, 10, "the session is seen")
        began = time.monotonic()
        done = run_drain(one, "--wait")
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - began > 3.4  # wait and linger
        assert "withdrawn, 1 session left" in done.stdout
        assert done.stdout.splitlines()[-1] == (
            "safe to reboot; web: 1 session still open, which a reboot cuts"
        )


def test_waiting_ends_when_the_drain_does(tmp_path: Path) -> None:
    """If the drain is ended, `--wait` ends with an exit code of its own."""
    with run_drainable(tmp_path) as one, socket.create_connection((VIP, 80), 5):
        words = ("drain", "--reason", "x", "--wait", "--directory", one.directory_of("agent"))
        waiting = subprocess.Popen(
            [sys.executable, "-m", "anycastd", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=one.environment,
        )
        wait_for(lambda: read_web(one)["drains"], 10, "the drain")
        assert run_anycastd(one, "undrain").returncode == 0
        _, said = waiting.communicate(timeout=20)
        assert waiting.returncode == 5
        assert "the drain was ended before it was safe to reboot" in said


# What cannot be kept -----------------------------------------------------------------------------


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a full disk."""
    with full_disk(tmp_path / "full") as place:
        yield place


def test_a_drain_that_cannot_be_kept_is_never_lost_silently(tmp_path: Path, full: Path) -> None:
    """It begins; answer and status report it, a reload keeps it; with room it is saved."""
    state = Path(tmp_path, "state")
    state.symlink_to(full)
    with run_drainable(tmp_path) as one:
        wait_for(lambda: "No space left" in str(one.status()["problems"]), 30, one.log())
        done = run_drain(one, "--wait")
        assert done.returncode == 1
        assert "lost with this agent" in done.stderr
        assert "No space left on device" in done.stderr
        reloaded(one)
        assert read_web(one)["reason"]["name"] == "drained"
        # The new agent tries to write it in a thread of its own.
        wait_for(lambda: "No space left" in str(one.status()["problems"]), 20, one.log())
        (full / "clutter").unlink()
        wait_for(lambda: not one.status()["problems"], 60, str(one.status()["problems"]))
        killed(one)
        wait_for(lambda: read_web(one)["reason"]["name"] == "drained", 20, one.log())


# A stop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("systemctl", "story"),
    [
        ("echo 7 $4 stop running", "7 x"),
        ("echo 7 $4 restart running", "nothing"),
        ("true", "nothing"),
        ("echo Failed to connect to bus >&2; exit 1", "7 x"),
    ],
)
def test_a_stop_drains_shortly_and_a_restart_does_not(
    tmp_path: Path, systemctl: str, story: str
) -> None:
    """Systemd's list of jobs tells a stop from a restart; the next start announces again."""
    # The guard would refuse, but nobody is asked.  The lease lasts for the start of an agent.
    with run_drainable(tmp_path, REGIONS, ttl=8) as one:
        tools = tmp_path / "bin"
        tools.mkdir()
        (tools / "systemctl").write_text(f"#!/bin/sh\n{systemctl}\n", encoding="utf-8")
        (tools / "systemctl").chmod(0o755)
        wire = RouteLog(one.peers, PREFIX)
        began = time.monotonic()
        path = {"PATH": f"{tools}:{os.environ['PATH']}"}
        done = run_anycastd(one, "drain", "--stopping", environment=path)
        assert done.returncode == 0, done.stderr
        took = time.monotonic() - began
        assert took < 15
        if "x" in story:
            if took < 2:  # before its time limit: so the withdrawal is confirmed
                assert (read_web(one)["level"], read_web(one)["in_sync"]) == ("withdrawn", True)
            wire.wait(0, 20, one.log())  # ExaBGP confirms it before the peers have read it
        assert wire.describe_changes(began) == [story] * 2
        restarted(one)
        wire.wait(1, 30, one.log())
        back = {each.removeprefix(story).strip() for each in wire.describe_changes(began)}
        assert back <= ({"1", "7 1"} if story == "7 x" else {""})
