"""Notify systemd of a service's state: sd_notify(3); does nothing where systemd does not listen.

Standard library only: the lease process feeds the speaker's watchdog with it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping


class Notifier:
    """A sender of one service's notifications to systemd: sd_notify(3).

    It takes systemd's variables out of ``environ``, so that no child process can speak for the
    service.  Every method returns True if the message was handed to systemd, and raises nothing.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            environ.pop(name, None)
        self._socket: socket.socket | None = None
        if path:
            # systemd writes an abstract socket with @ in place of the zero byte.
            self._address = "\0" + path[1:] if path.startswith("@") else path
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def send_ready(self, status: str = "") -> bool:
        """Send READY=1: the service works.  ``status`` is a line for ``systemctl status``."""
        return self._send("READY=1", status)

    def send_watchdog(self) -> bool:
        """Send WATCHDOG=1 (WatchdogSec=); call this only where the service's real work was done."""
        return self._send("WATCHDOG=1")

    def send_reloading(self) -> bool:
        """Send RELOADING=1: a reload begins, and ends with ``send_ready``.

        Type=notify-reload of systemd.service(5) needs the time of the monotonic clock with it.
        """
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def send_stopping(self, status: str = "") -> bool:
        """Send STOPPING=1: the service stops.  ``status`` as in ``send_ready``."""
        return self._send("STOPPING=1", status)

    def _send(self, message: str, status: str = "") -> bool:
        if not self._socket:
            return False
        if status:
            # A newline would start another variable.
            message += "\nSTATUS=" + " ".join(status.split())
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:
            return False  # systemd is busy or away: a service must not wait, or end, for that
        return True
