"""Put a machine under pressure: processes that burn CPU, clients that send nothing."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys

CPU_BURNERS = 8
BURN_CPU = "while True: pass"


class CpuBurners:
    """Processes that together use all CPUs, once started."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the processes; they end with the thread that started them."""
        self._processes = [
            subprocess.Popen(["setpriv", "--pdeathsig", "KILL", sys.executable, "-c", BURN_CPU])
            for _ in range(CPU_BURNERS)
        ]

    def stop(self) -> None:
        """End the processes and wait for them."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes = []


class IdleClients:
    """Connections on which nothing is sent; an attempt that is refused is no error."""

    def __init__(self) -> None:
        self._connections: list[socket.socket] = []

    def open_unix(self, path: str, count: int) -> None:
        """Open ``count`` connections to a Unix socket."""
        for _ in range(count):
            connection = self._add(socket.AF_UNIX)
            with contextlib.suppress(OSError):
                connection.connect(path)

    def open_tcp(self, address: str, port: int, count: int) -> None:
        """Begin to open ``count`` TCP connections."""
        for _ in range(count):
            self._add(socket.AF_INET).connect_ex((address, port))

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()
        self._connections = []

    def _add(self, family: socket.AddressFamily) -> socket.socket:
        connection = socket.socket(family)
        connection.setblocking(False)
        self._connections.append(connection)
        return connection
