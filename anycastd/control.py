"""The control socket: one question a connection, answered in JSON (`anycastd status` asks it).

A question is one line, ``{"v": 1, "ask": "status"}``; the answer is one line.  The directory's
mode decides who may ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERSION = 1
ANSWER_MAX = 64 * 1024 * 1024
"""Bytes; the status of 1,000 services with 10,000 servers is about 3 MB."""
ASK_WITHIN = 5.0
"""Seconds in which a connection has to ask."""


class ControlError(Exception):
    """Nobody answers, or not what was asked: says what is wrong and what to do."""


def socket_path(directory: str) -> str:
    """Where the agent of ``directory`` listens."""
    return str(Path(directory, "agent.sock"))


class Control:
    """Serve questions; ``answers`` maps a question's name to what computes its answer."""

    def __init__(self, path: str, answers: dict[str, Callable[[], dict[str, Any]]]) -> None:
        self.path = path
        self.answers = answers
        self._server: asyncio.Server | None = None
        self._asking: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; raises ControlError where another agent already does, or none may."""
        if _alive(self.path):
            raise ControlError(
                f"{self.path}: another agent answers there; stop it, or give this one its own "
                "--directory"
            )
        try:
            with contextlib.suppress(FileNotFoundError):
                Path(self.path).unlink()
            self._server = await asyncio.start_unix_server(self._accept, self.path)
            Path(self.path).chmod(0o660)
        except OSError as error:
            raise ControlError(f"{self.path}: cannot listen there: {error.strerror}") from None

    async def stop(self) -> None:
        """Stop listening and take the socket away."""
        if self._server is not None:
            # A server that is closed between a connection's arrival and its first turn leaks it.
            for listener in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
            for _ in range(3):
                await asyncio.sleep(0)
            self._server.close()
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)
            with contextlib.suppress(OSError):
                Path(self.path).unlink()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        # Also where it was cancelled before its first step.
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ASK_WITHIN):
                line = await reader.readline()
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # the asker went away or asked for too long; it is the asker's loss
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            question = json.loads(line)
            name = question["ask"]
            if question["v"] != VERSION:
                return {"v": VERSION, "error": f"version {question['v']!r} is not spoken here"}
        except (ValueError, KeyError, TypeError):
            return {"v": VERSION, "error": 'ask one line like {"v": 1, "ask": "status"}'}
        answer = self.answers.get(name)
        if answer is None:
            known = ", ".join(sorted(self.answers))
            return {"v": VERSION, "error": f"unknown question {name!r}; known: {known}"}
        return answer()


def ask(directory: str, question: str, within: float = 5.0) -> dict[str, Any]:
    """Ask the agent of ``directory``, blocking, for ``within`` seconds; raises ControlError."""
    path = socket_path(directory)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(within)
            connection.connect(path)
            connection.sendall(json.dumps({"v": VERSION, "ask": question}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline(ANSWER_MAX)
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(
            f"{path}: no agent answers there; start it (`systemctl start anycastd`), or name its "
            "--directory"
        ) from None
    except PermissionError:
        raise ControlError(
            f"{path}: you may not ask this agent; use sudo, or join its group"
        ) from None
    except TimeoutError:
        raise ControlError(
            f"{path}: the agent did not answer within {within:g} s; it is stopped or stuck"
        ) from None
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or error}") from None
    try:
        answer = json.loads(line)
    except ValueError:
        raise ControlError(f"{path}: the agent closed without an answer; see its log") from None
    if not isinstance(answer, dict) or "error" in answer:
        raise ControlError(f"{path}: {answer.get('error') if isinstance(answer, dict) else answer}")
    return answer


def _alive(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(path)
            return True
    except TimeoutError:
        return True  # it listens and does not accept: stopped, but there
    except OSError:
        return False
