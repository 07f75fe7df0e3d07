"""Send HTTP requests to a VIP at a steady rate, whether or not they are answered."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

REQUEST = b"GET / HTTP/1.0\r\nHost: vip\r\n\r\n"
GOOD = b" 200 "


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    ``sent_at`` is a reading of ``time.monotonic()``, ``duration`` in seconds; ``error`` is empty
    where the request was answered with 200.
    """

    sent_at: float
    duration: float
    error: str


class HttpLoad:
    """Open-loop clients: ``rate`` requests per second to ``address``; a context manager.

    A request that is not answered in ``timeout`` seconds has failed.  ``requests`` are those that
    have ended.
    """

    def __init__(self, address: str, rate: float = 50.0, timeout: float = 1.0) -> None:
        self.address = address
        self.requests: list[Request] = []
        self._every = 1 / rate
        self.timeout = timeout
        self._stop = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, tuple[float, bytes]] = {}
        self._thread = threading.Thread(target=self._run, name="http-load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(10)

    def failed(self, after: float = 0.0, before: float = float("inf")) -> list[Request]:
        """List the requests that failed and were sent between ``after`` and ``before``.

        Both are times of the monotonic clock, in seconds.
        """
        return [
            each for each in list(self.requests) if each.error and after < each.sent_at < before
        ]

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= due:
                due = max(due + self._every, now - 1)
                self._send(now)
            for connection in [
                each for each, (sent_at, _) in self._open.items() if self._is_late(sent_at)
            ]:
                self._end(connection, "timeout")
            for key, events in self._selector.select(max(0.0, due - time.monotonic())):
                self._continue(key.data, events)
        for connection in list(self._open):
            self._close(connection)

    def _is_late(self, sent_at: float) -> bool:
        return time.monotonic() - sent_at > self.timeout

    def _send(self, now: float) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        self._open[connection] = (now, b"")
        connection.connect_ex((self.address, 80))
        self._selector.register(connection, selectors.EVENT_WRITE, connection)

    def _continue(self, connection: socket.socket, events: int) -> None:
        sent_at, received = self._open[connection]
        try:
            if events & selectors.EVENT_WRITE:
                connection.send(REQUEST)
                self._selector.modify(connection, selectors.EVENT_READ, connection)
            elif data := connection.recv(4096):
                self._open[connection] = (sent_at, received + data)
            else:
                error = "" if GOOD in received[:16] else received[:12].decode("ascii", "replace")
                self._end(connection, error if received else "no answer")
        except OSError as error:
            self._end(connection, error.strerror or str(error))

    def _end(self, connection: socket.socket, error: str) -> None:
        sent_at, _ = self._open[connection]
        self.requests.append(Request(sent_at, time.monotonic() - sent_at, error))
        self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()
        del self._open[connection]
