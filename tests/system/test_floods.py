"""A flood of connections costs the agent nothing that it needs to see HAProxy."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.appliance import PROFILE, Appliance, own_network
from support.bgp_wire import Update
from support.watched import Watched

pytestmark = pytest.mark.root

DESCRIPTORS = 128
"""The agent's limit in these tests; a flood would need all of a larger one, too."""
SECONDS = 6.0
"""Longer than `deadline` (1 s) and the lease (2 s) together."""
WEB = ("127.0.0.1", 9480)


def connect_web(_: Appliance) -> socket.socket:
    """Connect to the HTTP port."""
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(WEB)
    return connection


def connect_control(appliance: Appliance) -> socket.socket:
    """Connect to the control socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    connection.connect_ex(f"{appliance.directory_of('agent')}/agent.sock")
    return connection


def find_lowest_free_descriptor(pid: int) -> int:
    """Find the lowest number that none of a process's lasting descriptors has."""
    lasting = set(os.listdir(f"/proc/{pid}/fd"))
    for _ in range(50):
        time.sleep(0.01)
        lasting &= set(os.listdir(f"/proc/{pid}/fd"))
    return next(number for number in itertools.count() if str(number) not in lasting)


def test_an_agent_without_a_free_descriptor_still_looks(tmp_path: Path) -> None:
    """It can open nothing at all for 12 deadlines: no UPDATE, since a look has a reserve."""
    with own_network(), Appliance(tmp_path, ttl=2, deadline=0.5) as one:
        one.start()
        assert one.agent is not None
        soft, hard = resource.prlimit(one.agent.pid, resource.RLIMIT_NOFILE)
        limit = find_lowest_free_descriptor(one.agent.pid)
        resource.prlimit(one.agent.pid, resource.RLIMIT_NOFILE, (limit, hard))
        began_at = time.monotonic()
        one.backends[0].stop()
        Watched(one).assert_calm(began_at, 6.0)
        one.backends[1].stop()
        one.wait_path(0, 20)
        resource.prlimit(one.agent.pid, resource.RLIMIT_NOFILE, (soft, hard))
        for backend in one.backends:
            backend.start()
        one.wait_path(1)
        assert "Traceback" not in one.log()
        assert one.status()["services"]["web"]["level"] == "preferred"


@pytest.mark.parametrize("connect", [connect_web, connect_control])
def test_silent_connections_move_no_route(
    tmp_path: Path, connect: Callable[[Appliance], socket.socket]
) -> None:
    """300 silent connections at a time, new ones each second: no UPDATE, and it still answers."""
    profile = PROFILE.replace("services:\n", "web: {{listen: '127.0.0.1:9480'}}\nservices:\n", 1)
    with own_network(), Appliance(tmp_path, profile=profile, ttl=2, deadline=1) as one:
        one.start()
        assert one.agent is not None
        resource.prlimit(one.agent.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        before = [len(peer.list_events(Update)) for peer in one.peers]
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            with contextlib.ExitStack() as stack:
                for _ in range(300):
                    stack.enter_context(connect(one))
                time.sleep(1.0)
        assert [len(peer.list_events(Update)) for peer in one.peers] == before
        assert one.status()["services"]["web"]["level"] == "preferred"
