"""The agent lacks descriptors, threads or memory: that is named, and it goes on afterwards."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.appliance import VIP, Appliance, own_network
from support.bgp_wire import Opened
from support.children import wait_for_child
from support.drains import run_anycastd, run_drain
from support.peer import wait_for
from support.processes import signal_pid
from support.reloads import run_foreground
from support.route_log import RouteLog

pytestmark = pytest.mark.root

PREFIX = f"{VIP}/32"
MEGABYTE = 1 << 20


@contextmanager
def limit(pid: int, kind: int, most: int) -> Iterator[None]:
    """Lower a soft limit of a process for a ``with`` block."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, kind, before)


def read_size(pid: int) -> int:
    """Read the address space of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[0]) * 4096


def test_an_agent_that_gets_no_more_threads(tmp_path: Path) -> None:
    """There is no memory for their stacks: it works on, and refuses a reload in words."""
    with own_network(), Appliance(tmp_path) as one:
        one.start()
        assert one.agent is not None
        wire, began = RouteLog(one.peers, PREFIX), time.monotonic()
        with limit(one.agent.pid, resource.RLIMIT_AS, read_size(one.agent.pid) + 4 * MEGABYTE):
            done = run_anycastd(one, "reload")
            assert done.returncode == 78, done.stderr
            assert "refused" in done.stderr
            wait_for(lambda: run_anycastd(one, "status").returncode == 0, 20, one.log())
        assert run_anycastd(one, "reload").returncode == 0, one.log()
        assert not wire.changes(began)
        assert run_drain(one, "--force").returncode == 0


def test_a_reload_without_descriptors(tmp_path: Path) -> None:
    """It is refused before anything changes, by command and by signal."""
    with own_network(), Appliance(tmp_path) as one:
        one.start()
        assert one.agent is not None
        pid = one.agent.pid
        wire, began = RouteLog(one.peers, PREFIX), time.monotonic()
        with limit(pid, resource.RLIMIT_NOFILE, 3):
            signal_pid(pid, signal.SIGHUP)
            wait_for(lambda: "reload refused: " in one.log(), 20, one.log())
        assert "Too many open files" in one.log()
        wait_for(lambda: run_anycastd(one, "reload").returncode == 0, 30, one.log())
        assert not wire.changes(began)


def test_a_speaker_that_cannot_be_started(tmp_path: Path) -> None:
    """In the foreground the agent tries again, and has its routes back once it can."""
    with run_foreground(tmp_path) as one:
        assert one.agent is not None
        pid = one.agent.pid
        speaker = wait_for_child(pid, "anycastd.speaker.exabgp.shim")
        with limit(pid, resource.RLIMIT_NOFILE, 3):
            signal_pid(speaker, signal.SIGKILL)
            wait_for(lambda: "the speaker cannot be started: " in one.log(), 30, one.log())
        for peer in one.peers:
            peer.wait(lambda it: len(it.list_events(Opened)) == 2, 20, "another session")
        one.wait_path(1)
        assert one.agent.poll() is None
        wait_for(lambda: one.status()["problems"] == [], 30, one.log())
