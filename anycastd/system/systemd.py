"""What systemd wants to hear from a service (sd_notify(3)); silent where nobody listens.

stdlib only: the lease process feeds the speaker's watchdog with it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping


class Notifier:
    """The way to the service manager: takes its variables out of ``environ``, for no child.

    ``watchdog`` is how often to call :meth:`alive`, in seconds: half of what systemd allows.  None:
    no watchdog, or it is meant for another process than ``pid``; ``pid`` None takes any.
    """

    def __init__(
        self, environ: MutableMapping[str, str] = os.environ, *, pid: int | None = None
    ) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        micros = environ.pop("WATCHDOG_USEC", "")
        meant_for = environ.pop("WATCHDOG_PID", "")
        ours = pid is None or meant_for in {"", str(pid)}
        self.watchdog = int(micros) / 2e6 if path and micros.isdecimal() and ours else None
        self._socket: socket.socket | None = None
        if path:
            self._to = "\0" + path[1:] if path.startswith("@") else path  # @: an abstract socket
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def ready(self, status: str = "") -> bool:
        """Say that the service does its work; True when systemd has the word (as all below)."""
        return self._say("READY=1", status)

    def alive(self, status: str = "") -> bool:
        """Feed the watchdog; only what really did the work may call this."""
        return self._say("WATCHDOG=1", status)

    def status(self, text: str) -> bool:
        """Show one line in ``systemctl status``."""
        return self._say("", text)

    def reloading(self, status: str = "") -> bool:
        """Say that a reload begins; it ends with ``ready`` (for Type=notify-reload)."""
        return self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}", status)

    def stopping(self, status: str = "") -> bool:
        """Say that the service leaves on its own account."""
        return self._say("STOPPING=1", status)

    def close(self) -> None:
        """Say nothing any more."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def _say(self, word: str, status: str) -> bool:
        if not self._socket:
            return False
        lines = [word] if word else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))  # a newline would start a new word
        try:
            self._socket.sendto("\n".join(lines).encode(), self._to)
        except OSError:
            return False  # systemd is busy or away: a service must not wait, or end, for that
        return True
