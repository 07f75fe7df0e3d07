"""HAProxy's event stream, held open: it says when to look (I/O)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Collection

from anycastd.evidence.haproxy import events
from anycastd.evidence.haproxy.events import Event
from anycastd.evidence.haproxy.snapshot import Worker
from anycastd.evidence.haproxy.stats import MalformedAnswerError
from anycastd.profile.model import Instance

MAX_LINE = 1 << 16


NO_RING = f"the profile gives it no `ring`: write `ring: anycastd`, and {events.ring_setup_hint('anycastd')}"


async def why_not_event_driven(instance: Instance, within: float) -> str:
    """Say why a HAProxy that runs has to be polled; empty where its events come.

    Where nothing is refused this takes all of ``within`` seconds.
    """
    if instance.ring is None:
        return NO_RING
    wake = asyncio.Event()
    with (
        contextlib.suppress(OSError),
        contextlib.closing(EventStream(instance.socket, instance.ring, (), wake)) as stream,
    ):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not stream.over:
                    await wake.wait()
                    wake.clear()
        return events.explain_refusal(stream.said, instance.ring) if stream.over else ""
    return ""


class EventStream:
    """A worker's event stream: sets ``wake`` when it begins, ends, or has news of ``names``.

    ``worker`` is None until the stream stands.  ``stopping`` is whether its worker said that it
    leaves, ``said`` what HAProxy answered in the place of events.  Raises OSError when there is
    nobody to connect to.
    """

    def __init__(self, path: str, ring: str, names: Collection[str], wake: asyncio.Event) -> None:
        self.worker: Worker | None = None
        self.stopping = self.over = False
        self.said = ""
        self._names = names
        self._wake = wake
        self._text = ""
        self._sock = socket.socket(socket.AF_UNIX)
        try:
            self._sock.setblocking(False)
            self._sock.connect(path)
            self._sock.sendall(events.build_stream_request(ring).encode())
        except OSError:
            self._sock.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._read)

    def close(self) -> None:
        """Let the worker go."""
        if not self.over:
            self.over = True
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _read(self) -> None:
        try:
            data = self._sock.recv(MAX_LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._text += data.decode(errors="replace")
        try:
            self._take()
        except MalformedAnswerError:
            self.said = self._text
            data = b""
        if not data:
            self.close()
            self._wake.set()

    def _take(self) -> None:
        if self.worker is None:
            found = events.parse_stream_start(self._text)
            if found is None:
                return
            self.worker, self._text = found
            self._wake.set()
        *lines, rest = self._text.split("\n")
        self._text = rest[-MAX_LINE:]
        for line in lines:
            event, proxy = events.classify_event(line)
            if event is Event.STOPPING:
                self.stopping = True
                self._wake.set()
            elif event is Event.LOOK and proxy in self._names:
                self._wake.set()
            elif event is Event.NOTHING and line:
                self.said = line
