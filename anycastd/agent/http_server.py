"""Serve pages over HTTP, read-only: for other regions, for monitoring and for people.

Disabled unless the profile has ``web``.  GET and HEAD alone, one answer per connection, with limits
on time, size and number of connections.  ``web.allow`` says which addresses may connect,
``web.token_file`` which secret they have to send.  No client can change anything.

h11 parses and writes (RFC 9110, RFC 9112).  Here are the bounds, and some rules more: what two
programs may read in two ways is refused.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import re
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl

import h11

from anycastd.agent.connections import PROBLEM_MAX_AGE, Bounds, Connection, Connections
from anycastd.agent.page import Fields, WebAnswer, WebPage, refuse
from anycastd.profile.model import Address, Network
from anycastd.profile.regions import Web
from anycastd.system.secret_file import SecretFileError, read_secret

log = logging.getLogger(__name__)

HEAD_TIMEOUT = 1.0
"""Seconds that a client has to send the head of its request."""
ANSWER_TIMEOUT = 4.0
"""Seconds in which the answer is then built, and taken by the client."""
BOUNDS = Bounds(connections=32, per_peer=16, reserve=64)
"""Simultaneous connections, in all and from each address (of IPv6: from each /64)."""
BACKLOG = 128
"""Connections that wait to be accepted; the kernel refuses the next one."""
MAX_HEAD = 8192
"""Bytes of a request's head."""
MAX_FIELDS = 16
"""Fields of a query."""
MAX_JOINED = 65536
"""Bytes of a body that is sent together with its head, at most."""
RETRY_DELAY = 2.0
"""Seconds between two attempts to listen: the address may be configured after the agent starts."""
IPV6_CLIENT = 64
"""Length of the prefix that one client of IPv6 has at least (RFC 6177)."""
_METHODS = ("GET", "HEAD")
_HOW_TO_ASK = "ask like: GET /status HTTP/1.1, with a Host field"
_EXTRA_FIELDS = {
    401: [("WWW-Authenticate", 'Bearer realm="anycastd"')],
    405: [("Allow", ", ".join(_METHODS))],
}
# A line that ends without CR, or goes on in the next line (RFC 9112, sections 2.2 and 5.2).
_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\n[ \t]")


@dataclass(frozen=True, slots=True)
class WebRequest:
    """The head of a request: its method, target (path and query), and its one Authorization."""

    method: str
    target: str
    credentials: str = ""


class HttpServer:
    """A server that answers GET and HEAD requests as ``web`` says (None: not).

    ``pages`` maps path -> page.  ``regions`` are the networks of the other regions' agents, which
    are always allowed.
    """

    def __init__(
        self, web: Web | None, pages: Mapping[str, WebPage], regions: Iterable[Network] = ()
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
        async with asyncio.timeout(ANSWER_TIMEOUT):
            for piece in await self.answer_head(head):
                await connection.send(piece)
            await connection.finish()

    async def answer_head(self, head: bytes) -> list[bytes]:
        """Answer the head of a request, whatever it is; returns the pieces to send."""
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        request = parse_head(parser, head)
        answer = refuse(400, _HOW_TO_ASK) if request is None else await self._answer(request)
        with_body = request is None or request.method != "HEAD"
        return write_answer(parser, answer, with_body=with_body)

    async def _answer(self, request: WebRequest) -> WebAnswer:
        if self._token is not None and not _is_token(request.credentials, self._token):
            return refuse(401, "send the token of this region: Authorization: Bearer TOKEN")
        if request.method not in _METHODS:
            return refuse(405, f"only {' and '.join(_METHODS)} are answered here")
        path, _, query = request.target.partition("?")
        page = self._pages.get(path)
        if page is None:
            return refuse(404, f"there is: {', '.join(sorted(self._pages))}")
        fields = _parse_query(query)
        if fields is None:
            return refuse(400, f"a query may have {MAX_FIELDS} fields")
        try:
            return await page.answer(fields)
        except Exception as error:  # noqa: BLE001 - one page must not end anything else
            self._connections.note_failure(error)
            return refuse(500, "this page failed; the agent's log says how, please report it")


def parse_head(parser: h11.Connection, head: bytes) -> WebRequest | None:
    """Parse the head of a request; ``parser`` then knows which answer fits it.

    None for anything else than a whole head, and for one that two programs may read in two ways:
    with two lengths (RFC 9112 section 6.3), two Authorizations, or another end of a line.
    """
    if b"\r\n\r\n" not in head or _AMBIGUOUS.search(head):
        return None
    try:
        parser.receive_data(head)
        event = parser.next_event()
    except (h11.RemoteProtocolError, ValueError):  # ValueError: a length of thousands of digits
        return None
    if not isinstance(event, h11.Request) or event.http_version not in (b"1.0", b"1.1"):
        return None
    names = [name for name, _ in event.headers]
    if b"content-length" in names and b"transfer-encoding" in names:
        return None
    given = [value.decode("latin-1") for name, value in event.headers if name == b"authorization"]
    if len(given) > 1:
        return None
    method, target = event.method.decode("ascii"), event.target.decode("ascii")
    return WebRequest(method, target, "".join(given))


def write_answer(parser: h11.Connection, answer: WebAnswer, *, with_body: bool) -> list[bytes]:
    """Write an answer to the request that ``parser`` has read, as the pieces to send.

    A large body is a piece of its own, so that it is not copied for each client.  The answer to a
    HEAD says how long the body is that it does not have (RFC 9110 section 9.3.2).
    """
    fields = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        *_EXTRA_FIELDS.get(answer.code, []),
        *answer.fields,
        ("Connection", "close"),
    ]
    reason = HTTPStatus(answer.code).phrase
    head = parser.send(h11.Response(status_code=answer.code, headers=fields, reason=reason)) or b""
    if not with_body:
        return [head]
    body = answer.body
    return [head + body] if len(body) < MAX_JOINED else [head, body]


def _is_token(credentials: str, token: bytes) -> bool:
    """Tell whether credentials are a bearer token (RFC 6750), in constant time."""
    scheme, _, given = credentials.partition(" ")
    same = hmac.compare_digest(given.strip(" ").encode("latin-1", "replace"), token)
    return same and scheme.lower() == "bearer"


def _parse_query(query: str) -> Fields | None:
    """Parse a query; None: it has too many fields."""
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        return None
