"""Program: the on-premises client's load.

Usage: `python -m anycastd.lab.programs.load_client ADDRESS --interval S --timeout S [--resend]`.

Requests are sent on a fixed schedule, each on a new connection, whatever happened to earlier ones
(an open loop).  A client that waits for each answer would send less during an outage and hide it.
A request without a complete answer when its timeout ends has failed.  With ``--resend`` a request
is sent again once if its connection is reset before any byte of an answer came, as browsers do
(RFC 9110, section 9.2.2).

One JSON line per request goes to standard output when it has ended; the keys are those of
``outage.RequestResult``, times are of the monotonic clock, which all processes share, in seconds.
SIGTERM stops the sending; the program ends when the requests under way have ended.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections import deque
from http import HTTPStatus

_MAX_SELECT = 900
"""Largest number of open requests for which select() is used."""


class Request:
    """One request under way; times as in ``outage.RequestResult``."""

    __slots__ = ("data", "due_at", "number", "resent", "sent", "sent_at", "sock")

    def __init__(self, number: int, due_at: float) -> None:
        self.number = number
        self.due_at = due_at
        self.resent = -1
        self.open_socket()
        self.sent_at = time.monotonic()

    def open_socket(self) -> None:
        """Take a new socket, for the first or the next attempt."""
        self.resent += 1
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.sent = False
        self.data = b""


class Load:
    """A load: a request to ``address`` each ``interval`` seconds, with ``timeout`` seconds each."""

    def __init__(
        self, address: str, interval: float, timeout: float, *, resend: bool = False
    ) -> None:
        self.address = address
        self.resend = resend
        self.interval = interval
        self.timeout = timeout
        self.text = f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
        self.stopping = False
        # select() takes microseconds where epoll rounds up to whole milliseconds, and it takes no
        # more than 1,024 descriptors.
        small = timeout / interval < _MAX_SELECT
        self.selector: selectors.BaseSelector = (
            selectors.SelectSelector() if small else selectors.DefaultSelector()
        )
        self.open: deque[Request] = deque()

    def run(self) -> None:
        """Send requests until stopped, then wait for those under way."""
        due = time.monotonic()
        number = 0
        while self.open or not self.stopping:
            now = time.monotonic()
            while due <= now and not self.stopping:
                self.send(Request(number, due))
                number += 1
                due += self.interval
            while self.open and self.open[0].sent_at + self.timeout <= now:
                self.finish(self.open[0], f"no whole answer in {self.timeout * 1000:.0f} ms")
            following = [due] if not self.stopping else []
            if self.open:
                following.append(self.open[0].sent_at + self.timeout)
            pause = max(0.0, min(following, default=now) - time.monotonic())
            for key, _ in self.selector.select(pause):
                self.on_ready(key.data)

    def send(self, request: Request) -> None:
        """Start a request."""
        self.open.append(request)
        self.connect(request)

    def connect(self, request: Request) -> None:
        """Start to connect a request's socket; an error ends the request."""
        with contextlib.suppress(BlockingIOError):
            try:
                request.sock.connect((self.address, 80))
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    raise
                self.finish(request, _describe_error(error))
                return
        self.selector.register(request.sock, selectors.EVENT_WRITE, request)

    def on_ready(self, request: Request) -> None:
        """Send or read, as the request's socket is ready for; an error ends the request."""
        try:
            if not request.sent:
                error = request.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    # OSError() makes a ConnectionResetError of that number.
                    raise OSError(error, os.strerror(error))
                request.sock.send(self.text)
                request.sent = True
                self.selector.modify(request.sock, selectors.EVENT_READ, request)
                return
            data = request.sock.recv(65536)
        except ConnectionResetError as error:
            if not self.resend or request.resent or request.data:
                self.finish(request, _describe_error(error))
                return
            self.selector.unregister(request.sock)
            request.sock.close()
            request.open_socket()
            self.connect(request)
            return
        except OSError as error:
            self.finish(request, _describe_error(error))
            return
        request.data += data
        if not data or _is_complete(request.data):
            self.finish(request, "")

    def finish(self, request: Request, detail: str) -> None:
        """End a request and print its result; ``detail`` says why it failed, if known."""
        ended_at = time.monotonic()
        with contextlib.suppress(KeyError):
            self.selector.unregister(request.sock)
        request.sock.close()
        self.open.remove(request)
        status, headers = _parse_head(request.data)
        if not detail and not _is_complete(request.data):
            detail = "connection closed before the whole answer"
        elif not detail and status != HTTPStatus.OK:
            detail = f"status {status}"
        record = {
            "number": request.number,
            "due_at": request.due_at,
            "sent_at": request.sent_at,
            "ended_at": ended_at,
            "ok": not detail,
            "region": headers.get("x-region", ""),
            "server": headers.get("x-server", ""),
            "detail": detail,
            "resent": request.resent,
        }
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


def _describe_error(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _parse_head(data: bytes) -> tuple[int, dict[str, str]]:
    """Return the status (0 for none) and the headers, with names in lower case."""
    first, _, rest = data.partition(b"\r\n\r\n")[0].decode("latin-1").partition("\r\n")
    parts = first.split()
    status = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
    pairs = (line.partition(":") for line in rest.split("\r\n"))
    return status, {name.strip().lower(): value.strip() for name, _, value in pairs}


def _is_complete(data: bytes) -> bool:
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        return False
    length = _parse_head(head)[1].get("content-length")
    # Without a length the answer ends with the connection, and a cut one cannot be told from a
    # whole one; our own servers always give it, and HAProxy's error pages do too.
    return length is not None and length.isdigit() and len(body) >= int(length)


def main() -> None:
    """Run the load until SIGTERM; raises SystemExit for a wrong command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--interval", type=float, required=True)
    parser.add_argument("--timeout", type=float, required=True)
    parser.add_argument("--resend", action="store_true")
    args = parser.parse_args()
    load = Load(args.address, args.interval, args.timeout, resend=args.resend)
    signal.signal(signal.SIGTERM, lambda *_: setattr(load, "stopping", True))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A collection in the middle of a measurement would be our own pause.
    gc.freeze()
    gc.disable()
    load.run()


if __name__ == "__main__":
    main()
