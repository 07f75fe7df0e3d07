"""The lease process's hand: starts the short-lived process that writes the speaker's files.

Standard library only, like the lease process itself; what reads profiles is ``rewrite``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys

from anycastd.lease.reconfigure import WriteResult

TIMEOUT = 30.0
"""Seconds for the process that writes; it takes half a second."""

MAX_ANSWER = 1024 * 1024
"""Bytes of its answer."""


class RewriteError(Exception):
    """The files could not be written: says why."""


class RewriteJob:
    """One writing: ``fd`` becomes readable when there is something to ``read``.

    Raises ScribeError where it cannot be started.
    """

    def __init__(self, profile: str, directory: str, reset: tuple[str, ...], ends: float) -> None:
        self.ends = ends
        self._answer = bytearray()
        # The code on disk: it may be newer than this process.
        line = [sys.executable, "-P", "-m", "anycastd.speaker.rewrite", profile, directory, *reset]
        self.fd, theirs = os.pipe()
        try:
            self._pid = os.posix_spawn(
                line[0],
                line,
                os.environ,
                file_actions=[
                    # Ours are ExaBGP's: nobody else may hear it, or write a command.
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, theirs, 1),
                ],
                setsigdef=[signal.SIGINT, signal.SIGHUP],
            )
        except OSError as error:
            os.close(self.fd)
            raise RewriteError(f"{line[0]}: {error.strerror}") from None
        finally:
            os.close(theirs)
        os.set_blocking(self.fd, False)

    def read(self) -> bool:
        """Read what is there; True at the end."""
        try:
            data = os.read(self.fd, MAX_ANSWER)
        except BlockingIOError:
            return False
        self._answer += data
        return not data or len(self._answer) > MAX_ANSWER

    def end(self) -> WriteResult:
        """Take its answer, and end it if it has not ended; raises ScribeError."""
        os.close(self.fd)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        if not self._answer:
            raise RewriteError("the process that writes its files said nothing; see the log")
        try:
            data = json.loads(self._answer)
            if data["v"] != 1:
                raise RewriteError(f"version {data['v']!r} of its files' writer is not known here")
            if problem := data.get("problem"):
                raise RewriteError(str(problem))
            return WriteResult(
                config=str(data["config"]),
                changed=bool(data["changed"]),
                fresh=tuple(map(str, data["fresh"])),
                left=tuple(map(str, data["left"])),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RewriteError(f"the answer of its files' writer is none: {error!r}") from None
