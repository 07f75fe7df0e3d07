"""Checks by a command: real programs, what they leave behind, and what cannot be started."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from anycastd.evidence.checks.observation import CheckObservation
from anycastd.evidence.checks.runner import CheckRunner
from anycastd.profile.checks import CommandCheck
from support.checks import make_check, run_check, use_check, while_running
from support.processes import list_threads_children, read_state, signal_pid
from support.waiting import eventually


def shell(text: str) -> CommandCheck:
    """Give a check that runs a line of shell."""
    return CommandCheck(("/bin/sh", "-c", text))


@pytest.mark.parametrize(
    ("line", "passed", "detail"),
    [
        ("exit 0", True, "exit status 0"),
        ("echo; echo '  lag 3 s'; echo more", True, "exit status 0: lag 3 s"),
        ("echo down >&2; exit 3", False, "exit status 3: down"),
        ("kill -9 $$", False, "ended by signal 9"),
        (r"printf 'a\033[31m\377'; exit 1", False, "exit status 1: a\\x1b[31m\ufffd"),
        ("test -t 0; cat; pwd", True, "exit status 0: /"),
        ("echo $ANYCASTD_CHECK $SECRET", True, "exit status 0: app"),
        ("kill -TERM $$", False, "ended by signal 15"),
        ("head -c 70000 /dev/zero", False, "killed: it wrote over 64 KiB"),
    ],
)
def test_the_exit_status_decides(
    monkeypatch: pytest.MonkeyPatch, line: str, passed: bool, detail: str
) -> None:
    """The first line of its output is shown, printable; it has no input, and runs in /."""
    monkeypatch.setenv("SECRET", "x")
    found = run_check(shell(line))
    assert (found.passed, found.detail) == (passed, detail)


def test_a_command_that_cannot_start_proves_nothing(tmp_path: Path) -> None:
    """It is missing, not executable, a folder, or its interpreter is missing."""
    script = tmp_path / "check"
    at = str(script)
    expected = {
        "missing": f"there is no {at}",
        "plain": f"{at} is not executable for this user",
        "script": f"the interpreter in the first line of {at} does not exist",
    }
    for case, why in expected.items():
        if case == "plain":
            script.write_text("#!/nowhere/sh\n", encoding="utf-8")
        if case == "script":
            script.chmod(stat.S_IRWXU)
        found = run_check(CommandCheck((at,)))
        assert (found.passed, found.detail) == (None, f"the command cannot be started: {why}")
    found = run_check(CommandCheck((str(tmp_path),)))
    assert (found.passed, found.detail) == (
        None,
        f"the command cannot be started: {tmp_path} is no file",
    )


def test_the_whole_group_is_killed_at_the_time_limit(tmp_path: Path) -> None:
    """Also grandchildren, also those that ignore signals; no zombie is left."""
    pids = tmp_path / "pids"
    line = f"trap '' TERM; (trap '' TERM; sleep 600 & echo $! >{pids}; wait) & sleep 600"
    before = set(list_threads_children(os.getpid()))
    found = run_check(shell(line), timeout=2.0)
    assert (found.passed, found.detail) == (False, "killed after 2 s")
    grandchild = int(pids.read_text(encoding="utf-8"))
    until = time.monotonic() + 10
    while read_state(grandchild) != "Z" and time.monotonic() < until:
        time.sleep(0.01)  # its new parent reaps it
    assert read_state(grandchild) == "Z"
    assert set(list_threads_children(os.getpid())) <= before


def test_what_a_command_leaves_behind_is_killed(tmp_path: Path) -> None:
    """A process in the background does not keep the check waiting, and does not stay."""
    pids = tmp_path / "pids"
    began_at = time.monotonic()
    found = run_check(shell(f"sleep 600 & echo $! >{pids}"), timeout=30.0)
    assert (found.passed, found.detail) == (True, "exit status 0")
    assert time.monotonic() - began_at < 20
    left = int(pids.read_text(encoding="utf-8"))
    until = time.monotonic() + 10
    while read_state(left) != "Z" and time.monotonic() < until:
        time.sleep(0.01)
    assert read_state(left) == "Z"


def test_the_end_of_the_agent_ends_the_command(tmp_path: Path) -> None:
    """The run that goes on is killed, and waited for."""
    pids = tmp_path / "pids"

    async def use(runner: CheckRunner, _: list[CheckObservation]) -> int:
        async def started() -> int:
            await eventually(lambda: pids.is_file() and pids.read_text(encoding="utf-8"), 20)
            return int(pids.read_text(encoding="utf-8"))

        return await while_running(runner, started)

    check = make_check(shell(f"echo $$ >{pids}.new; mv {pids}.new {pids}; sleep 600"), timeout=60)
    pid = use_check(check, use)
    assert not Path(f"/proc/{pid}").exists() or read_state(pid) != "S"
    assert pid not in list_threads_children(os.getpid())


def test_a_hung_command_holds_nothing_up() -> None:
    """While it hangs, the loop turns; it is an observation when its time is over."""

    async def use(runner: CheckRunner, seen: list[CheckObservation]) -> int:
        turns = 0

        async def wait() -> int:
            nonlocal turns
            while len(seen) < 2:
                await asyncio.sleep(0.01)
                turns += 1
            return turns

        return await while_running(runner, wait)

    assert use_check(make_check(shell("sleep 600"), timeout=0.5), use) > 10


def test_a_stopped_command_is_killed_too(tmp_path: Path) -> None:
    """SIGSTOP does not keep it from being killed."""
    pids = tmp_path / "pids"

    async def use(runner: CheckRunner, seen: list[CheckObservation]) -> bool:
        async def wait() -> bool:
            await eventually(lambda: pids.is_file() and pids.read_text(encoding="utf-8"), 20)
            signal_pid(int(pids.read_text(encoding="utf-8")), signal.SIGSTOP)
            await eventually(lambda: bool(seen), 20)
            return seen[0].passed is False

        return await while_running(runner, wait)

    line = f"echo $$ >{pids}.new; mv {pids}.new {pids}; while :; do sleep 1; done"
    assert use_check(make_check(shell(line), timeout=2.0), use)


def test_no_descriptor_is_left() -> None:
    """After many runs, those that fail to start among them."""
    kinds = (shell("exit 0"), shell("sleep 600"), CommandCheck(("/nowhere/check",)))
    for asks in kinds:
        run_check(asks, timeout=0.2)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        for asks in kinds:
            run_check(asks, timeout=0.2)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
