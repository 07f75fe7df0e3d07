"""The control socket: valid requests, invalid requests, and no agent."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anycastd.agent.control_client import ControlError, ask_agent, socket_path
from anycastd.agent.control_server import Answer, Arguments, ControlServer
from anycastd.agent.deadline import compute_deadline
from anycastd.agent.peer_access import AccessPolicy


def run_with_server(directory: Path, question: Callable[[], Any]) -> Any:
    """Run ``question`` in a thread while an agent answers in ``directory``."""

    async def status(_: Arguments) -> Answer:
        return {"v": 1, "fine": True}

    async def scene() -> Any:
        control = ControlServer(socket_path(str(directory)), {"status": status}, AccessPolicy())
        await control.start()
        try:
            return await asyncio.to_thread(question)
        finally:
            await control.stop()

    return asyncio.run(scene())


def test_a_question_is_answered(tmp_path: Path) -> None:
    """The socket file is removed at the end."""
    assert run_with_server(tmp_path, lambda: ask_agent(str(tmp_path), "status")) == {
        "v": 1,
        "fine": True,
    }
    assert not list(tmp_path.iterdir())


def test_an_unknown_question_is_refused_with_words(tmp_path: Path) -> None:
    """The answer lists the valid requests."""
    with pytest.raises(ControlError, match="unknown question 'dance'; there are: status"):
        run_with_server(tmp_path, lambda: ask_agent(str(tmp_path), "dance"))


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[1]\n",
        b'{"v":9,"ask":"status"}\n',
        b'{"v":1,"ask":["status"]}\n',
        b'{"v":1,"ask":"status","with":null}\n',
        b"\xff\xfe\n",
    ],
)
def test_garbage_gets_an_answer_in_words(tmp_path: Path, line: bytes) -> None:
    """Invalid input gets an error, and the agent goes on."""

    def question() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(socket_path(str(tmp_path)))
            connection.sendall(line)
            return connection.recv(4096)

    assert b'"error"' in run_with_server(tmp_path, question)


def test_no_agent_is_said_with_what_to_do(tmp_path: Path) -> None:
    """A missing socket and a socket without a listener get the same message."""
    with pytest.raises(ControlError, match="no agent answers there; start it"):
        ask_agent(str(tmp_path), "status")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(socket_path(str(tmp_path)))
    with pytest.raises(ControlError, match="no agent answers there"):
        ask_agent(str(tmp_path), "status")


def test_a_stuck_agent_is_said_within_the_time(tmp_path: Path) -> None:
    """An agent accepts the connection and never answers."""
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.bind(socket_path(str(tmp_path)))
        stuck.listen()
        with pytest.raises(ControlError, match=r"did not answer within 0.2 s"):
            ask_agent(str(tmp_path), "status", timeout=0.2)


def test_a_second_agent_is_refused(tmp_path: Path) -> None:
    """One agent per directory; the socket of a dead agent is replaced."""

    async def second() -> None:
        await ControlServer(socket_path(str(tmp_path)), {}, AccessPolicy()).start()

    with pytest.raises(ControlError, match="another agent answers there"):
        run_with_server(tmp_path, lambda: asyncio.run(second()))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(socket_path(str(tmp_path)))
    assert run_with_server(tmp_path, lambda: ask_agent(str(tmp_path), "status"))


def test_only_owner_and_group_may_ask(tmp_path: Path) -> None:
    """The status names servers and neighbors, so the socket is not public."""
    mode = run_with_server(tmp_path, lambda: os.stat(socket_path(str(tmp_path))).st_mode & 0o777)
    assert mode == 0o660


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_comes_as_the_agent_ends_is_closed(tmp_path: Path, turns: int) -> None:
    """The connection is closed, and not left to the garbage collector."""

    async def scene() -> bytes:
        control = ControlServer(socket_path(str(tmp_path)), {}, AccessPolicy())
        await control.start()
        with socket.socket(socket.AF_UNIX) as late:
            late.settimeout(5)
            late.connect(socket_path(str(tmp_path)))
            for _ in range(turns):
                await asyncio.sleep(0)
            await control.stop()
            try:
                return await asyncio.to_thread(late.recv, 1)
            except ConnectionResetError:
                return b""

    assert asyncio.run(scene()) == b""
    gc.collect()


def send_and(directory: Path, what: str, **arguments: Any) -> tuple[bytes, list[str]]:
    """Send a drain to an agent, which reads it only after the client did ``what``.

    Returns what the client receives, and the reasons of the drains that the agent carried out.
    """
    done: list[str] = []

    async def drain(given: Arguments) -> Answer:
        done.append(given["reason"])
        return {"v": 1, "said": []}

    async def scene() -> bytes:
        control = ControlServer(socket_path(str(directory)), {"drain": drain}, AccessPolicy())
        await control.start()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(socket_path(str(directory)))
            request = {"v": 1, "ask": "drain", "with": {"reason": "kernel"} | arguments}
            client.sendall(json.dumps(request).encode() + b"\n")
            if what == "closes":
                client.close()
            elif what == "ends its input":
                client.shutdown(socket.SHUT_WR)
            answer = b"" if what == "closes" else await asyncio.to_thread(client.recv, 4096)
        await control.stop()
        return answer

    return asyncio.run(scene()), done


@pytest.mark.parametrize("what", ["waits", "ends its input"])
@pytest.mark.parametrize("deadline", [None, 60.0])
def test_a_request_in_time_is_carried_out(
    tmp_path: Path, what: str, deadline: float | None
) -> None:
    """With a deadline, and without one, as an older client sends it."""
    more = {} if deadline is None else {"until": compute_deadline(deadline)}
    assert send_and(tmp_path, what, **more) == (b'{"v": 1, "said": []}\n', ["kernel"])


@pytest.mark.parametrize(
    "until", [compute_deadline(-0.1), float("nan"), -1], ids=["past", "nan", "negative"]
)
def test_a_request_after_its_deadline_is_dropped(tmp_path: Path, until: float) -> None:
    """The client may still be there, for example after a suspend of the machine."""
    answer, done = send_and(tmp_path, "waits", until=until)
    assert b"the request came too late; nothing has changed" in answer
    assert not done


def test_a_request_of_a_client_that_has_gone_is_dropped(tmp_path: Path) -> None:
    """An older client sends no deadline, and has closed its connection."""
    assert send_and(tmp_path, "closes") == (b"", [])


def test_a_change_without_an_answer_is_uncertain(tmp_path: Path) -> None:
    """The agent may have got it, so neither "done" nor "not done" is true."""
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.bind(socket_path(str(tmp_path)))
        stuck.listen()
        with pytest.raises(ControlError, match="it is not known whether the drain began") as found:
            ask_agent(str(tmp_path), "drain", timeout=0.2)
        assert found.value.uncertain
        with pytest.raises(ControlError) as found:
            ask_agent(str(tmp_path), "status", timeout=0.2)
        assert not found.value.uncertain
