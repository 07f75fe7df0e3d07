"""The status over HTTP: answers, and limits on time, size and connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Any

import pytest

from anycastd.agent.http_server import MAX_CONNECTIONS, MAX_HEAD, HttpServer, Page
from anycastd.profile.model import Endpoint
from support.peer import free_port

GET = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"


def run_with_server(
    scene: Callable[[int], Awaitable[Any]], max_age: float = 0.0
) -> tuple[Any, list[int]]:
    """Run ``scene`` with the port of a server; return its result and one item per computation."""
    computed: list[int] = []

    def page() -> dict[str, int]:
        computed.append(1)
        return {"number": len(computed)}

    async def whole() -> Any:
        port = free_port()
        web = HttpServer(Endpoint(IPv4Address("127.0.0.1"), port), {"/status": Page(page, max_age)})
        task = asyncio.create_task(web.run())
        try:
            return await asyncio.wait_for(scene(port), 30)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return asyncio.run(whole()), computed


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as soon as the server listens."""
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)


async def ask(port: int, request: bytes) -> bytes:
    """Send a request and read the answer to its end."""
    reader, writer = await connect(port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


def test_a_page_is_given() -> None:
    """A page is JSON with its length, and the connection ends."""
    answer, _ = run_with_server(lambda port: ask(port, GET))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {"number": 1}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /else HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /status?x=1 HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"POST /status HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"DELETE /status HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET /status\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\r\n\r\n", b"400 Bad Request"),
    ],
)
def test_anything_else_is_refused_in_words(request_: bytes, status: bytes) -> None:
    """Only GET of an existing page is answered."""
    answer, _ = run_with_server(lambda port: ask(port, request_))
    assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")


def test_a_head_without_end_is_cut() -> None:
    """A head without an end is not stored without limit."""

    async def scene(port: int) -> bytes:
        reader, writer = await connect(port)
        try:
            for _ in range(200):
                writer.write(b"x" * MAX_HEAD)
                await writer.drain()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    assert run_with_server(scene)[0] == b""


def test_whoever_asks_often_gets_the_same_answer() -> None:
    """A page is computed once per ``max_age``, however many requests arrive."""

    async def scene(port: int) -> list[bytes]:
        return [await ask(port, GET) for _ in range(20)]

    answers, computed = run_with_server(scene, max_age=60.0)
    assert len(set(answers)) == len(computed) == 1


def test_connections_are_counted() -> None:
    """With too many idle connections, a new one gets 503 at once."""

    async def scene(port: int) -> bytes:
        idle = [await connect(port) for _ in range(MAX_CONNECTIONS)]
        try:
            return await ask(port, GET)
        finally:
            for _, writer in idle:
                writer.close()

    assert run_with_server(scene)[0].startswith(b"HTTP/1.1 503 ")


def test_an_address_that_is_not_there_yet_is_said(
    eventually: Callable[..., Awaitable[object]],
) -> None:
    """The agent reports the problem, goes on, and listens later."""

    async def scene() -> tuple[str, ...]:
        web = HttpServer(Endpoint(IPv4Address("192.0.2.77"), free_port()), {})
        task = asyncio.create_task(web.run())
        await eventually(web.list_problems, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return web.list_problems()

    (problem,) = asyncio.run(scene())
    assert "web: cannot listen on 192.0.2.77:" in problem
