"""Hostile clients of the control socket move no route, and keep nobody else from an answer."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.appliance import Appliance, own_network
from support.bgp_wire import Update
from support.good_client import count_answers
from support.silent_clients import SilentClients, open_unix

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """Give a running appliance; its agent has 128 descriptors."""
    with own_network(), Appliance(tmp_path_factory.mktemp("hostile"), ttl=2, deadline=1) as it:
        it.start()
        assert it.agent is not None
        resource.prlimit(it.agent.pid, resource.RLIMIT_NOFILE, (128, 128))
        yield it


@pytest.fixture(autouse=True)
def _nothing_moves(one: Appliance) -> Iterator[None]:
    """See that no route moves, that the agent answers in the end, and that no bug is logged."""
    before = [len(peer.list_events(Update)) for peer in one.peers]
    yield
    assert one.status()["services"]["web"]["level"] == "preferred"
    assert [len(peer.list_events(Update)) for peer in one.peers] == before
    assert "Traceback" not in one.log()
    assert "bug" not in one.log()


def socket_of(one: Appliance) -> str:
    """Return the path of the control socket."""
    return f"{one.directory_of('agent')}/agent.sock"


def ask(one: Appliance, request: bytes) -> dict[str, Any]:
    """Send bytes, say that this was all, and read the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(8)
        connection.connect(socket_of(one))
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                data += piece
    answer: dict[str, Any] = json.loads(data)
    return answer


# The review's L1: the last five had no answer, and left a traceback in the log each.
@pytest.mark.parametrize(
    "request_",
    [
        b"\n",
        b"",
        b"{" * 70_000,
        b"x" * 1_000_000,
        b'{"v": 1, "ask": "status"',
        b"\xff\xfe\0\n",
        b'{"v": 1e999, "ask": "status"}\n',
        b'{"v": 1, "ask": "' + b"d" * 60_000 + b'"}\n',
        b"[" * 1_000 + b"\n",
        b'{"v":1,"ask":"status","with":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}\n",
        b'{"v": 1, "ask": {}}\n',
        b'{"v": 1, "ask": "undrain", "with": {"service": []}}\n',
        b'{"v": 1, "ask": "drain", "with": {"service": {}, "reason": "x"}}\n',
        b'{"v": 1, "ask": "return", "with": {"service": [1]}}\n',
        b'{"v": 1, "ask": "drain", "with": {"reason": {}, "force": true}}\n',
        b'{"v": 1, "ask": "drain", "with": {"reason": "x", "force": "yes"}}\n',
    ],
)
def test_any_request_gets_an_error_in_words(one: Appliance, request_: bytes) -> None:
    """The answer is an error object, and the agent goes on."""
    answer = ask(one, request_)
    assert answer["v"] == 1
    assert answer["error"].isprintable()
    assert len(answer["error"]) < 200


@pytest.mark.parametrize("number", ["1e400", "-1", "0", "1" + "0" * 400, "NaN", "Infinity", "true"])
def test_a_drain_of_no_time_is_refused(one: Appliance, number: str) -> None:
    """Numbers that are none of seconds begin no drain."""
    request = f'{{"v":1,"ask":"drain","with":{{"reason":"x","force":true,"for":{number}}}}}\n'
    answer = ask(one, request.encode())
    assert answer.get("code") == "unknown" or "error" in answer
    assert len(json.dumps(answer)) < 1000


def test_a_reload_among_silent_clients(one: Appliance) -> None:
    """The new agent takes over in time, and they keep nobody from asking it."""
    command = [sys.executable, "-m", "anycastd", "reload", "--directory", one.directory_of("agent")]
    with SilentClients(lambda: open_unix(socket_of(one)), 60):
        done = subprocess.run(
            command, env=one.environment, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stderr
        assert "reloaded" in done.stdout


@pytest.mark.parametrize("piece", [b"", b"x"], ids=["silent", "dripping"])
def test_silent_clients_keep_nobody_from_an_answer(one: Appliance, piece: bytes) -> None:
    """48 of 48 questions are answered while 100 connections of the same user say nothing."""
    with SilentClients(lambda: open_unix(socket_of(one)), 100, piece) as silent:
        deadline = time.monotonic() + 10
        while silent.opened < 100:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        request = b'{"v": 1, "ask": "status"}\n'
        assert count_answers(socket_of(one), request, b'{"v": 1', 48) == 48
