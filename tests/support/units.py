"""Restart a process as systemd does with ``Restart=always`` and ``RestartSec=0.1``, for tests.

Also ``Type=notify`` with ``WatchdogSec=``: a process that has sent READY=1 and then does not send
WATCHDOG=1 in time is killed.
"""

from __future__ import annotations

import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

RESTART_SEC = 0.1
"""Seconds: the default of RestartSec= (systemd.service(5))."""


class Unit:
    """A unit of systemd that keeps one process running; a context manager.

    ``spawn`` starts it, with environment variables as systemd sets them.  ``watchdog`` is in
    seconds.  ``starts`` are the times of all starts, ``watchdog_kills`` those at which the
    watchdog ended the process (``time.monotonic()``).  The thread lives as long as the unit does:
    a parent-death signal is sent when the parent's thread ends.
    """

    def __init__(
        self,
        name: str,
        spawn: Callable[[dict[str, str]], subprocess.Popen[bytes]],
        watchdog: float = 15.0,
    ) -> None:
        self.name = name
        self.starts: list[float] = []
        self.watchdog_kills: list[float] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._spawn = spawn
        self._watchdog = watchdog
        self._suspended_for: set[str] = set()
        self._may_start = threading.Event()
        self._may_start.set()
        self._over = False
        self._alive_at: float | None = None
        self._spawning = threading.Lock()
        self._notify_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify_socket.bind("")  # an abstract address of the kernel's choice
        self._notify_socket.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"unit-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        self._may_start.set()
        with self._spawning:
            if self.process is not None and self.process.poll() is None:
                self.process.kill()
        self._thread.join(10)
        self._notify_socket.close()

    @property
    def pid(self) -> int | None:
        """Return the pid of the running process; None while there is none."""
        process = self.process
        return None if process is None or process.poll() is not None else process.pid

    def suspend(self, reason: str = "") -> None:
        """Start and end nothing until ``resume``; when this returns, no start is under way."""
        self._suspended_for.add(reason)
        self._may_start.clear()
        with self._spawning:
            pass

    def resume(self, reason: str = "") -> None:
        """Start and end the process again, unless it is suspended for another reason."""
        self._suspended_for.discard(reason)
        if not self._suspended_for:
            self._alive_at = self._alive_at and time.monotonic()
            self._may_start.set()

    def _run(self) -> None:
        address = self._notify_socket.getsockname().decode().replace("\0", "@", 1)
        environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(int(self._watchdog * 1e6))}
        while True:
            self._may_start.wait()
            with self._spawning:
                if self._over:
                    return
                if self._suspended_for:
                    continue
                self.starts.append(time.monotonic())
                self._alive_at = None
                process = self.process = self._spawn(environment)
            while process.poll() is None:
                self._listen(process)
            time.sleep(RESTART_SEC)

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        # The end of a child wakes no select, so this looks 50 times per second.
        if select.select([self._notify_socket], [], [], 0.02)[0]:
            messages = self._notify_socket.recv(4096).split(b"\n")
            if b"READY=1" in messages or b"WATCHDOG=1" in messages:
                self._alive_at = time.monotonic()
        late = self._alive_at is not None and time.monotonic() - self._alive_at > self._watchdog
        if late and not self._suspended_for:
            self.watchdog_kills.append(time.monotonic())
            process.kill()
