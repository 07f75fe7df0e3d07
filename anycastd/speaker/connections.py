"""The agents' connections to the lease process, and who may connect (stdlib only, I/O)."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable

from anycastd.lease.intake import Sender
from anycastd.lease.messages import MAX_MESSAGE
from anycastd.lease.settings import LeaseStartError
from anycastd.speaker.pipes import Pipe

MAX_CONNECTIONS = 16
"""Maximum number of connections.  One more closes the oldest that does not own the lease."""

ACCEPT_RETRY = 0.5
"""Seconds without an attempt to accept, after one that failed for lack of descriptors or memory."""

MAX_LOGGED, LOG_WINDOW = 20, 10.0
"""Lines about connections within LOG_WINDOW seconds at most: anybody may connect in a loop."""

_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC}
_SO_PEERGROUPS = 59  # Linux 4.13; Python has no name for it
_MAX_GROUPS_SIZE = 1024  # bytes: Python takes no more, and they are enough for 256 groups
_PEER = struct.Struct("iII")


class Connections:
    """The listening socket at ``path``, and the connections of agents: ``pipes``, by descriptor.

    ``shortage``: what lacks for another connection, as a sentence; empty where nothing does.
    ``log`` writes a line.  ``on_closed`` is called with the number of a connection that is closed.
    Raises LeaseStartError where it cannot listen.
    """

    def __init__(
        self,
        path: str,
        selector: selectors.BaseSelector,
        log: Callable[[str], None],
        on_closed: Callable[[int], None],
    ) -> None:
        self.pipes: dict[int, Pipe] = {}
        self.shortage = ""
        self.listener = _listen(path)
        self._gid = os.stat(path).st_gid
        self._log = log
        self._on_closed = on_closed
        self._logged_at = 0.0
        self._logged = 0
        self._last_number = 0
        self._selector = selector
        self._is_listening = False
        self._retry_at = 0.0
        # Given up for one more connection where no descriptor is left.
        self._reserve: int | None = _open_reserve()
        self._resume_listening()

    def accept(self, owner: int | None) -> Pipe | None:
        """Accept a connection; returns None where there is none, or it may not connect.

        ``owner`` is the number of the connection that owns the lease (None: it has none); it is
        never closed for another one.
        """
        try:
            connection = self._accept_one(owner)
        except OSError as error:
            if error.errno in _SHORTAGES:
                self._start_shortage(error)
            return None
        if connection is None:
            return None
        sender = identify_sender(connection, self._gid)
        if sender is None:
            self.log("refused a connection: its user is not root, not ours, and not in our group")
            connection.close()
            return None
        if len(self.pipes) >= MAX_CONNECTIONS:
            # Not the newest: an agent that connects again must always get in.
            self._evict(owner, "too many are open")
        return self._add(connection, sender)

    def disconnect(self, pipe: Pipe) -> None:
        """Close a connection, if it is not closed already."""
        if self.pipes.pop(pipe.fd, None) is None:
            return
        self._selector.unregister(pipe.fd)
        self._on_closed(pipe.number)
        if pipe.connection is not None:
            pipe.connection.close()

    def tick(self) -> None:
        """After a shortage: listen again, and note its end, when it is time."""
        if not self.shortage or time.monotonic() < self._retry_at:
            return
        self._retry_at = time.monotonic() + ACCEPT_RETRY
        if self._reserve is None:
            self._reserve = _open_reserve()
        elif self._is_listening:
            self.shortage = ""
            self._log("there is room for connections again")
        self._resume_listening()

    def log(self, text: str) -> None:
        """Log a line about a connection, or drop it where there were too many."""
        now = time.monotonic()
        if now - self._logged_at >= LOG_WINDOW:
            if self._logged > MAX_LOGGED:
                self._log(f"{self._logged - MAX_LOGGED} more lines about connections")
            self._logged_at, self._logged = now, 0
        self._logged += 1
        if self._logged <= MAX_LOGGED:
            self._log(text)

    def close(self) -> None:
        """Close the listening socket."""
        self.listener.close()

    def _accept_one(self, owner: int | None) -> socket.socket | None:
        try:
            return self.listener.accept()[0]
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _SHORTAGES:
                return None
            self._name_shortage(error)
            # An onlooker gives way first, then the reserve; the owner never does.
            if not self._evict(owner, error.strerror) and self._reserve is not None:
                os.close(self._reserve)
                self._reserve = None
            return self.listener.accept()[0]

    def _add(self, connection: socket.socket, sender: Sender) -> Pipe | None:
        connection.setblocking(False)
        pipe = Pipe(connection.fileno(), MAX_MESSAGE, connection=connection, sender=sender)
        try:
            self._selector.register(pipe.fd, selectors.EVENT_READ)
        except OSError as error:
            connection.close()
            self._start_shortage(error)
            return None
        self._last_number += 1
        pipe.number = self._last_number
        self.pipes[pipe.fd] = pipe
        return pipe

    def _evict(self, owner: int | None, reason: str | None) -> bool:
        """Close the oldest connection that does not own the lease, if there is one."""
        oldest = next((pipe for pipe in self.pipes.values() if pipe.number != owner), None)
        if oldest is None:
            return False
        self.log(f"closed the oldest connection that does not own the lease: {reason}")
        self.disconnect(oldest)
        return True

    def _name_shortage(self, error: OSError) -> None:
        if not self.shortage:
            self.shortage = f"the lease process cannot take another connection: {error.strerror}"
            self._log(self.shortage)
        self._retry_at = time.monotonic() + ACCEPT_RETRY

    def _start_shortage(self, error: OSError) -> None:
        """Stop listening for a moment: the socket would wake the loop without an end."""
        self._name_shortage(error)
        if self._is_listening:
            self._is_listening = False
            self._selector.unregister(self.listener)

    def _resume_listening(self) -> None:
        if not self._is_listening:
            with contextlib.suppress(OSError):
                self._selector.register(self.listener, selectors.EVENT_READ)
                self._is_listening = True


def identify_sender(connection: socket.socket, gid: int) -> Sender | None:
    """Return who is at the other end of a connection; None where it may not connect.

    root, our own user and the members of the group ``gid`` may.  The socket's mode says the same;
    this holds even if somebody changes it.
    """
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        pid, uid, own_gid = _PEER.unpack(data)
        if uid not in {0, os.geteuid()} and gid not in {own_gid, *_read_groups(connection)}:
            return None
    except (OSError, struct.error):
        return None
    return Sender(_read_pids(pid), uid)


def _read_groups(connection: socket.socket) -> tuple[int, ...]:
    data = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS_SIZE)
    return struct.unpack(f"{len(data) // 4}I", data)


def _read_pids(pid: int) -> frozenset[int]:
    """Return the process ids of a process: here, and in its own pid namespace.

    Empty where it is not in our pid namespace, so that the kernel does not name it.
    """
    if pid <= 0:
        return frozenset()
    found = {pid}
    # It is not readable where /proc hides the processes of other users.
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"NSpid:"):
                found.add(int(line.split()[-1]))
    return frozenset(found)


def _open_reserve() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _listen(path: str) -> socket.socket:
    """Listen on the socket, in place of an old one: the lock keeps a second speaker out."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener.bind(path)
        os.chmod(path, 0o660)  # noqa: S103 - the agent is in the socket's group
        listener.listen(MAX_CONNECTIONS)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise LeaseStartError(f"{path}: cannot listen there: {error.strerror}") from None
    return listener
