"""Hooks: told of events, bounded in everything, and never in the way of the loop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from anycastd.agent.event_log import EventLog
from anycastd.agent.hook_runner import MAX_RUNNING, MAX_WAITING, HookRunner
from anycastd.agent.hooks import Hooks
from anycastd.profile.model import Hook
from anycastd.views.events import Event, EventKind
from anycastd.views.hook_input import EVENT_GROUPS
from support.waiting import eventually

CHANGE = Event(
    1_796_050_566.5,
    EventKind.TRANSITION,
    "web: preferred -> withdrawn: HAProxy is not running $(reboot) `x` 'y'",
    service="web",
    reason="haproxy_gone",
    fields={"from": "preferred", "to": "withdrawn", "detail": "refused"},
)


def script(path: Path, text: str) -> str:
    """Write a shell script that can be executed; return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def run_hooks(
    work: Callable[[HookRunner, EventLog], Awaitable[None]], *hooks: Hook, close: bool = True
) -> None:
    """Run ``work`` with hooks that follow an event log."""

    async def bounded() -> None:
        events = EventLog()
        runner = HookRunner(hooks, "northeurope")
        runner.start(events)
        try:
            await asyncio.wait_for(work(runner, events), 120)
        finally:
            if close:
                await runner.close()

    asyncio.run(bounded())


def is_done(runner: HookRunner, number: int) -> Callable[[], bool]:
    """Return whether so many commands have ended."""
    return lambda: runner.succeeded + runner.failed >= number


def test_every_kind_of_event_has_a_word() -> None:
    """One each, so that no event is missed by all hooks, and none is told twice."""
    listed = [kind for kinds in EVENT_GROUPS.values() for kind in kinds]
    assert sorted(kind.value for kind in listed) == sorted(kind.value for kind in EventKind)


def test_a_hook_gets_the_event_and_nothing_of_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON on standard input, a few variables, no shell, no descriptor, a group of its own."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/secret")
    out = tmp_path / "out"
    code = (
        "import json, os, sys\n"
        "seen = {'event': json.loads(sys.stdin.read()), 'env': dict(os.environ),\n"
        "        'argv': sys.argv[2:], 'fds': sorted(os.listdir('/proc/self/fd')),\n"
        "        'group': os.getpgrp() == os.getpid()}\n"
        "open(sys.argv[1] + '.new', 'w').write(json.dumps(seen))\n"
        "os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
    )
    hook = Hook((sys.executable, "-c", code, str(out), "$HOME; `id`"), ("transition",))
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)

    async def work(runner: HookRunner, events: EventLog) -> None:
        events.record(CHANGE)
        await eventually(is_done(runner, 1), 60)

    try:
        run_hooks(work, hook)
    finally:
        os.close(leaked)
    seen = json.loads(out.read_text(encoding="utf-8"))
    assert seen["argv"] == ["$HOME; `id`"]
    assert seen["group"] is True
    assert set(seen["fds"]) <= {"0", "1", "2", "3"}  # 3: the directory that it lists
    assert seen["event"]["region"] == "northeurope"
    assert seen["event"]["text"] == CHANGE.text
    assert seen["event"]["fields"]["to"] == "withdrawn"
    ours = {name: value for name, value in seen["env"].items() if name.startswith("ANYCASTD_")}
    assert ours == {
        "ANYCASTD_REGION": "northeurope",
        "ANYCASTD_KIND": "transition",
        "ANYCASTD_SERVICE": "web",
        "ANYCASTD_FROM": "preferred",
        "ANYCASTD_TO": "withdrawn",
        "ANYCASTD_REASON": "haproxy_gone",
        "ANYCASTD_TEXT": CHANGE.text,
    }
    assert "NOTIFY_SOCKET" not in seen["env"]


def test_a_hook_runs_only_for_its_events(tmp_path: Path) -> None:
    """As `events` says."""
    hook = Hook((script(tmp_path / "hook", "exit 0"),), ("drain",))

    async def work(runner: HookRunner, events: EventLog) -> None:
        events.record(CHANGE)
        events.record(Event(1.0, EventKind.DRAIN_BEGAN, "a drain"))
        await eventually(is_done(runner, 1), 60)
        assert runner.succeeded == 1

    run_hooks(work, hook)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("echo no such chat >&2; echo more; exit 3", "exit code 3: no such chat"),
        ("kill -9 $$", "ended by signal 9"),
        ("sleep 600", "it was ended after 0.5 s"),
        ("trap '' TERM INT HUP; echo stuck; while :; do sleep 1; done", "ended after 0.5 s: stuck"),
        ("exec yes flood", "ended by signal 13: flood"),
        ("printf '\\033[2Jred\\n'; exit 1", "exit code 1: \\x1b[2Jred"),
    ],
)
def test_a_hook_that_fails_is_named_in_the_log(
    text: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the first line of what it wrote."""
    path = script(tmp_path / "hook", text)
    timeout = 0.5 if "0.5" in why else 60.0

    async def work(runner: HookRunner, events: EventLog) -> None:
        events.record(CHANGE)
        await eventually(is_done(runner, 1), 90)
        assert runner.failed == 1

    with caplog.at_level(logging.INFO):
        run_hooks(work, Hook((path,), ("transition",), timeout))
    (line,) = [each.getMessage() for each in caplog.records if "the hook" in each.getMessage()]
    assert line.startswith(f"the hook {path} failed for transition of web: ")
    assert why in line


@pytest.mark.parametrize("name", ["missing", "directory", "plain"])
def test_a_command_that_cannot_be_executed(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the agent goes on."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "plain").write_text("text", encoding="utf-8")

    async def work(runner: HookRunner, events: EventLog) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            events.record(CHANGE)
        await eventually(is_done(runner, 20), 60)
        assert len(os.listdir("/proc/self/fd")) <= before

    run_hooks(work, Hook((str(tmp_path / name),), ("transition",)))
    assert "cannot be started: " in caplog.text


def test_what_a_hook_leaves_behind_is_ended(tmp_path: Path) -> None:
    """A process that it started in the background does not stay, and holds nothing up."""
    pid_file = tmp_path / "pid"
    text = f"sleep 600 & echo $! > {pid_file}.new; mv {pid_file}.new {pid_file}"
    path = script(tmp_path / "hook", text)

    async def work(runner: HookRunner, events: EventLog) -> None:
        events.record(CHANGE)
        await eventually(is_done(runner, 1), 60)
        assert runner.succeeded == 1
        pid = int(pid_file.read_text(encoding="utf-8"))
        await eventually(lambda: not is_running(pid), 30)

    run_hooks(work, Hook((path,), ("transition",), 60))


def is_running(pid: int) -> bool:
    """Return whether a process is there, and no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_thousand_events_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """So many run and wait, the others are dropped, counted, and named in one line."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    path = script(tmp_path / "hook", f"read line < {gate}")

    async def work(runner: HookRunner, events: EventLog) -> None:
        began = time.thread_time()
        for _ in range(1000):
            events.record(CHANGE)
        spent = time.thread_time() - began
        assert spent < 5  # of the loop's processor time, with the log; 0.05 s on a free machine
        assert 1000 - MAX_RUNNING - MAX_WAITING <= runner.dropped <= 1000 - MAX_WAITING
        await eventually(lambda: "events were dropped" in caplog.text, 60)

    run_hooks(work, Hook((path,), ("transition",), 60))
    lines = [each for each in caplog.messages if "were dropped" in each]
    assert len(lines) <= 2
    assert " transition): " in lines[0]


def test_the_loop_goes_on_while_hooks_start_and_hang(tmp_path: Path) -> None:
    """The longest moment without the loop is that of a thread that wants Python's lock."""
    path = script(tmp_path / "hook", "exec sleep 600")

    async def work(runner: HookRunner, events: EventLog) -> None:
        worst = 0.0
        for number in range(200):
            if number % 2 == 0:
                events.record(CHANGE)
            began, spent = time.monotonic(), time.process_time()
            await asyncio.sleep(0.005)
            # What the whole process computed meanwhile: a busy machine does not count.
            if time.monotonic() - began > 0.05:
                worst = max(worst, time.process_time() - spent)
        assert worst < 0.5
        await eventually(is_done(runner, 1), 60)

    run_hooks(work, Hook((path,), ("transition",), 0.2))


def test_the_end_of_the_agent_waits_a_moment_for_hooks(tmp_path: Path) -> None:
    """Those that are quick are finished, those that hang are killed."""
    quick = script(tmp_path / "quick", f"echo done > {tmp_path}/done")
    slow = script(tmp_path / "slow", f"echo $$ > {tmp_path}/pid; exec sleep 600")

    async def work(runner: HookRunner, events: EventLog) -> None:
        events.record(Event(1.0, EventKind.PROBLEM_BEGAN, "a problem"))
        await eventually((tmp_path / "pid").exists, 60)
        events.record(Event(1.0, EventKind.AGENT_STOPPED, "the agent ends"))
        began = time.monotonic()
        await runner.close()
        assert time.monotonic() - began < 30
        assert runner.succeeded + runner.failed == 2

    run_hooks(work, Hook((quick,), ("agent",), 60), Hook((slow,), ("problem",), 300), close=False)
    text = (tmp_path / "pid").read_text(encoding="utf-8")
    assert not is_running(int(text))


def test_without_hooks_nothing_runs() -> None:
    """Neither a thread nor a descriptor."""
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    hooks = Hooks((), "northeurope")
    hooks.start(EventLog())
    assert hooks.runner is None
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
    asyncio.run(hooks.close())


def test_without_hooks_nothing_heavy_is_loaded() -> None:
    """An agent without hooks does not pay for ctypes."""
    code = "import sys, anycastd.agent.daemon; print('ctypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"False\n"
