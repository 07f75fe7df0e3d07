"""The status over HTTP, read-only: for the other regions' agents and for monitoring.

Off unless the profile has ``web``.  GET only, one answer a connection, everything bounded: whoever
reaches it can read, and nobody can do more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anycastd.profile.model import Endpoint

log = logging.getLogger(__name__)

TIMEOUT = 5.0
"""Seconds in which a connection has to ask, and in which it has to take its answer."""
MAX_CONNECTIONS = 16
"""Connections at once; who comes then is told to come again."""
MAX_HEAD = 8192
RETRY_DELAY = 2.0
"""Seconds between two attempts to listen: the address may come later than we do."""
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Page:
    """What computes a page's JSON, and how many seconds an answer is given again.

    Without that, whoever asks fast enough would keep the agent from its work.
    """

    compute: Callable[[], Mapping[str, Any]]
    keeps: float


class HttpServer:
    """Answers GET for each of ``pages`` (by path) on ``listen``; None: it is off."""

    def __init__(self, listen: Endpoint | None, pages: Mapping[str, Page]) -> None:
        self.listen = listen
        self.pages = pages
        self._problem = ""
        self._ready: dict[str, tuple[float, bytes]] = {}
        self._serving: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Listen and answer; where that cannot be yet, try again and say so."""
        if self.listen is None:
            await asyncio.Event().wait()
            return
        while True:
            try:
                server = await asyncio.start_server(
                    self._accept, str(self.listen.address), self.listen.port, limit=MAX_HEAD
                )
            except OSError as error:
                words = error.strerror or str(error)
                problem = f"web: cannot listen on {self.listen}: {words}"
                if problem != self._problem:
                    log.warning("%s", problem)
                self._problem = problem
                await asyncio.sleep(RETRY_DELAY)
                continue
            self._problem = ""
            try:
                await asyncio.Event().wait()
            finally:
                server.close()
                for task in self._serving:
                    task.cancel()
                await asyncio.gather(*self._serving, return_exceptions=True)

    def problems(self) -> tuple[str, ...]:
        """Say why nobody is answered."""
        return (self._problem,) if self._problem else ()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                if len(self._serving) > MAX_CONNECTIONS:
                    code, body = 503, _words("too many connections; come again")
                else:
                    code, body = self._answer(await reader.readuntil(b"\r\n\r\n"))
                writer.write(_head(code, len(body)) + body)
                await writer.drain()
                # A close with anything unread resets the connection, and the answer with it.
                writer.write_eof()
                while await reader.read(MAX_HEAD):
                    pass
        except (OSError, ValueError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            pass  # who asks went away, or asks for too much or too slowly
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> tuple[int, bytes]:
        words = head.split(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - RFC 9112, 3
            return 400, _words("ask like: GET /status HTTP/1.1")
        if words[0] != "GET":
            return 405, _words("only GET is answered here")
        page = self.pages.get(words[1].partition("?")[0])
        if page is None:
            return 404, _words(f"there is: {', '.join(sorted(self.pages))}")
        path, now = words[1].partition("?")[0], time.monotonic()
        computed, body = self._ready.get(path, (-page.keeps, b""))
        if now - computed >= page.keeps or not body:
            body = json.dumps(page.compute()).encode() + b"\n"
            self._ready[path] = (now, body)
        return 200, body


def _words(text: str) -> bytes:
    return json.dumps({"error": text}).encode() + b"\n"


def _head(code: int, length: int) -> bytes:
    lines = (
        f"HTTP/1.1 {code} {_REASONS[code]}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        "Cache-Control: no-store",
        *(["Allow: GET"] if code == 405 else []),  # noqa: PLR2004 - RFC 9110, 15.5.6
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode()
