"""Non-blocking descriptors that carry lines (stdlib only, I/O)."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field

from anycastd.lease.intake import Sender

_NOBODY = Sender()
_PIECE = 1 << 20
"""Bytes to read at once."""


@dataclass(slots=True)
class Pipe:
    """A descriptor: the incomplete line that was read, and what is not yet written.

    ``max_line``: bytes of a line at most.  ``is_cut``: the incomplete line has more; one byte more
    is kept of it.  ``searched``: bytes of ``received`` in which there is no newline.  ``number``,
    ``connection`` and ``sender`` are set where it is an agent's connection; ``served`` counts up to
    the turn in which it was served last.
    """

    fd: int
    max_line: int
    received: bytearray = field(default_factory=bytearray)
    unwritten: bytearray = field(default_factory=bytearray)
    searched: int = 0
    is_cut: bool = False
    number: int = 0
    connection: socket.socket | None = None
    sender: Sender = _NOBODY
    served: int = 0

    def read(self, limit: int = 1) -> bytes | None:
        """Read about ``limit`` bytes, or what is available.

        Returns the complete lines as one text without its last newline, empty where there is none;
        of a line that is too long, at least ``max_line + 1`` bytes.  Returns None at the end of the
        stream, after the lines before it were returned.
        """
        count = 0
        while count < limit:
            try:
                data = os.read(self.fd, min(_PIECE, max(limit, 1 << 16)))
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                if not count:
                    return None
                break  # the next call finds the end again
            count += len(data)
            self._store(data)
        # Only what is new is searched: a line that comes byte by byte must not cost its square.
        end = self.received.rfind(b"\n", self.searched)
        lines = b""
        if end >= 0:
            lines = bytes(self.received[:end])
            del self.received[: end + 1]
        self.searched = len(self.received)
        return lines

    def is_too_long(self) -> bool:
        """Return whether the incomplete line is longer than it may be."""
        return len(self.received) > self.max_line

    def _store(self, data: bytes) -> None:
        """Keep what was read, without what is too much of one line."""
        if self.is_cut:
            end = data.find(b"\n")
            if end < 0:
                return
            data, self.is_cut = data[end:], False
        self.received += data
        start = self.received.rfind(b"\n", self.searched) + 1
        if len(self.received) - start > self.max_line:
            del self.received[start + self.max_line + 1 :]
            self.is_cut = True


def select_newest(lines: bytes) -> list[bytes]:
    """Select the lines that matter: the newest state and the newest verb.

    States that arrived during a stall of ours must not be sent to ExaBGP one after the other.
    """
    selected: list[bytes] = []
    end = len(lines)
    while end >= 0:
        start = lines.rfind(b"\n", 0, end) + 1
        if b'"reload"' not in (line := lines[start:end]):
            selected.append(line)
            break
        end = start - 1
    verb = lines.rfind(b'"reload"')
    if verb >= 0:
        start, end = lines.rfind(b"\n", 0, verb) + 1, lines.find(b"\n", verb)
        selected.append(lines[start : end if end >= 0 else len(lines)])
    return selected
