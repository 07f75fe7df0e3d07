"""The status over HTTP: answers, and limits on time, size and connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

import pytest

from anycastd.agent.http_server import BOUNDS, MAX_FIELDS, MAX_HEAD, HttpServer
from anycastd.agent.json_cache import JsonCache
from anycastd.agent.page import Page
from anycastd.profile.regions import Endpoint, Web
from support.peer import free_port

GET = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"
ANYBODY = Web(Endpoint(IPv4Address("127.0.0.1"), 0))
TOKEN = "0123456789abcdef"  # noqa: S105 - of these tests alone


def run_with_server(
    scene: Callable[[int], Awaitable[Any]], max_age: float = 0.0, settings: Web = ANYBODY
) -> tuple[Any, list[int]]:
    """Run ``scene`` with the port of a server; return its result and one item per computation."""
    computed: list[int] = []

    def page() -> dict[str, int]:
        computed.append(1)
        return {"number": len(computed)}

    async def whole() -> Any:
        port = free_port()
        web = HttpServer(
            replace(settings, listen=Endpoint(IPv4Address("127.0.0.1"), port)),
            {"/status": Page(JsonCache(page), max_age)},
        )
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


def test_a_page_that_fails_is_an_error_of_ours() -> None:
    """It costs this answer alone: status code 500, and a line among the problems."""

    def fail() -> None:
        raise KeyError("x")

    async def scene() -> tuple[list[bytes], tuple[str, ...]]:
        web = HttpServer(None, {"/status": Page(JsonCache(fail), 1.0)})
        return await web.answer_head(GET), web.list_problems()

    pieces, problems = asyncio.run(scene())
    assert pieces[0].startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert problems[0].startswith("web: a request failed: KeyError: 'x' (test_http_server.py:")


def test_a_head_has_the_length_of_the_page_and_no_body() -> None:
    """What probes a page by HEAD reads no page."""
    answer, _ = run_with_server(lambda port: ask(port, GET.replace(b"GET", b"HEAD")))
    page, _ = run_with_server(lambda port: ask(port, GET))
    assert answer == page.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /else HTTP/1.1\r\nHost: x\r\n\r\n", b"404 Not Found"),
        (b"GET http://x/status HTTP/1.1\r\nHost: x\r\n\r\n", b"404 Not Found"),
        (b"GET /status?x=1 HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET /status?" + b"x=1&" * MAX_FIELDS + b"x HTTP/1.0\r\n\r\n", b"400 Bad Request"),
        (b"POST /status HTTP/1.1\r\nHost: x\r\n\r\n", b"405 Method Not Allowed"),
        (b"DELETE /status HTTP/1.0\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET /status HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /status\0 HTTP/1.0\r\n\r\n", b"400 Bad Request"),
        (b"GET /status HTTP/1.0\r\nX: a\nY: b\r\n\r\n", b"400 Bad Request"),
        (
            b"GET /status HTTP/1.0\r\nContent-Length: " + b"9" * 6000 + b"\r\n\r\n",
            b"400 Bad Request",
        ),
        (b"GET /status\r\n\r\n", b"400 Bad Request"),
        (b"GET /status HTTP/2.0\r\n\r\n", b"400 Bad Request"),
        (b"GET  /status HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (
            b"GET /status HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"400 Bad Request",
        ),
        (b"GET /status HTTP/1.0\r\nA: b\r\n folded\r\n\r\n", b"400 Bad Request"),
        (b"GET /status HTTP/1.0\r\nno colon\r\n\r\n", b"400 Bad Request"),
        (b"GET /status HTTP/1.0\r\nHost : x\r\n\r\n", b"400 Bad Request"),
        (b"GET /status HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"400 Bad Request"),
        (b"GET /status HTTP/1.1\nHost: x\n\n\r\n\r\n", b"400 Bad Request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\r\n\r\n", b"400 Bad Request"),
    ],
)
def test_anything_else_is_refused_in_words(request_: bytes, status: bytes) -> None:
    """Only GET and HEAD of an existing page are answered."""
    answer, _ = run_with_server(lambda port: ask(port, request_))
    assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")


@pytest.mark.parametrize("data", [b"", b"\r\n", b"GET /status HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_ends_early_is_refused(data: bytes) -> None:
    """A client that has said all that it wanted, and that is no request, is told so."""

    async def scene(port: int) -> bytes:
        reader, writer = await connect(port)
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    assert run_with_server(scene)[0].startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_head_without_end_is_cut() -> None:
    """A head without an end is not stored without limit, and the client is told."""

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

    assert run_with_server(scene)[0] in (
        b"",
        run_with_server(lambda port: ask(port, b"x\r\n\r\n"))[0],
    )


def test_whoever_asks_often_gets_the_same_answer() -> None:
    """A page is computed once per ``max_age``, however many requests arrive."""

    async def scene(port: int) -> list[bytes]:
        return [await ask(port, GET) for _ in range(20)]

    answers, computed = run_with_server(scene, max_age=60.0)
    assert len(set(answers)) == len(computed) == 1


async def serve_while_others_are_silent(port: int, count: int) -> list[bytes]:
    """Ask with several clients, one after the other, while ``count`` others say nothing."""
    idle = [await connect(port) for _ in range(count)]
    try:
        return [await ask(port, GET) for _ in range(5)]
    finally:
        for _, writer in idle:
            writer.close()


@pytest.mark.parametrize("count", [1, BOUNDS.per_peer, BOUNDS.connections, 200])
def test_silent_connections_give_way(count: int) -> None:
    """However many connections say nothing, whoever asks gets an answer."""
    answers, _ = run_with_server(lambda port: serve_while_others_are_silent(port, count))
    assert [answer[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 5


def test_a_silent_connection_is_closed_after_a_second() -> None:
    """And one that sends a byte now and then, too."""

    async def scene(port: int) -> float:
        reader, writer = await connect(port)
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        dripping = asyncio.create_task(drip(writer))
        await reader.read()
        dripping.cancel()
        writer.close()
        return loop.time() - began_at

    async def drip(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"G")
            await asyncio.sleep(0.1)

    assert run_with_server(scene)[0] < 8


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        (f"Authorization: Bearer {TOKEN}", b"200"),
        (f"authorization:bearer {TOKEN}", b"200"),
        (f"Authorization: Basic {TOKEN}", b"401"),
        (f"Authorization: Bearer {TOKEN}0", b"401"),
        (f"Authorization: Bearer {TOKEN[:-1]}", b"401"),
        ("Authorization: Bearer ", b"401"),
        ("Authorization: Bearer \xff", b"401"),
        (f"Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}", b"400"),
        ("X: y", b"401"),
    ],
)
def test_a_token_is_wanted(tmp_path: Path, credentials: str, status: bytes) -> None:
    """Whoever does not send the token learns nothing, not even which pages there are."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n", encoding="ascii")
    file.chmod(0o640)
    request = f"GET /status HTTP/1.1\r\nHost: x\r\n{credentials}\r\n\r\n".encode("latin-1")
    settings = replace(ANYBODY, token_file=str(file))
    answer, computed = run_with_server(lambda port: ask(port, request), settings=settings)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert (len(computed) == 1) is (status == b"200")
    assert (b"WWW-Authenticate: Bearer" in answer) is (status == b"401")
    assert (b"/status" in answer) is (status == b"400")


def test_without_its_token_it_answers_nobody(
    tmp_path: Path, eventually: Callable[..., Awaitable[object]]
) -> None:
    """A token file that anybody can read is none: the status says so, and no client is answered."""
    file = tmp_path / "token"
    file.write_text(TOKEN, encoding="ascii")
    file.chmod(0o644)

    async def scene() -> tuple[str, ...]:
        port = free_port()
        web = HttpServer(Web(Endpoint(IPv4Address("127.0.0.1"), port), str(file)), {})
        task = asyncio.create_task(web.run())
        await eventually(web.list_problems, 10)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return web.list_problems()

    assert asyncio.run(scene()) == (
        f"web: does not answer: {file} is open to other users: chmod 0640 {file}",
    )


@pytest.mark.parametrize(("allow", "served"), [("127.0.0.0/8", True), ("192.0.2.0/24", False)])
def test_only_allowed_networks_are_answered(allow: str, served: bool) -> None:
    """A client from elsewhere is closed before it is read."""
    settings = replace(ANYBODY, allow=(ip_network(allow),))

    async def scene(port: int) -> bytes:
        try:
            return await ask(port, GET)
        except ConnectionError:
            return b""

    assert bool(run_with_server(scene, settings=settings)[0]) is served


def test_an_address_that_is_not_there_yet_is_said(
    eventually: Callable[..., Awaitable[object]],
) -> None:
    """The agent reports the problem, goes on, and listens later."""

    async def scene() -> tuple[str, ...]:
        web = HttpServer(Web(Endpoint(IPv4Address("192.0.2.77"), free_port())), {})
        task = asyncio.create_task(web.run())
        await eventually(web.list_problems, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return web.list_problems()

    (problem,) = asyncio.run(scene())
    assert "web: cannot listen on 192.0.2.77:" in problem
