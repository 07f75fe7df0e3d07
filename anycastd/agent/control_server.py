"""The control socket: one question a connection, answered in JSON (`status` and `reload` ask it).

A question is one line, ``{"v": 1, "ask": "status"}``; the answer is one line.  A command is a
question with arguments, under ``with``.  The directory's mode decides who may ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from anycastd.agent.control_client import VERSION, ControlError

"""Bytes; the status of 1,000 services with 10,000 servers is about 3 MB."""
ASK_TIMEOUT = 5.0
"""Seconds in which a connection has to ask, and in which it has to take its answer."""
CLOSE_TIMEOUT = 1.0
"""Seconds that answers under way have when the agent ends."""

Answer = Callable[[], dict[str, Any] | Awaitable[dict[str, Any]]]
Command = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Serve questions; ``answers`` maps a question's name to what computes its answer.

    An answer may take its time where it is awaited; a connection that goes away does not end it.
    ``commands`` are given a question's arguments.
    ``inherited`` is the descriptor that ``bequeath`` gave the agent before us, in this process.
    """

    def __init__(
        self,
        path: str,
        answers: dict[str, Answer],
        inherited: int | None = None,
        commands: Mapping[str, Command] | None = None,
    ) -> None:
        self.path = path
        self.answers = answers
        self.commands = commands or {}
        self.inherited = inherited
        self._server: asyncio.Server | None = None
        self._asking: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; raises ControlError where another agent already does, or none may."""
        if self.inherited is None:
            listener = self._listen()
        else:
            listener = socket.socket(fileno=self.inherited)  # who asked meanwhile waits there
        # Not start_unix_server: from Python 3.13 on, that takes the file away from a successor.
        self._server = await asyncio.start_server(self._accept, sock=listener)

    def _listen(self) -> socket.socket:
        if _alive(self.path):
            raise ControlError(
                f"{self.path}: another agent answers there; stop it, or give this one its own "
                "--directory"
            )
        listener = socket.socket(socket.AF_UNIX)
        try:
            with contextlib.suppress(FileNotFoundError):
                Path(self.path).unlink()
            listener.bind(self.path)
            Path(self.path).chmod(0o660)
        except OSError as error:
            listener.close()
            raise ControlError(f"{self.path}: cannot listen there: {error.strerror}") from None
        return listener

    def bequeath(self) -> int | None:
        """Give a descriptor by which a successor in this process listens on."""
        if self._server is None or not self._server.sockets:
            return None
        descriptor = os.dup(self._server.sockets[0].fileno())
        os.set_inheritable(descriptor, True)
        return descriptor

    async def stop(self, *, leave_socket: bool = False) -> None:
        """Stop listening and take the socket away, unless it is somebody else's now."""
        if self._server is not None:
            # A server that is closed between a connection's arrival and its first turn leaks it.
            for listener in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
            for _ in range(3):
                await asyncio.sleep(0)
            self._server.close()
            if self._asking:
                await asyncio.wait(self._asking, timeout=CLOSE_TIMEOUT)
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)
            if not leave_socket:
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
            async with asyncio.timeout(ASK_TIMEOUT):
                line = await reader.readline()
            answer = await self._answer(line)
            async with asyncio.timeout(ASK_TIMEOUT):
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # the asker went away or asked for too long; it is the asker's loss
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            question = json.loads(line)
            name = question["ask"]
            arguments = question.get("with", {})
            if question["v"] != VERSION:
                return {"v": VERSION, "error": f"version {question['v']!r} is not spoken here"}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"v": VERSION, "error": 'ask one line like {"v": 1, "ask": "status"}'}
        command = self.commands.get(name)
        if command is not None and isinstance(arguments, dict):
            return await command(arguments)
        answer = self.answers.get(name)
        if answer is None:
            known = ", ".join(sorted({*self.answers, *self.commands}))
            return {"v": VERSION, "error": f"unknown question {name!r}; known: {known}"}
        found = answer()
        return found if isinstance(found, dict) else await found


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
