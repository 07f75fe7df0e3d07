"""Serve accepted connections, each in a task of its own, and close them all (asyncio streams)."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable


class Connections:
    """The open connections of one server, ``maximum`` of them at most.

    ``serve`` reads one request from a connection and writes one answer.  Its errors end that
    connection only: the client went away, or sent too much or too slowly.
    """

    def __init__(
        self, serve: Callable[[StreamReader, StreamWriter], Awaitable[None]], maximum: int
    ) -> None:
        self._serve = serve
        self._maximum = maximum
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Count the open connections."""
        return len(self._tasks)

    def accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Start to serve a connection: the callback of ``asyncio.start_server``.

        One beyond the maximum is closed at once: each one costs a descriptor, and looks at HAProxy
        need some.
        """
        if len(self._tasks) >= self._maximum:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve_and_close(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Also where the task was cancelled before its first step.
        task.add_done_callback(lambda _: writer.close())

    async def close(self, timeout: float = 0.0) -> None:
        """Close all connections, and cancel answers that do not end within ``timeout`` seconds."""
        if self._tasks and timeout:
            await asyncio.wait(self._tasks, timeout=timeout)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve_and_close(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (OSError, ValueError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            pass  # only this client is affected
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
