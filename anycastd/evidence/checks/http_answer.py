"""One answer of an HTTP server -> whether it is as wanted, without a socket (uses h11).

Only the head is read, and of the body as much as a wanted text needs.  Everything is bounded.
"""

from __future__ import annotations

import h11

from anycastd.evidence.checks.asker import Seen
from anycastd.profile.checks import HttpCheck, Url
from anycastd.system.printable import make_printable

MAX_HEAD = 1 << 16
"""Bytes of a head at most."""
MAX_BODY = 1 << 16
"""Bytes of a body in which a text is looked for."""
MAX_ANSWER = 1 << 18
"""Bytes of an answer in all, with chunk sizes and heads of 1xx."""
MAX_QUOTE = 80
"""Characters of a message of h11, or of a place in a redirect, that operators are shown."""
_PASSING = range(200, 400)
_REDIRECTS = {301, 302, 303, 307, 308}


class Redirect(Exception):  # noqa: N818 - no error: another place to ask
    """The answer sends the client to another place, ``location``."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


class HttpAnswer:
    """The answer to one GET: give it what arrives by ``receive``, until that returns Seen."""

    def __init__(self, asks: HttpCheck, *, redirects: int) -> None:
        self._asks = asks
        self._redirects = redirects
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._wanted = None if asks.contains is None else asks.contains.encode()
        self._status: int | None = None
        self._body = bytearray()
        self._taken = 0

    def build_request(self, url: Url, host: str) -> bytes:
        """Build the request for ``url``; ``host`` is its Host header."""
        fields = [
            ("Host", host),
            ("User-Agent", "anycastd"),
            ("Accept", "*/*"),
            ("Connection", "close"),
        ]
        send = self._connection.send
        head = send(h11.Request(method="GET", target=url.path, headers=fields))
        return (head or b"") + (send(h11.EndOfMessage()) or b"")

    def receive(self, data: bytes) -> Seen | None:
        """Receive some bytes (empty: the end); return what they show, None while more is needed.

        Raises Redirect where the answer is one that may be followed.
        """
        self._taken += len(data)
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    break
                found = self._take(event)
                if found is not None:
                    return found
        except h11.RemoteProtocolError as error:
            return self._judge_broken(str(error) if data else "closed before its end")
        if self._taken > MAX_ANSWER or event is h11.PAUSED:
            return self._judge_broken("the answer has no end")
        return None

    def _take(self, event: object) -> Seen | None:
        if isinstance(event, h11.Response):
            self._status = event.status_code
            if self._redirects and self._status in _REDIRECTS:
                for name, value in event.headers:
                    if name == b"location":
                        raise Redirect(value.decode("latin-1"))
            if not self._status_passes() or self._wanted is None:
                return self._judge()
        elif isinstance(event, h11.Data):
            self._body += event.data[: MAX_BODY - len(self._body)]
            if self._has_text() or len(self._body) >= MAX_BODY:
                return self._judge()
        elif isinstance(event, h11.EndOfMessage):
            return self._judge()
        elif isinstance(event, h11.ConnectionClosed):
            return self._judge_broken("closed before its end")
        return None  # a head of 1xx: the answer follows (RFC 9110 section 15.2)

    def _status_passes(self) -> bool:
        return self._status in (self._asks.status or _PASSING)

    def _has_text(self) -> bool:
        return self._wanted is None or self._wanted in self._body

    def _judge(self) -> Seen:
        detail = f"HTTP {self._status}"
        if not self._status_passes():
            return Seen(passed=False, detail=detail)
        if not self._has_text():
            return Seen(passed=False, detail=f"{detail}, without the text {self._asks.contains!r}")
        return Seen(passed=True, detail=detail)

    def _judge_broken(self, why: str) -> Seen:
        """Judge an answer that is not HTTP, or that ended too early."""
        why = make_printable(why, MAX_QUOTE)
        if self._status is None and not self._taken:
            return Seen(passed=False, detail="closed without an answer", answered=False)
        if self._status is None:
            return Seen(passed=False, detail=f"no HTTP: {why}", answered=False)
        return Seen(passed=False, detail=f"HTTP {self._status}, then: {why}")
