"""HAProxy's event stream, a connection that stays open: it says when to look (I/O).

It is the answer to ``show events`` (HAProxy's management manual, section 9.3).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from anycastd.evidence.haproxy import events
from anycastd.evidence.haproxy.answer import MalformedAnswerError
from anycastd.evidence.haproxy.events import Event
from anycastd.evidence.haproxy.snapshot import Worker
from anycastd.evidence.haproxy.stats_socket import (
    begin_connect,
    end_connect,
    parse_stats_socket,
)
from anycastd.profile.model import Instance
from anycastd.system.clock import OwnTime
from anycastd.system.counters import LookCounters

READ_SIZE = 1 << 16
"""Maximum number of bytes of one read."""
MAX_LINE = 1 << 12
"""Maximum number of characters of a line of events; the rest of a longer one is dropped."""
MAX_PAUSES = 100
"""Maximum number of frontends of which a pause is kept."""
MAX_SERVERS = 100
"""Maximum number of servers of a backend that are kept; with more, all of them are looked at."""
NAME_PAUSE_FOR = 600.0
"""Seconds for which a frontend's pause that is over is shown."""
_LOOK = (Event.LOOK, Event.PAUSED, Event.RESUMED)
BUSY_READ, BUSY_DELAY = 1 << 13, 0.01
"""A read of BUSY_READ bytes or more is followed by a pause of BUSY_DELAY seconds.

So a HAProxy that floods the ring costs a bounded part of a core; its ring keeps the newest lines.
"""
NO_RING = (
    "the profile gives it no `ring`: write `ring: anycastd`, and "
    + events.describe_ring_setup("anycastd")
)
"""Text for operators: why a HAProxy without `ring` in the profile is polled, and what to write."""


async def explain_polling(instance: Instance, timeout: float) -> str:
    """Explain why HAProxy has to be polled: opens an event stream for ``timeout`` seconds.

    Returns a sentence for operators; empty where HAProxy sends its events, and where nothing
    listens on its stats socket.  Returns early only where HAProxy refuses.
    """
    if instance.ring is None:
        return NO_RING
    wake = asyncio.Event()
    with (
        contextlib.suppress(OSError),
        contextlib.closing(
            EventStream(instance.socket, instance.ring, (), wake, OwnTime())
        ) as stream,
    ):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not stream.ended:
                    await wake.wait()
                    wake.clear()
        return events.explain_refusal(stream.refusal, instance.ring) if stream.ended else ""
    return ""


@dataclass(frozen=True, slots=True)
class Pause:
    """A frontend refused connections from ``began_at`` to ``ended_at`` (None: until now).

    Both are own time, in seconds.
    """

    began_at: float
    ended_at: float | None = None


class EventStream:
    """Event stream of one HAProxy worker, through the stats socket ``path``.

    It sets ``wake`` when the stream begins or ends, and when an event names a proxy of ``names``.
    ``worker`` is None until the stream is up.  ``ended``: the stream has ended.  ``stopping``: an
    event said that its worker stops.  ``refusal`` is what HAProxy answered instead of events.
    ``lines`` counts its lines.  ``heard_at`` is when its newest line came, and ``limit_at`` when
    the newest about a limit that the worker has reached (own time, seconds); ``limit`` is that
    line.  ``named`` collects the proxies that events named, each with the
    servers that they named (MAX_SERVERS at most); its user empties it.
    ``pauses`` has the newest pause of each frontend.

    Needs a running event loop.  Raises OSError where nothing listens at ``path``, where its queue
    of connections is full, and where this process may not use it.
    """

    def __init__(
        self,
        path: str,
        ring: str,
        names: Collection[str],
        wake: asyncio.Event,
        clock: OwnTime,
        *,
        counters: LookCounters | None = None,
    ) -> None:
        self.worker: Worker | None = None
        self.stopping = self.ended = False
        self.refusal = self.limit = ""
        self.lines = 0
        self.heard_at = self.limit_at = -math.inf
        self.named: dict[str, set[str]] = {}
        self.pauses: dict[str, Pause] = {}
        self._names = names
        self._wake = wake
        self._clock = clock
        self._counters = LookCounters() if counters is None else counters
        self._text = ""
        self._in_long_line = False
        self._pause: asyncio.TimerHandle | None = None
        self._request = events.build_stream_request(ring).encode()
        where = parse_stats_socket(path)
        self._sock = socket.socket(where.family)
        self._loop = asyncio.get_running_loop()
        try:
            self._sock.setblocking(False)
            if begin_connect(self._sock, where):
                self._loop.add_writer(self._sock, self._on_connected)
                return
            self._sock.sendall(self._request)
        except OSError:
            self._sock.close()
            raise
        self._loop.add_reader(self._sock, self._receive)

    @property
    def refused(self) -> bool:
        """Return whether HAProxy refused it, after it had named its worker."""
        return self.ended and self.lines == 1 and events.is_refusal(self.refusal)

    def close(self) -> None:
        """Close the connection, so that a worker that stops can end."""
        if not self.ended:
            self.ended = True
            if self._pause is not None:
                self._pause.cancel()
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()

    def _on_connected(self) -> None:
        """Send the request over a TCP connection that stands now, or end."""
        self._loop.remove_writer(self._sock)
        try:
            end_connect(self._sock)
            self._sock.sendall(self._request)
        except OSError:
            self.close()
            self._wake.set()
            return
        self._loop.add_reader(self._sock, self._receive)

    def _receive(self) -> None:
        """Read what HAProxy sent, and wake the watcher if an event asks for a look."""
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._text += data.decode(errors="replace")
        try:
            self._parse_lines()
        except MalformedAnswerError:
            self.refusal = self._text[:MAX_LINE]
            data = b""
        if not data:
            self.close()
            self._wake.set()
        elif len(data) >= BUSY_READ and self.worker is not None:
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(BUSY_DELAY, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._receive)

    def _parse_lines(self) -> None:
        if self.worker is None:
            found = events.parse_stream_start(self._text)
            if found is None:
                return
            self.worker, self._text = found
            self._wake.set()
        *lines, rest = self._text.split("\n")
        if lines and self._in_long_line:
            del lines[0]  # the rest of a line whose beginning was read before
            self._in_long_line = False
        if self._in_long_line or len(rest) > MAX_LINE:
            if not self._in_long_line:
                lines.append(rest[:MAX_LINE])
            rest, self._in_long_line = "", True
        self._text = rest
        for line in lines:
            self._read_line(line)

    def _read_line(self, line: str) -> None:
        if not line:
            return
        self.lines += 1
        self._counters.events += 1
        self.heard_at = self._clock.now()
        event, proxy, server = events.classify_event(line)
        if event is Event.STOPPING:
            self.stopping = True
            self._wake.set()
        elif event is Event.LIMIT:
            self.limit, self.limit_at = line[:MAX_LINE], self.heard_at
        elif event is Event.NOTHING:
            self.refusal = line[:MAX_LINE]
        elif event is Event.PAUSED and len(self.pauses) < MAX_PAUSES:
            self.pauses[proxy] = Pause(self.heard_at)
        elif event is Event.RESUMED and proxy in self.pauses:
            self.pauses[proxy] = Pause(self.pauses[proxy].began_at, self.heard_at)
        if event in _LOOK and proxy in self._names:
            servers = self.named.setdefault(proxy, set())
            if server and len(servers) < MAX_SERVERS:
                servers.add(server)
            self._wake.set()


def describe_pauses(pauses: Mapping[str, Pause], now: float) -> list[str]:
    """Describe the pauses of frontends for operators; ``now`` is own time, in seconds."""
    found = []
    for name, pause in pauses.items():
        if pause.ended_at is None:
            found.append(f"frontend {name} is paused: it refuses connections")
        elif now - pause.ended_at < NAME_PAUSE_FOR:
            found.append(
                f"frontend {name} was paused for {pause.ended_at - pause.began_at:.1f} s, "
                f"{now - pause.ended_at:.0f} s ago, and refused connections: a reload that cannot "
                "bind a port does this (see HAProxy's log), and so does `disable frontend`"
            )
    return found
