"""A command that its operator has given up on is never carried out later."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from anycastd.agent.control_client import CHANGES, ControlError, ask_agent
from anycastd.agent.deadline import compute_deadline
from support.appliance import Appliance
from support.drains import read_web, run_drain, run_drainable
from support.peer import wait_for
from support.processes import read_state, signal_pid

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """Give a running appliance."""
    with run_drainable(tmp_path_factory.mktemp("late")) as it:
        yield it


@contextlib.contextmanager
def stopped_agent(one: Appliance) -> Iterator[None]:
    """Stop the agent for a ``with`` block."""
    assert one.agent is not None
    pid = one.agent.pid
    signal_pid(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: read_state(pid) == "T", 20, one.log())
        yield
    finally:
        signal_pid(pid, signal.SIGCONT)


def read_agent(one: Appliance) -> tuple[Any, ...]:
    """Read what a command would change: the agent itself, the level, and the drains."""
    directory = one.directory_of("agent")
    web = read_web(one)
    running = ask_agent(directory, "running", 30)
    return running["instance"], web["level"], [drain["reason"] for drain in web["drains"]]


@pytest.mark.parametrize("name", CHANGES)
def test_a_command_that_timed_out_is_dropped(one: Appliance, name: str) -> None:
    """The client says that it does not know; the agent finds the request later, and drops it."""
    directory = one.directory_of("agent")
    before = read_agent(one)
    with stopped_agent(one):
        with pytest.raises(ControlError, match=r"did not answer within 0.3 s") as found:
            ask_agent(directory, name, 0.3, {"reason": "late", "by": "alice"})
        assert found.value.uncertain
    wait_for(lambda: f"{name} came after its client had given up" in one.log(), 20, one.log())
    assert read_agent(one) == before


@pytest.mark.parametrize("name", CHANGES)
def test_a_command_is_dropped_though_its_client_waits(one: Appliance, name: str) -> None:
    """The deadline counts, not only the connection."""
    before = read_agent(one)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(f"{one.directory_of('agent')}/agent.sock")
        with stopped_agent(one):
            until = compute_deadline(0.1)
            request = {"v": 1, "ask": name, "with": {"reason": "late", "until": until}}
            client.sendall(json.dumps(request).encode() + b"\n")
            wait_for(lambda: compute_deadline(0) > until, 20, one.log())
        answer = json.loads(client.makefile("rb").readline())
    assert answer["error"] == f"{name}: the request came too late; nothing has changed"
    assert read_agent(one) == before


def test_drain_ends_with_75(one: Appliance) -> None:
    """The command itself, with its own time-out."""
    with stopped_agent(one):
        done = run_drain(one)
    assert done.returncode == 75
    assert "it is not known whether the drain began: see `anycastd status`" in done.stderr
    assert not read_web(one)["drains"]
