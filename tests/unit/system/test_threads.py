"""Threads that are there before they are needed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from anycastd.system.threads import start_threads

CODE = """
import resource, threading
from anycastd.system.threads import NoThreadError, start_threads
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
if AT_START:
    resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), -1))
try:
    executor = start_threads(4)
except NoThreadError as error:
    print("refused:", error)
else:
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), -1))
    gate = threading.Event()
    waiting = [executor.submit(gate.wait, 10) for _ in range(3)]
    print(executor.submit(str, "done").result(10))
    gate.set()
"""


def run_limited(*, at_start: bool) -> str:
    """Run the code above in a process that gets no more memory for stacks."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.replace("AT_START", str(at_start))],
        capture_output=True,
        encoding="utf-8",
        check=True,
        cwd=Path(__file__).resolve().parents[3],
        timeout=60,
    )
    return done.stdout


def test_all_run_at_once() -> None:
    """Each of them is there at the return."""
    before = threading.active_count()
    executor = start_threads(3)
    assert threading.active_count() == before + 3
    assert executor.submit(str, 7).result() == "7"
    executor.shutdown()


def test_a_limit_that_comes_later_stops_no_work() -> None:
    """No thread is started after the return."""
    assert run_limited(at_start=False) == "done\n"


def test_a_limit_at_the_start_is_named() -> None:
    """With what an operator can raise."""
    said = run_limited(at_start=True)
    assert said.startswith("refused: 4 threads cannot be started")
    assert "TasksMax=" in said
