"""Serve the status over HTTP, read-only: for the agents of other regions and for monitoring.

Disabled unless the profile has ``web``.  Only GET, one answer per connection, with limits on time,
size and number of connections.  ``web.allow`` says which addresses may connect, ``web.token_file``
which secret they have to send.  No client can change anything.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anycastd.agent.connections import PROBLEM_MAX_AGE, Bounds, Connection, Connections
from anycastd.agent.json_cache import JsonCache
from anycastd.profile.model import Address, Network
from anycastd.profile.regions import Web
from anycastd.system.secret_file import SecretFileError, read_secret

log = logging.getLogger(__name__)

HEAD_TIMEOUT = 1.0
"""Seconds that a client has to send the head of its request."""
ANSWER_TIMEOUT = 4.0
"""Seconds that it then has to take the answer."""
BOUNDS = Bounds(connections=32, per_peer=16, reserve=64)
"""Simultaneous connections, in all and from each address (of IPv6: from each /64)."""
BACKLOG = 128
"""Connections that wait to be accepted; the kernel refuses the next one."""
MAX_HEAD = 8192
"""Bytes of a request's head."""
MAX_JOINED = 65536
"""Bytes of a body that is sent together with its head, at most."""
RETRY_DELAY = 2.0
"""Seconds between two attempts to listen: the address may be configured after the agent starts."""
IPV6_CLIENT = 64
"""Length of the prefix that one client of IPv6 has at least (RFC 6177)."""
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its JSON, which is reused for ``max_age`` seconds at least.

    Without that a client with many requests could keep the agent from its work.
    """

    json: JsonCache
    max_age: float


class HttpServer:
    """A server that answers HTTP GET requests (RFC 9110, RFC 9112) as ``web`` says (None: not).

    ``pages`` maps path -> page.  ``regions`` are the networks of the other regions' agents, which
    are always allowed.
    """

    def __init__(
        self, web: Web | None, pages: Mapping[str, Page], regions: Iterable[Network] = ()
    ) -> None:
        self._web = web
        self._pages = pages
        self._allowed: tuple[Network, ...] | None = None
        if web is not None and web.allow is not None:
            self._allowed = (*web.allow, *regions)
        self._token: bytes | None = None
        self._problem = ""
        self._refused_at = 0.0
        self._connections = Connections("web", self._serve, self._identify, BOUNDS)

    async def run(self) -> None:
        """Listen and answer until cancelled.

        Where it cannot listen, or has no token, it tries again each ``RETRY_DELAY`` seconds.
        """
        if self._web is None:
            await asyncio.Event().wait()
            return
        while not self._start(self._web):  # noqa: ASYNC110 - nothing tells when it is possible
            await asyncio.sleep(RETRY_DELAY)
        try:
            await asyncio.Event().wait()
        finally:
            await self._connections.close()

    def list_problems(self) -> tuple[str, ...]:
        """List the problems, for the status: one sentence each; empty if all is well."""
        own = (self._problem,) if self._problem else ()
        return (*own, *self._connections.list_problems())

    def _start(self, web: Web) -> bool:
        """Read the token and listen; tell whether that was possible."""
        before, self._problem = self._problem, ""
        try:
            if web.token_file is not None:
                self._token = read_secret(web.token_file).encode("ascii")
            address = (str(web.listen.address), web.listen.port)
            family = socket.AF_INET6 if web.listen.address.version == 6 else socket.AF_INET  # noqa: PLR2004
            self._connections.listen(socket.create_server(address, family=family, backlog=BACKLOG))
        except SecretFileError as error:
            self._problem = f"web: does not answer: {error}"
        except OSError as error:
            self._problem = f"web: cannot listen on {web.listen}: {error.strerror or error}"
        if self._problem and self._problem != before:
            log.warning("%s", self._problem)
        return not self._problem

    def _identify(self, connection: socket.socket) -> str | None:
        """Return the address of a client, for IPv6 its network; None: it is not allowed."""
        address = ipaddress.ip_address(connection.getpeername()[0].partition("%")[0])
        if self._allowed is not None and not any(address in each for each in self._allowed):
            self._log_refusal(address)
            return None
        if isinstance(address, ipaddress.IPv4Address):
            return str(address)
        return str(ipaddress.IPv6Network((address, IPV6_CLIENT), strict=False))

    def _log_refusal(self, address: Address) -> None:
        """Log that a client may not connect, once a minute at most."""
        now = time.monotonic()
        if not self._refused_at or now - self._refused_at >= PROBLEM_MAX_AGE:
            log.warning("web: %s may not connect: it is in no network of web.allow", address)
            self._refused_at = now

    async def _serve(self, connection: Connection) -> None:
        async with asyncio.timeout(HEAD_TIMEOUT):
            try:
                head = await connection.read_until(b"\r\n\r\n", MAX_HEAD)
            except ValueError:
                head = b""
        code, body = self._answer(head)
        async with asyncio.timeout(ANSWER_TIMEOUT):
            head = _head(code, len(body))
            # A large body is not copied for each client; a small one goes in one segment.
            for piece in [head + body] if len(body) < MAX_JOINED else [head, body]:
                await connection.send(piece)
            await connection.finish()

    def _answer(self, data: bytes) -> tuple[int, bytes]:
        request = _parse_head(data)
        if request is None:
            return 400, _error("ask like: GET /status HTTP/1.1")
        method, target, credentials = request
        if self._token is not None and not _is_token(credentials, self._token):
            return 401, _error("send the token of this region: Authorization: Bearer TOKEN")
        if method != "GET":
            return 405, _error("only GET is answered here")
        page = self._pages.get(target.partition("?")[0])
        if page is None:
            return 404, _error(f"there is: {', '.join(sorted(self._pages))}")
        return 200, page.json.read(page.max_age)


def _parse_head(data: bytes) -> tuple[str, str, str] | None:
    """Parse the head of a request (RFC 9112): method, target, and its one Authorization.

    None for anything else than a head: also for one with two lengths, which two programs could
    read in two ways (section 6.3), or with a folded line (section 5.2).
    """
    head, blank, _ = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if not blank or len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):  # noqa: PLR2004
        return None
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or not name.isascii() or any(c <= " " for c in name):
            return None
        if name.lower() in fields and name.lower() in ("authorization", "content-length", "host"):
            return None
        fields[name.lower()] = value.strip(" \t")
    if "content-length" in fields and "transfer-encoding" in fields:
        return None
    return words[0], words[1], fields.get("authorization", "")


def _is_token(credentials: str, token: bytes) -> bool:
    """Tell whether credentials are a bearer token (RFC 6750), in constant time."""
    scheme, _, given = credentials.partition(" ")
    same = hmac.compare_digest(given.strip(" ").encode("latin-1", "replace"), token)
    return same and scheme.lower() == "bearer"


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode() + b"\n"


def _head(code: int, length: int) -> bytes:
    more = {405: ["Allow: GET"], 401: ['WWW-Authenticate: Bearer realm="anycastd"']}
    lines = (
        f"HTTP/1.1 {code} {_REASONS[code]}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        "Cache-Control: no-store",
        *more.get(code, []),
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode()
