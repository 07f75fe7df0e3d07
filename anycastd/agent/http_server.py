"""Serve the status over HTTP, read-only: for the agents of other regions and for monitoring.

Disabled unless the profile has ``web``.  Only GET, one answer per connection, with limits on time,
size and number of connections.  Every client that can connect may read; no client can do more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anycastd.agent.connections import Connections
from anycastd.profile.model import Endpoint

log = logging.getLogger(__name__)

TIMEOUT = 5.0
"""Seconds that a connection may last, request and answer together."""
MAX_CONNECTIONS = 16
"""Simultaneous connections that are served; so many more are answered with 503, others closed."""
MAX_HEAD = 8192
"""Bytes of a request's head."""
RETRY_DELAY = 2.0
"""Seconds between two attempts to listen: the address may be configured after the agent starts."""
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page: ``compute`` builds its JSON; an answer is reused for ``max_age`` seconds.

    Without that a client with many requests could keep the agent from its work.
    """

    compute: Callable[[], Mapping[str, Any]]
    max_age: float


class HttpServer:
    """A server that answers HTTP GET requests (RFC 9110, RFC 9112) on ``listen`` (None: disabled).

    ``pages`` maps path -> page.
    """

    def __init__(self, listen: Endpoint | None, pages: Mapping[str, Page]) -> None:
        self._listen = listen
        self._pages = pages
        self._problem = ""
        self._cache: dict[str, tuple[float, bytes]] = {}
        self._connections = Connections(self._serve, 2 * MAX_CONNECTIONS)

    async def run(self) -> None:
        """Listen and answer until cancelled.

        Where it cannot listen, it tries again each ``RETRY_DELAY`` seconds.
        """
        if self._listen is None:
            await asyncio.Event().wait()
            return
        while True:
            try:
                server = await asyncio.start_server(
                    self._connections.accept,
                    str(self._listen.address),
                    self._listen.port,
                    limit=MAX_HEAD,
                )
            except OSError as error:
                problem = f"web: cannot listen on {self._listen}: {error.strerror or error}"
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
                await self._connections.close()

    def list_problems(self) -> tuple[str, ...]:
        """List the problems, for the status: why the server cannot listen; empty if it can."""
        return (self._problem,) if self._problem else ()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(TIMEOUT):
            if len(self._connections) > MAX_CONNECTIONS:
                code, body = 503, _error("too many connections; try again later")
            else:
                code, body = self._answer(await reader.readuntil(b"\r\n\r\n"))
            writer.write(_head(code, len(body)) + body)
            await writer.drain()
            # A close with unread input resets the connection, and the answer is lost with it.
            writer.write_eof()
            while await reader.read(MAX_HEAD):
                pass

    def _answer(self, head: bytes) -> tuple[int, bytes]:
        request_line = head.split(b"\r\n")[0].decode("latin-1").split(" ")
        # RFC 9112, section 3: method, target, version.
        if len(request_line) != 3 or not request_line[2].startswith("HTTP/1."):  # noqa: PLR2004
            return 400, _error("ask like: GET /status HTTP/1.1")
        if request_line[0] != "GET":
            return 405, _error("only GET is answered here")
        path, now = request_line[1].partition("?")[0], time.monotonic()
        page = self._pages.get(path)
        if page is None:
            return 404, _error(f"there is: {', '.join(sorted(self._pages))}")
        computed_at, body = self._cache.get(path, (-page.max_age, b""))
        if now - computed_at >= page.max_age or not body:
            body = json.dumps(page.compute()).encode() + b"\n"
            self._cache[path] = (now, body)
        return 200, body


def _error(text: str) -> bytes:
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
