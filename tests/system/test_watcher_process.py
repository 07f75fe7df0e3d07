"""The watcher as a process of its own: paused with its HAProxy, and refused."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.haproxy import HAProxy, until, without_capability
from support.processes import signal_pid

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def process(path: Path, interval: float, output: Path, *before: str) -> Iterator[int]:
    """Run a watcher as a process; its observations are lines of ``output``."""
    argv = [sys.executable, "-m", "support.watcher_thread", str(path), "anycastd"]
    with output.open("wb") as file:
        child = subprocess.Popen(
            [*before, *argv, str(interval)],
            stdout=file,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        )
    try:
        yield child.pid
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("first", ["watcher", "haproxy"])
def test_a_pause_of_the_whole_machine_is_no_missed_look(
    tmp_path: Path, haproxy: HAProxy, first: str
) -> None:
    """Watcher and HAProxy are stopped for three intervals and resumed: nothing was missed.

    Three times, each while a question waits for its answer; whoever wakes first, the other one
    does soon.
    """
    output = tmp_path / "seen"

    def looks() -> int:
        return output.read_text(encoding="utf-8").count("Snapshot")

    with process(haproxy.socket, 0.5, output) as pid:
        for number in range(3):
            _one_more(looks)
            _wait(0.45)  # the next question is asked in a moment ...
            haproxy.signal(signal.SIGSTOP)
            _wait(0.1 + 0.05 * number)  # ... and waits
            signal_pid(pid, signal.SIGSTOP)
            _wait(1.5)
            order: list[Callable[[], object]] = [
                lambda: signal_pid(pid, signal.SIGCONT),
                lambda: haproxy.signal(signal.SIGCONT),
            ]
            for resume in order if first == "watcher" else reversed(order):
                resume()
                _wait(0.03)
        _one_more(looks)
        _one_more(looks)
    assert {line.split()[1] for line in output.read_text(encoding="utf-8").splitlines()} == {
        "Snapshot"
    }


def _one_more(count: Callable[[], int]) -> None:
    before = count()
    until(lambda: count() > before, 10)


def _wait(seconds: float) -> None:
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end, seconds + 5, every=0.002)


def test_a_socket_that_it_may_not_open_is_unreadable(tmp_path: Path, haproxy: HAProxy) -> None:
    """Wrong permissions are not HAProxy's death: cannot see, and the words say why."""
    output = tmp_path / "seen"
    haproxy.socket.chmod(0)
    with process(haproxy.socket, 0.5, output, *without_capability("dac_override")):
        until(lambda: output.read_text(encoding="utf-8").count("\n") >= 3, 10)
    assert all("Unreadable" in line for line in output.read_text(encoding="utf-8").splitlines())
    assert "Permission denied" in output.read_text(encoding="utf-8")
