"""Servers whose answers are not as they should be: HAProxy's stats socket, another region's agent.

The first passes real answers on and spoils some of them; the second answers with what it is given.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fuzz.edits import apply_edits, draw_edit
from fuzz.surfaces import SURFACES
from support.haproxy import replace_haproxy, serve_connections

_BY_NAME = {surface.name: surface for surface in SURFACES}
ODD = ("edit", "edit", "edit", "cut", "drip", "delay", "much", "noise", "close")
"""How an answer may be spoiled so that the next one can be sound again."""
BAD = ("cut", "endless drip", "too much", "noise", "close", "silent")
"""How an answer may be spoiled so that it proves nothing, whatever it was."""
DELAY = 0.3
"""Seconds by which an answer is late, or drips."""
PATIENCE = 5.0
"""Seconds for which a client may wait for nothing."""
INTERVAL = 0.01
"""Seconds between two batches of events that never happened."""


def edit(data: bytes, pieces: tuple[bytes, ...], source: random.Random) -> bytes:
    """Apply one to five edits."""
    edits = [draw_edit(source) for _ in range(source.choice((1, 1, 2, 3, 5)))]
    return apply_edits(data, edits, pieces)


class StatsProxy:
    """A man in the middle of agent and HAProxy; ``serve`` is for ``serve_connections``.

    ``kinds``: how answers are spoiled (empty: not at all), each time another one; ``one_in``: how
    many of them are.  ``spoils_events``: whether lines are put into the event stream, too.
    ``spoiled`` counts what was spoiled, ``passed`` what was not.
    """

    def __init__(self, haproxy: Path, source: random.Random) -> None:
        self.kinds: tuple[str, ...] = ()
        self.one_in = 1
        self.spoils_events = False
        self.spoiled = self.passed = 0
        self._haproxy = haproxy
        self._source = source

    def serve(self, connection: socket.socket, request: bytes) -> None:
        """Answer one connection of the agent."""
        with socket.socket(socket.AF_UNIX) as upstream:
            upstream.connect(str(self._haproxy))
            upstream.sendall(request)
            if b"show events" in request:
                self._pass_stream(connection, upstream)
                return
            upstream.settimeout(PATIENCE)
            answer = b""
            while data := upstream.recv(1 << 16):
                answer += data
        kinds = self.kinds
        if not kinds or self._source.randrange(self.one_in):
            self.passed += 1
            connection.sendall(answer)
            return
        self.spoiled += 1
        spoil(connection, answer, self._source.choice(kinds), self._source)

    def be_well(self) -> None:
        """Spoil nothing from now on."""
        self.kinds, self.spoils_events, self.spoiled, self.passed = (), False, 0, 0

    def _pass_stream(self, connection: socket.socket, upstream: socket.socket) -> None:
        while True:
            readable, _, _ = select.select([connection, upstream], [], [], INTERVAL)
            for one in readable:
                data = one.recv(1 << 16)
                if one is upstream and data and self.spoils_events and self._source.random() < 0.3:
                    data = edit(data, _BY_NAME["haproxy-stream"].pieces, self._source)
                if not data:
                    return
                (connection if one is upstream else upstream).sendall(data)
            if self.spoils_events:
                if not self._source.randrange(100):
                    return  # it ends
                surface = _BY_NAME["haproxy-event"]
                lines = b"".join(self._source.choices(surface.pieces, k=5))
                self.spoiled += 1
                connection.sendall(edit(lines, surface.pieces, self._source) + b"\n")


def spoil(connection: socket.socket, answer: bytes, kind: str, source: random.Random) -> None:
    """Send an answer, spoiled in one of the ways of ODD and BAD; raises OSError at its end."""
    match kind:
        case "edit":
            connection.sendall(edit(answer, _BY_NAME["haproxy-answer"].pieces, source))
        case "cut":
            connection.sendall(answer[: source.randrange(max(1, len(answer) // 2))])
        case "drip":
            sent = _drip(connection, answer, DELAY)
            connection.sendall(answer[sent:])
        case "delay":
            select.select([connection], [], [], DELAY)
            connection.sendall(answer)
        case "much":
            connection.sendall(answer * 100)
        case "too much":
            connection.sendall(answer * (1 + (20 << 20) // max(1, len(answer))))
        case "noise":
            connection.sendall(source.randbytes(source.choice((1, 100, 100_000))))
        case "endless drip":
            _drip(connection, b"#" * 100_000, PATIENCE)
        case "silent":
            select.select([connection], [], [], PATIENCE)
        case _:
            return


def _drip(connection: socket.socket, data: bytes, seconds: float) -> int:
    """Send a byte at a time for so many seconds; return how many bytes were sent."""
    ends_at = time.monotonic() + seconds
    for place in range(len(data)):
        if time.monotonic() > ends_at:
            return place
        connection.sendall(data[place : place + 1])
        time.sleep(INTERVAL)
    return len(data)


@contextlib.contextmanager
def run_stats_proxy(path: Path, haproxy: Path, source: random.Random) -> Iterator[StatsProxy]:
    """Listen on ``path`` between the agent and HAProxy's socket, for a ``with`` block."""
    proxy = StatsProxy(haproxy, source)
    with replace_haproxy(path, proxy.serve):
        yield proxy
        proxy.be_well()


class FakeRegion:
    """The agent of another region, which answers with ``draw()`` in every ``way`` of WAYS."""

    def __init__(self, draw: Callable[[], bytes]) -> None:
        self.draw = draw
        self.way = "whole"
        self.answered = 0

    def serve(self, connection: socket.socket, _: bytes) -> None:
        """Answer one connection."""
        data = self.draw()
        self.answered += 1
        match self.way:
            case "whole":
                connection.sendall(data)
            case "slow":
                _drip(connection, data, PATIENCE)
            case _:
                connection.sendall(data * (1 + (3 << 20) // max(1, len(data))))


@contextlib.contextmanager
def run_fake_region(endpoint: str, draw: Callable[[], bytes]) -> Iterator[FakeRegion]:
    """Answer at ``endpoint`` (ADDRESS:PORT, added to the loopback), for a ``with`` block."""
    address, _, port = endpoint.rpartition(":")
    subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
    region = FakeRegion(draw)
    with (
        socket.create_server((address, int(port))) as listener,
        serve_connections(listener, region.serve),
    ):
        yield region
