"""Write to systemd's journal with fields, by its native protocol (I/O, stdlib only).

A datagram is one entry: its fields, one after the other.  A value without a newline is written as
``NAME=value``; another one as the name, a newline, its length in 64 bits (little-endian) and the
value.  See "Journal Native Protocol" in systemd's documentation, and systemd.exec(5) for
``$JOURNAL_STREAM``.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
"""Where journald takes entries."""
MAX_VALUE = 8192
"""Bytes of one value; more is cut."""
MAX_NAME = 64
"""Characters of the name of a field, as journald has it."""

_NOT_IN_NAMES = re.compile(r"[^A-Z0-9_]+")


def is_journal(descriptor: int = 2, stream: str | None = None) -> bool:
    """Return whether ``descriptor`` is connected with the journal.

    ``stream`` is the value of ``$JOURNAL_STREAM`` (None: that of this process): device and inode.
    A process that has this variable may have been given another standard error since.
    """
    value = os.environ.get("JOURNAL_STREAM", "") if stream is None else stream
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return value == f"{found.st_dev}:{found.st_ino}"


def encode_fields(fields: Mapping[str, str | int | float | None]) -> bytes:
    """Encode the fields of one entry; those without a value are left out.

    Names are written in capitals, with an underscore for what journald does not take; a name that
    begins with an underscore or a digit gets none, since journald refuses such fields.
    """
    pieces = []
    for name, value in fields.items():
        key = _NOT_IN_NAMES.sub("_", name.upper()).lstrip("_0123456789")[:MAX_NAME]
        if not key or value is None or value == "":
            continue
        data = str(value).encode("utf-8", "backslashreplace")[:MAX_VALUE]
        if b"\n" in data:
            pieces.append(key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            pieces.append(key.encode() + b"=" + data + b"\n")
    return b"".join(pieces)


class JournalSocket:
    """A socket to journald at ``path``."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def send(self, entry: bytes) -> bool:
        """Send an entry; waits where journald is slow.  Returns False where it does not take it."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.sendto(entry, self._path)
        except OSError:
            return False
        return True
