"""Clients that keep connections open and never ask: from a thread, until they are stopped."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class SilentClients:
    """Keep ``count`` connections open that send ``piece`` every 0.1 s; a closed one comes anew.

    ``connect`` opens one.  ``connect`` runs in the network namespace of the thread that enters.
    """

    def __init__(
        self, connect: Callable[[], socket.socket], count: int, piece: bytes = b""
    ) -> None:
        self._connect = connect
        self._count = count
        self._piece = piece
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.opened = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            while not self._ending.is_set():
                while len(selector.get_map()) < self._count:
                    selector.register(self._connect(), selectors.EVENT_READ)
                    self.opened += 1
                closed = [key.fileobj for key, _ in selector.select(0.1) if _is_closed(key.fileobj)]
                for connection in closed:
                    selector.unregister(connection)
                    connection.close()  # type: ignore[union-attr]
                for key in list(selector.get_map().values()) if self._piece else ():
                    _send(key.fileobj, self._piece)
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]


def _is_closed(connection: object) -> bool:
    assert isinstance(connection, socket.socket)
    try:
        return not connection.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _send(connection: object, piece: bytes) -> None:
    assert isinstance(connection, socket.socket)
    try:
        connection.send(piece)
    except OSError:
        return


def open_tcp(address: tuple[str, int], source: str = "") -> socket.socket:
    """Begin to open a TCP connection, from the address ``source`` if one is given."""
    connection = socket.socket()
    if source:
        connection.bind((source, 0))
    connection.setblocking(False)
    connection.connect_ex(address)
    return connection


def open_unix(path: str) -> socket.socket:
    """Begin to open a connection to a Unix socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    connection.connect_ex(path)
    return connection
