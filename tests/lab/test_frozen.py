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
from support.processes import WITH_ALL_SIGNALS, signal_pid

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[2]


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


def find_bird(directory: Path) -> int | None:
    """Return the PID of the far router's BIRD, in our own namespace of PIDs."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text(encoding="utf-8").split("\0")
        except OSError:
            continue
        if words[0] == "bird" and f"{directory}/msee.bird.conf" in words:
            return int(entry.name)
    return None


@pytest.mark.parametrize("interrupt", [True, False])
def test_a_story_with_a_frozen_router_ends_without_a_traceback(
    short: Path, *, interrupt: bool
) -> None:
    """Ctrl-C ends it with 130; without one the lab says that a router does not answer."""
    directory = short / "lab"
    with subprocess.Popen(
        [*WITH_ALL_SIGNALS, sys.executable, "-m", "anycastd", "lab", "--directory", str(directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as popen:
        assert popen.stdout is not None
        for line in popen.stdout:
            if line.startswith("1. "):
                break
        bird = find_bird(directory)
        assert bird is not None
        freeze(bird)
        if interrupt:
            signal_pid(popen.pid, signal.SIGINT)
        told = popen.stdout.read()
        code = popen.wait(60)
    assert "Traceback" not in told
    assert code == (130 if interrupt else 70), told
    last = (
        "interrupted; the network was removed" if interrupt else "does not answer; was it frozen?"
    )
    assert last in told
    assert not directory.exists()
