"""Clients of a VIP: HTTP requests at a steady rate, whatever became of those before."""

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
    """One request: when it was sent, how long it took (seconds), what was wrong ("": nothing)."""

    at: float
    took: float
    wrong: str


class Traffic:
    """Open-loop clients: ``rate`` requests a second to ``address``; a context manager."""

    def __init__(self, address: str, rate: float = 50.0, timeout: float = 1.0) -> None:
        self.address = address
        self.requests: list[Request] = []
        self._every = 1 / rate
        self._timeout = timeout
        self._stop = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, tuple[float, bytes]] = {}
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

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

    def failed(self, since: float = 0.0, until: float = float("inf")) -> list[Request]:
        """The requests sent in that time that were not answered well."""
        return [each for each in list(self.requests) if each.wrong and since < each.at < until]

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= due:
                due = max(due + self._every, now - 1)
                self._begin(now)
            for connection in [each for each, (at, _) in self._open.items() if self._late(at)]:
                self._end(connection, "timeout")
            for key, events in self._selector.select(max(0.0, due - time.monotonic())):
                self._go_on(key.data, events)
        for connection in list(self._open):
            self._close(connection)

    def _late(self, at: float) -> bool:
        return time.monotonic() - at > self._timeout

    def _begin(self, now: float) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        self._open[connection] = (now, b"")
        connection.connect_ex((self.address, 80))
        self._selector.register(connection, selectors.EVENT_WRITE, connection)

    def _go_on(self, connection: socket.socket, events: int) -> None:
        at, heard = self._open[connection]
        try:
            if events & selectors.EVENT_WRITE:
                connection.send(REQUEST)
                self._selector.modify(connection, selectors.EVENT_READ, connection)
            elif data := connection.recv(4096):
                self._open[connection] = (at, heard + data)
            else:
                wrong = "" if GOOD in heard[:16] else heard[:12].decode("ascii", "replace")
                self._end(connection, wrong if heard else "no answer")
        except OSError as error:
            self._end(connection, error.strerror or str(error))

    def _end(self, connection: socket.socket, wrong: str) -> None:
        at, _ = self._open[connection]
        self.requests.append(Request(at, time.monotonic() - at, wrong))
        self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()
        del self._open[connection]
