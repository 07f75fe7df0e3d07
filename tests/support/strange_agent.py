"""An agent that gives the same answer to every request, whatever it is."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def strange_agent(directory: Path, answer: bytes, *, drip: bool = False) -> Iterator[None]:
    """Answer each connection on a control socket with ``answer``; ``drip``: a byte each 0.2 s."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "agent.sock"))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        for piece in answer if drip else [answer]:
                            connection.sendall(bytes([piece]) if isinstance(piece, int) else piece)
                            time.sleep(0.2 if drip else 0)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
