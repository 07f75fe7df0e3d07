"""Connections are accepted while that is possible, and a shortage is met once, not in a loop."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from anycastd.agent.connections import Bounds, Connection, Connections

PLENTY = Bounds(connections=8, per_peer=8, reserve=4)


async def echo(connection: Connection) -> None:
    """Send one line back."""
    await connection.send(await connection.read_until(b"\n", 100))


async def run_server(
    path: Path,
    scene: Callable[[Connections], Awaitable[None]],
    serve: Callable[[Connection], Awaitable[None]] = echo,
    bounds: Bounds = PLENTY,
) -> None:
    """Run ``scene`` while a server listens on ``path``."""
    server = Connections("test", serve, lambda connection: str(connection.family), bounds)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(100)
    server.listen(listener)
    try:
        await scene(server)
    finally:
        await server.close()


def connect(path: Path) -> socket.socket:
    """Connect, which needs no turn of the server."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    connection.setblocking(False)
    return connection


async def ask(connection: socket.socket) -> bytes:
    """Send a line and read the answer."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, b"hello\n")
    return await asyncio.wait_for(loop.sock_recv(connection, 100), 10)


@pytest.fixture
def limit() -> Iterator[Callable[[int], None]]:
    """Give what sets the limit of this process's descriptors; it is restored at the end."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def find_free_descriptor() -> int:
    """Find the lowest number that is free."""
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor


# The review's H1: 9,346 tracebacks in 32 s, and a core that was busy with nothing else.
def test_errors_of_accept_are_met_with_a_pause(
    tmp_path: Path, limit: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Without a descriptor there is one line in the log, little work, and an answer afterwards."""

    async def scene(server: Connections) -> None:
        client = connect(tmp_path / "s")
        limit(find_free_descriptor())
        cpu = time.process_time()
        for _ in range(12):
            await asyncio.sleep(0.1)
        cpu = time.process_time() - cpu
        (problem,) = server.list_problems()
        limit(1024)
        assert await ask(client) == b"hello\n"
        client.close()
        assert cpu < 0.3
        assert problem == "test: no connection can be accepted: Too many open files"

    with caplog.at_level(logging.WARNING):
        asyncio.run(run_server(tmp_path / "s", scene))
    assert [record.getMessage() for record in caplog.records] == [
        "test: no connection can be accepted: Too many open files"
    ]


def test_the_last_descriptors_are_for_others(
    tmp_path: Path, limit: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A client is closed before it takes one of them, and a silent one with it."""

    async def scene(_: Connections) -> None:
        silent, late = connect(tmp_path / "s"), connect(tmp_path / "s")
        loop = asyncio.get_running_loop()
        limit(find_free_descriptor() + 1 + PLENTY.reserve)
        closed = [loop.sock_recv(each, 1) for each in (silent, late)]
        assert await asyncio.wait_for(asyncio.gather(*closed), 5) == [b"", b""]
        for each in (silent, late):
            each.close()
        limit(1024)
        client = connect(tmp_path / "s")
        assert await ask(client) == b"hello\n"
        client.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(run_server(tmp_path / "s", scene))
    assert "the last descriptors are kept for HAProxy" in caplog.text


@pytest.mark.parametrize(
    "error", [KeyError("x\x1b[2J\n"), RecursionError(), MemoryError(), ZeroDivisionError("\ud800")]
)
def test_what_a_request_raises_ends_that_request_only(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log says where it arose, and the next client is answered."""
    failed = False

    async def serve(connection: Connection) -> None:
        nonlocal failed
        line = await connection.read_until(b"\n", 100)
        if not failed:
            failed = True
            raise error
        await connection.send(line)

    async def scene(server: Connections) -> None:
        one, two = connect(tmp_path / "s"), connect(tmp_path / "s")
        assert await ask(one) == b""
        assert await ask(two) == b"hello\n"
        one.close()
        two.close()
        assert len(server.list_problems()) == 1

    asyncio.run(run_server(tmp_path / "s", scene, serve))
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert f"{type(error).__name__}: " in record.getMessage()
    assert "test_connections.py:" in record.getMessage()


def test_the_one_who_has_most_gives_way(tmp_path: Path) -> None:
    """A peer with one connection keeps it, while another opens a hundred."""
    peers = iter(["few", *["many"] * 100])

    async def scene() -> None:
        server = Connections("test", echo, lambda _: next(peers), PLENTY)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "s"))
        listener.listen(200)
        server.listen(listener)
        few = connect(tmp_path / "s")
        many = [connect(tmp_path / "s") for _ in range(100)]
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.sock_recv(many[80], 1), 5)  # that many have come, and gone
        assert len(server) <= PLENTY.connections
        assert await ask(few) == b"hello\n"
        for each in (few, *many):
            each.close()
        await server.close()

    asyncio.run(scene())
