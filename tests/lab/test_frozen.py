"""A lab of which somebody froze a part ends all the same, and leaves nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycastd.lab.network.namespaces import Nodes
from anycastd.lab.network.process_tree import descendant_pids, end_process, has_ended
from support.processes import signal_pid

pytestmark = pytest.mark.root


@pytest.fixture
def short() -> Iterator[Path]:
    """Give a directory whose name is short enough for sockets below it."""
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        yield Path(name)


def read_state(pid: int) -> str:
    """Return a process's state letter, as the kernel has it."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


def freeze(pid: int) -> None:
    """Freeze a process and wait until it is."""
    signal_pid(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 30
    while read_state(pid) != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("part", ["program", "outer script", "unshare", "inner script"])
def test_a_frozen_part_is_ended(short: Path, part: str) -> None:
    """A frozen program, or a frozen process of the lab itself, keeps nothing from its end."""
    with Nodes(("only",), short / "lab") as nodes:
        process = nodes.start("only", "sleep", "sleep", "1000")
        deadline = time.monotonic() + 30
        while process.pid is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        outer = nodes._outer  # noqa: SLF001 - what a person sees in a list of processes
        assert outer is not None
        everything = [process.pid, outer.pid, *descendant_pids(outer.pid)]
        by_name = {
            "program": process.pid,
            "outer script": outer.pid,
            "unshare": descendant_pids(outer.pid)[0],
            "inner script": nodes.pid,
        }
        freeze(by_name[part])
    assert all(has_ended(pid) for pid in everything)
    assert not (short / "lab").exists()


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ignores all that it can, and was frozen, is killed in the end."""
    monkeypatch.setattr("anycastd.lab.network.process_tree.END_TIMEOUT", 0.2)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", code]) as popen:
        freeze(popen.pid)
        end_process(popen)
        assert popen.returncode == -signal.SIGKILL
