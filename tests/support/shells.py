"""An interactive shell on a pseudo-terminal, for tests of what a person types."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from support.processes import signal_pid

TIMEOUT = 100.0
"""Seconds for a shell to show what is waited for."""


class Shell:
    """A shell on a pseudo-terminal; what it shows is in ``shown``, without control sequences."""

    def __init__(self, argv: list[str], environment: Mapping[str, str]) -> None:
        self.shown = ""
        self._raw = b""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            try:
                os.execvpe(argv[0], argv, {**os.environ, "TERM": "dumb", **environment})  # noqa: S606
            finally:
                os._exit(127)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal_pid(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)

    def send(self, text: str) -> None:
        """Type a text."""
        os.write(self._terminal, text.encode())

    def wait(self, pattern: str) -> str:
        """Read until ``pattern`` was shown, and return what was shown since the last wait.

        Raises AssertionError with all that was shown where it does not come in time.
        """
        deadline = time.monotonic() + TIMEOUT
        while not (found := re.search(pattern, self.shown)):
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._terminal], [], [], max(left, 0.0))
            assert ready, f"no {pattern!r} within {TIMEOUT:g} s in {self.shown!r}"
            try:
                self._raw += os.read(self._terminal, 65536)
            except OSError:  # the shell has ended
                raise AssertionError(f"the shell ended; it showed {self.shown!r}") from None
            text = self._raw.decode(errors="replace").replace("\r", "")
            self._raw = b""
            self.shown += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x07", "", text)
        shown, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return shown
