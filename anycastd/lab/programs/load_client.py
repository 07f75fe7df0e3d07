"""The on-premises client's load; started as a program: `python -m anycastd.lab.programs.load_client`.

Requests are sent on a schedule, each on a connection of its own, whatever became of the ones before
(an open loop: a client that waits for its answers would hide an outage by asking less).  A request
that has no whole answer when its time is up has failed.  With ``--again`` it does what browsers do
(RFC 9110, section 9.2.2): a request whose connection is reset before a byte of an answer has come
is sent once more.  One JSON line per request goes to standard
output when it is over, with times of the monotonic clock in seconds, which all processes share.
SIGTERM stops the sending; those on their way are still waited for.
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

_FEW = 900
"""So many requests may be open at once with select()."""


class Request:
    """One request on its way: ``due`` is when it should have been sent, ``start`` when it was."""

    __slots__ = ("again", "data", "due", "number", "sent", "sock", "start")

    def __init__(self, number: int, due: float) -> None:
        self.number = number
        self.due = due
        self.again = -1
        self.renew()
        self.start = time.monotonic()

    def renew(self) -> None:
        """Take a new connection."""
        self.again += 1
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.sent = False
        self.data = b""


class Load:
    """Sends requests to ``address`` every ``every`` seconds, each given up after ``give_up``."""

    def __init__(self, address: str, every: float, give_up: float, *, again: bool = False) -> None:
        self.address = address
        self.again = again
        self.every = every
        self.give_up = give_up
        self.text = f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
        self.stopping = False
        # select() takes microseconds where epoll rounds up to whole milliseconds, and it takes no
        # more than 1,024 descriptors.
        few = give_up / every < _FEW
        self.selector: selectors.BaseSelector = (
            selectors.SelectSelector() if few else selectors.DefaultSelector()
        )
        self.open: deque[Request] = deque()

    def run(self) -> None:
        """Send and read until stopped and nothing is on its way."""
        due = time.monotonic()
        number = 0
        while self.open or not self.stopping:
            now = time.monotonic()
            while due <= now and not self.stopping:
                self.send(Request(number, due))
                number += 1
                due += self.every
            while self.open and self.open[0].start + self.give_up <= now:
                self.finish(self.open[0], f"no whole answer in {self.give_up * 1000:.0f} ms")
            following = [due] if not self.stopping else []
            if self.open:
                following.append(self.open[0].start + self.give_up)
            pause = max(0.0, min(following, default=now) - time.monotonic())
            for key, _ in self.selector.select(pause):
                self.go_on(key.data)

    def send(self, request: Request) -> None:
        """Begin a request."""
        self.open.append(request)
        self.connect(request)

    def connect(self, request: Request) -> None:
        """Open a request's connection."""
        with contextlib.suppress(BlockingIOError):
            try:
                request.sock.connect((self.address, 80))
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    raise
                self.finish(request, _words(error))
                return
        self.selector.register(request.sock, selectors.EVENT_WRITE, request)

    def go_on(self, request: Request) -> None:
        """Do what a request's socket is ready for."""
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
            if not self.again or request.again or request.data:
                self.finish(request, _words(error))
                return
            self.selector.unregister(request.sock)
            request.sock.close()
            request.renew()
            self.connect(request)
            return
        except OSError as error:
            self.finish(request, _words(error))
            return
        request.data += data
        if not data or _complete(request.data):
            self.finish(request, "")

    def finish(self, request: Request, why: str) -> None:
        """Write down what became of a request."""
        end = time.monotonic()
        with contextlib.suppress(KeyError):
            self.selector.unregister(request.sock)
        request.sock.close()
        self.open.remove(request)
        status, headers = _head(request.data)
        if not why and not _complete(request.data):
            why = "connection closed before the whole answer"
        elif not why and status != HTTPStatus.OK:
            why = f"status {status}"
        record = {
            "n": request.number,
            "due": request.due,
            "start": request.start,
            "end": end,
            "ok": not why,
            "region": headers.get("x-region", ""),
            "server": headers.get("x-server", ""),
            "why": why,
            "again": request.again,
        }
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _head(data: bytes) -> tuple[int, dict[str, str]]:
    """Return the status (0 for none) and the headers, names in small letters."""
    first, _, rest = data.partition(b"\r\n\r\n")[0].decode("latin-1").partition("\r\n")
    words = first.split()
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    pairs = (line.partition(":") for line in rest.split("\r\n"))
    return status, {name.strip().lower(): value.strip() for name, _, value in pairs}


def _complete(data: bytes) -> bool:
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        return False
    length = _head(head)[1].get("content-length")
    # Without a length the answer ends with the connection, and a cut one cannot be told from a
    # whole one; our own servers always give it, and HAProxy's error pages do too.
    return length is not None and length.isdigit() and len(body) >= int(length)


def main() -> None:
    """Run the load until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--every", type=float, required=True)
    parser.add_argument("--give-up", type=float, required=True)
    parser.add_argument("--again", action="store_true")
    args = parser.parse_args()
    load = Load(args.address, args.every, args.give_up, again=args.again)
    signal.signal(signal.SIGTERM, lambda *_: setattr(load, "stopping", True))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A collection in the middle of a measurement would be our own pause.
    gc.freeze()
    gc.disable()
    load.run()


if __name__ == "__main__":
    main()
