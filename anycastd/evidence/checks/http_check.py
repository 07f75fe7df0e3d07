"""Send a GET to an HTTP server, with TLS where the URL asks for it (I/O).

Redirects are followed only where the profile asks for it.  The time limit is one for all of it.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from anycastd.evidence.checks.asker import (
    PlainAsker,
    Seen,
    UnseenError,
    describe_error,
    judge_error,
)
from anycastd.evidence.checks.byte_stream import ByteStream, PlainStream, TlsStream
from anycastd.evidence.checks.host_addresses import FoundAddress, HostAddresses
from anycastd.evidence.checks.http_answer import MAX_QUOTE, HttpAnswer, Redirect
from anycastd.evidence.checks.tcp_check import connect
from anycastd.profile.checks import HttpCheck, Target, Url
from anycastd.system.printable import make_printable

if TYPE_CHECKING:
    import ssl

_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}")
_PATH = re.compile(r"[!-~]{1,8192}")


class HttpAsker(PlainAsker):
    """Sends one request for each run, each on a new connection."""

    def __init__(self, name: str, asks: HttpCheck) -> None:
        super().__init__(name)
        self._asks = asks
        self._addresses = HostAddresses(asks.url.target.host, self.thread)
        self._tls: ssl.SSLContext | None = None

    async def ask(self, timeout: float, step: int | None) -> Seen:  # noqa: ARG002 - of a load only
        """Ask once, and follow redirects as far as the profile allows."""
        url, host = self._asks.url, self._asks.host or self._asks.url.authority
        left, passed_on = self._asks.follow_redirects, ""
        while True:
            try:
                seen = await self._ask_one(url, host, left, timeout)
            except Redirect as redirect:
                place = make_printable(redirect.location, MAX_QUOTE)
                try:
                    url = follow(url, redirect.location)
                except ValueError:
                    return Seen(passed=False, detail=f"a redirect to {place}, which is no URL")
                host, left, passed_on = url.authority, left - 1, f" (redirected to {place})"
                continue
            return seen._replace(detail=seen.detail + passed_on)

    async def close(self) -> None:
        """End a look-up of the name, and the thread."""
        self._addresses.close()
        await super().close()

    async def _ask_one(self, url: Url, host: str, redirects: int, timeout: float) -> Seen:
        addresses = await self._find(url.target.host)
        connection = await connect(addresses, url.target.port, timeout)
        if isinstance(connection, Seen):
            return connection
        try:
            return await self._exchange(connection, url, host, redirects)
        except OSError as error:
            return _judge_tls_error(error) or judge_error(error)
        finally:
            connection.close()

    async def _find(self, host: str) -> tuple[FoundAddress, ...]:
        """Find the addresses of the URL's host, or of one that a redirect leads to."""
        own = host == self._asks.url.target.host
        addresses = self._addresses if own else HostAddresses(host, self.thread)
        self.waits_for = "the address of the host's name"
        try:
            found = await addresses.find()
        finally:
            if not own:
                addresses.close()
        self.waits_for = ""
        return found

    async def _exchange(
        self, connection: socket.socket, url: Url, host: str, redirects: int
    ) -> Seen:
        stream: ByteStream = PlainStream(connection)
        if url.tls:
            stream = TlsStream(connection, await self._load_tls(), _strip_port(host))
            await stream.shake_hands()
        answer = HttpAnswer(self._asks, redirects=redirects)
        await stream.send(answer.build_request(url, host))
        while True:
            seen = answer.receive(await stream.receive())
            if seen is not None:
                return seen

    async def _load_tls(self) -> ssl.SSLContext:
        """Load the authorities, once; in the thread, because a disk may hang."""
        if self._tls is None:
            file, self.waits_for = self._asks.ca_file, "the file with the certificates"
            try:
                self._tls = await self.thread.call(_build_context, file, self._asks.tls_verify)
            except OSError as error:
                place = file or "the system's certificates"
                raise UnseenError(f"{place} cannot be read: {describe_error(error)}") from None
            self.waits_for = ""
        return self._tls


def _build_context(ca_file: str | None, verify: bool) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - 5 MB, only where a URL is https

    if verify:
        return ssl.create_default_context(cafile=ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _judge_tls_error(error: OSError) -> Seen | None:
    """Judge an error of TLS, whose number is none of the system's; None for another error."""
    if message := getattr(error, "verify_message", ""):
        message = make_printable(str(message), MAX_QUOTE)
        return Seen(passed=False, detail=f"certificate refused: {message}")
    if hasattr(error, "reason"):
        reason = make_printable(str(error.reason or "closed"), MAX_QUOTE)
        return Seen(passed=False, detail=f"TLS fails: {reason.replace('_', ' ').lower()}")
    return None


def follow(url: Url, location: str) -> Url:
    """Return the URL to which ``location`` leads from ``url`` (RFC 9110 section 10.2.2).

    Raises ValueError where that is no URL of HTTP.
    """
    parts = urlsplit(urljoin(str(url), location))
    host, path = parts.hostname or "", (parts.path or "/") + f"?{parts.query}" * bool(parts.query)
    known = parts.scheme in {"http", "https"}
    if not (known and _HOST.fullmatch(host) and _PATH.fullmatch(path)):
        raise ValueError(location)
    tls = parts.scheme == "https"
    return Url(tls, Target(host, parts.port or (443 if tls else 80)), path)


def _strip_port(host: str) -> str:
    """Return the name or address in a Host header, for TLS."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")
