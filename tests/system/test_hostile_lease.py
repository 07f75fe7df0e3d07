"""Attacks on the lease's socket: no healthy agent loses a route, and the next agent gets in."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import PEERS, VIP, Appliance, own_network
from support.bgp_wire import Update
from support.peer import wait_for
from support.processes import list_children, read_command_line

pytestmark = pytest.mark.root

DURATION = 4.0
"""Seconds of an attack: shorter than the lease."""


def build_want(**fields: Any) -> dict[str, Any]:
    """Return a Want without routes of this process, with some fields changed."""
    want = {"v": 1, "serial": 1, "ttl": 5, "epoch": time.monotonic_ns(), "pid": os.getpid()}
    return want | {"routes": []} | fields


def build_routes(count: int) -> list[dict[str, Any]]:
    """Return foreign routes."""
    one = {"neighbor": PEERS[0], "next_hop": "192.0.2.10", "as_path": [65010], "med": None}
    return [one | {"prefix": f"10.{n >> 8 & 255}.{n & 255}.0/24"} for n in range(count)]


def connect(appliance: Appliance) -> socket.socket:
    """Connect to the lease's socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(appliance.lease))
    connection.settimeout(2)
    return connection


def send(appliance: Appliance, line: bytes) -> str:
    """Send a line; return the answers until the connection closes, or is silent for 2 s."""
    answer = b""
    with connect(appliance) as connection, contextlib.suppress(TimeoutError, OSError):
        connection.sendall(line)
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode()


def lease_pid(appliance: Appliance) -> int:
    """Return the pid of the lease process."""
    assert appliance.speaker is not None
    return next(
        pid
        for pid in list_children(appliance.speaker.pid)
        if "lease_process" in read_command_line(pid)
    )


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def unharmed(appliance: Appliance) -> Iterator[int]:
    """Yield the lease process's pid; check that it stayed, and that no peer heard of a change."""
    pid = lease_pid(appliance)
    before = [len(peer.list_events(Update)) for peer in appliance.peers]
    yield pid
    # ExaBGP carries out its commands in order: a Want that is confirmed shows that it has done all.
    serial = appliance.status()["lease"]["serial"]
    wait_for(lambda: appliance.status()["lease"]["acked"] > serial, 30, "a later Want, confirmed")
    assert lease_pid(appliance) == pid, appliance.log()
    for peer, count in zip(appliance.peers, before, strict=True):
        assert list(peer.table) == [f"{VIP}/32"], appliance.log()
        assert len(peer.list_events(Update)) == count, appliance.log()


def attack(count: int, once: Callable[[], object]) -> None:
    """Run ``once`` in ``count`` threads, again and again, for DURATION seconds."""
    ends_at = time.monotonic() + DURATION

    def loop() -> None:
        while time.monotonic() < ends_at:
            with contextlib.suppress(OSError):
                once()

    threads = [threading.Thread(target=loop) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Appliance]:
    """Yield an appliance whose peers have the route."""
    with own_network(), Appliance(tmp_path) as appliance:
        appliance.start()
        yield appliance


def change_agent(appliance: Appliance) -> None:
    """End the agent without notice, and start another one, which gets in."""
    assert appliance.agent is not None
    appliance.agent.kill()
    appliance.agent.wait()
    appliance.start_agent()
    owns = f"the agent with pid {appliance.agent.pid} owns the lease"
    wait_for(lambda: owns in appliance.log(), 30, f"the next agent gets in\n{appliance.log()}")
    appliance.wait_path(1)


def test_large_messages_of_others(one: Appliance) -> None:
    """Fourteen connections with messages of 3.8 MB: they are refused, and nothing else happens."""
    line = json.dumps(build_want(epoch=1, routes=build_routes(33_000))).encode() + b"\n"
    assert len(line) > 3_400_000
    with unharmed(one):
        attack(14, lambda: send(one, line))
    change_agent(one)


def test_newer_messages_of_others(one: Appliance) -> None:
    """The same with an epoch that would own the lease: too large, so refused."""
    routes = build_routes(30_000)
    with unharmed(one):
        line = json.dumps(build_want(routes=routes)).encode() + b"\n"
        answers: list[str] = []
        attack(2, lambda: answers.append(send(one, line)))
    assert answers
    change_agent(one)


def test_lines_without_an_end(one: Appliance) -> None:
    """Twelve connections, each with as much as it may have, and then a byte at a time."""
    with contextlib.ExitStack() as stack, unharmed(one) as pid:
        connections = [stack.enter_context(connect(one)) for _ in range(12)]
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(b"x" * 250_000)
        used = cpu_seconds(pid)
        began = time.monotonic()
        while time.monotonic() - began < DURATION:
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.send(b"x")
            time.sleep(0.001)
        assert cpu_seconds(pid) - used < DURATION / 2
    change_agent(one)


@pytest.mark.parametrize(
    "line",
    [b"\n", b"[" * 100_000 + b"\n", b'{"v":1}\n' * 1000, b"\0" * 1000 + b"\n", b'{"v":true}\n'],
    ids=["empty", "deep", "no fields", "NUL", "true"],
)
def test_garbage(one: Appliance, line: bytes) -> None:
    """Lines without a meaning, from four connections at once."""
    with unharmed(one):
        attack(4, lambda: send(one, line * (60_000 // len(line) or 1)))


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"epoch": 10**18, "ttl": 0}, "epoch lies"),
        ({"epoch": 10**400}, "epoch is"),
        ({"epoch": 1e300}, "epoch is"),
        ({"pid": 1}, "pid 1"),
        ({"pid": True}, "pid is"),
        ({"routes": {}}, "routes is"),
        ({"routes": ""}, "routes is"),
        ({"serial": "7"}, "serial is"),
        ({"v": True}, "version True"),
        ({"ttl": float("inf")}, "ttl is"),
        ({"ttl": True}, "ttl is"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_one_message(one: Appliance, fields: dict[str, Any], refusal: str) -> None:
    """It is refused in words; no route moves, and the next agent gets in."""
    with unharmed(one):
        answer = send(one, json.dumps(build_want(**fields)).encode() + b"\n")
    assert refusal in answer
    if "epoch" in fields:
        change_agent(one)


def test_no_descriptor_is_left(one: Appliance) -> None:
    """It is named once; the agent stays, another one gets in, and a dead one is withdrawn."""
    pid = lease_pid(one)
    with unharmed(one), contextlib.ExitStack() as stack:
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        count = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (count + 2, limits[1]))
        for _ in range(20):
            stack.enter_context(connect(one))
        wait_for(lambda: "Too many open files" in one.log(), 20, "it is named")
    assert one.agent is not None
    used, ends_at = cpu_seconds(pid), time.monotonic() + 1
    while time.monotonic() < ends_at:
        time.sleep(0.05)
    assert cpu_seconds(pid) - used < 0.5  # the socket that it cannot accept does not wake it
    change_agent(one)
    assert one.log().count("cannot take another connection") == 1
    one.agent.kill()
    began = time.monotonic()
    one.wait_path(0, 20)
    assert time.monotonic() - began < 6.5
