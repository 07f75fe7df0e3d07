"""Tests that nothing is left of a lab, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anycastd.lab.network.azure import AZURE
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.namespaces import LabError, Nodes
from anycastd.lab.network.process_tree import descendant_pids, has_ended
from support.processes import WITH_ALL_SIGNALS, signal_pid

pytestmark = pytest.mark.root

# A network with routers, and with a daemon that is hard to end: it has left its parent and ignores
# the usual signals.
PROGRAM = """
import signal, sys
from pathlib import Path
from anycastd.lab.network import routers
from anycastd.lab.network.azure import AZURE
from anycastd.lab.network.topology import wire_nodes
from anycastd.lab.network.namespaces import Nodes
with Nodes(AZURE.names, Path(sys.argv[1])) as nodes:
    wire_nodes(nodes, AZURE)
    routers.start_routers(nodes, AZURE)
    nodes.run("client", "sh", "-c", "trap '' HUP INT TERM; setsid sleep 1000 >&- 2>&- <&- &")
    print(nodes.pid, flush=True)
    line = sys.stdin.readline()
    if line:
        sys.exit("an error")
"""


def pids_in_namespace_of(pid: int) -> set[int]:
    """Return the PIDs of all processes in the PID namespace of a process."""
    space = os.readlink(f"/proc/{pid}/ns/pid")
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "ns" / "pid") == space:
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def pids_with_mounts_of(directory: Path) -> set[int]:
    """Return the PIDs of all processes that have a mount of the namespaces in a directory."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"{directory}/net/" in (entry / "mountinfo").read_text(encoding="utf-8"):
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def wait(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Wait for a condition, or fail."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not in {timeout} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def short() -> Iterator[Path]:
    """Give a directory whose name is short enough for sockets below it."""
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        yield Path(name)


@pytest.fixture
def program(short: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the program of this file."""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [*WITH_ALL_SIGNALS, sys.executable, "-c", PROGRAM, str(short / "lab")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as popen:
        yield popen
        if popen.poll() is None:
            popen.kill()


def close(popen: subprocess.Popen[str]) -> None:
    """Let the program end normally."""
    assert popen.stdin is not None
    popen.stdin.close()


def fail(popen: subprocess.Popen[str]) -> None:
    """Let the program end by an exception inside the lab."""
    assert popen.stdin is not None
    popen.stdin.write("fail\n")
    popen.stdin.flush()


def interrupt(popen: subprocess.Popen[str]) -> None:
    """Send SIGINT, as Ctrl-C does."""
    popen.send_signal(signal.SIGINT)


def kill(popen: subprocess.Popen[str]) -> None:
    """Send SIGKILL."""
    popen.send_signal(signal.SIGKILL)


def kill_first_inside(popen: subprocess.Popen[str]) -> None:
    """Kill the first process of the lab's PID namespace, then the program."""
    unshare = [pid for pid in descendant_pids(popen.pid) if _name(pid) == "unshare"]
    assert len(unshare) == 1
    signal_pid(unshare[0], signal.SIGKILL)
    popen.send_signal(signal.SIGKILL)


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("end", [close, fail, interrupt, kill, kill_first_inside])
def test_nothing_is_left(
    program: subprocess.Popen[str], short: Path, end: Callable[[subprocess.Popen[str]], None]
) -> None:
    """Processes, namespaces and files are gone after exit, error, Ctrl-C and kill -9 alike."""
    assert program.stdout is not None
    first = int(program.stdout.readline())
    # The first process and what it waits with, ten routers, the daemon.
    wait(lambda: len(pids_in_namespace_of(first)) >= 13, 40, "everything runs")
    pids = pids_in_namespace_of(first)
    lab = short / "lab"
    assert Path(f"/proc/{first}/mountinfo").read_text(encoding="utf-8").count(f"{lab}/net/") == len(
        AZURE.names
    )
    assert pids_with_mounts_of(lab) >= pids
    outside = descendant_pids(program.pid)

    end(program)

    program.wait(40)
    wait(lambda: all(has_ended(pid) for pid in pids), 30, "every process inside is gone")
    wait(lambda: all(has_ended(pid) for pid in outside), 30, "every process outside is gone")
    wait(lambda: not lab.exists(), 30, "the directory is gone")
    # A network namespace without processes, and without a mount namespace that pins it, is none.
    assert not pids_with_mounts_of(lab)


def test_labs_do_not_meet(short: Path) -> None:
    """Two labs may run at the same time, with the same names in them."""
    with Nodes(("a", "b"), short / "one") as one, Nodes(("a", "b"), short / "two") as two:
        one.run(
            "a",
            "ip",
            "link",
            "add",
            "veth0",
            "type",
            "veth",
            "peer",
            "netns",
            one.namespace_path("b"),
        )
        assert "veth0" in one.run("a", "ip", "link")
        assert "veth0" not in two.run("a", "ip", "link")


def test_a_directory_with_something_in_it_is_refused(short: Path) -> None:
    """The lab removes its directory at the end, so it refuses one that is not empty."""
    (short / "precious").touch()
    with pytest.raises(LabError, match="not empty"):
        Nodes(("a",), short)
    assert (short / "precious").exists()


def test_a_directory_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    """The path of a socket is limited, and the error says what to do."""
    with pytest.raises(LabError, match="too long for sockets below it; give a --directory"):
        Nodes(("a",), tmp_path / ("x" * 60))
    assert not list(tmp_path.iterdir())


def test_a_missing_program_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without BIRD the lab says which Debian package to install, and leaves nothing."""
    for name in ("unshare", "nsenter", "ip", "haproxy"):
        (tmp_path / name).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"bird \(Debian package bird2\)") as caught:
        Lab(directory=tmp_path / "lab")
    assert caught.value.code == 69
    assert not (tmp_path / "lab").exists()
