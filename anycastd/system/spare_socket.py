"""Keep a socket in reserve for when this process may open no more (stdlib only)."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors that say what this process, or this machine, lacks: they prove nothing of a peer."""


class SpareSocket:
    """Opens sockets one after the other; one that is kept in reserve stands in for a new one.

    ``family`` is that of all of them.

    The reserve is opened with the first socket.  So whoever asks from time to time can still ask
    while the process is at its limit of descriptors (RLIMIT_NOFILE, getrlimit(2)).
    """

    def __init__(self, family: socket.AddressFamily = socket.AF_UNIX) -> None:
        self._family = family
        self._spare: socket.socket | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[socket.socket]:
        """Open a socket for a ``with`` block, not connected; it is closed at the end.

        Raises OSError where there is neither a new one nor a reserve.
        """
        try:
            sock = socket.socket(self._family)
        except OSError as error:
            if self._spare is None or error.errno not in SHORTAGES:
                raise
            sock, self._spare = self._spare, None
        try:
            with sock:
                yield sock
        finally:
            self._refill()  # at once: the descriptor that was just closed is free

    def _refill(self) -> None:
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = socket.socket(self._family)

    def close(self) -> None:
        """Close the reserve."""
        if self._spare is not None:
            self._spare.close()
            self._spare = None
