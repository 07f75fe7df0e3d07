"""Start the short-lived process that writes the speaker's files (stdlib only, I/O).

The lease process starts it.  Only that other process (``speaker.rewrite``) reads profiles.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from anycastd.lease.reconfigure import RewriteError, WriteResult

TIMEOUT = 30.0
"""Seconds that the process may take; it takes half a second."""

MAX_ANSWER = 1024 * 1024
"""Bytes of its answer at most."""


class RewriteJob:
    """One run of the process that writes the files.

    ``fd`` becomes readable when ``read`` should be called.  ``ends_at`` (own time, seconds) is when
    the caller should give up and call ``finish``.  ``profile`` and ``directory`` are paths,
    ``reset`` the addresses of the neighbors whose sessions may close.

    Raises RewriteError where the process cannot be started.
    """

    def __init__(
        self, profile: str, directory: str, reset: tuple[str, ...], ends_at: float
    ) -> None:
        self.ends_at = ends_at
        self._answer = bytearray()
        # This runs the code on disk, which may be newer than this process.
        line = [sys.executable, "-P", "-m", "anycastd.speaker.rewrite", profile, directory, *reset]
        try:
            self.fd, theirs = os.pipe()
        except OSError as error:
            raise RewriteError(f"a pipe: {error.strerror}") from None
        try:
            self._pid = os.posix_spawn(
                line[0],
                line,
                os.environ,
                file_actions=[
                    # Our stdin and stdout are ExaBGP's: only we may read them and write commands.
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
        """Read what is available.  Returns True when the answer is complete, or too long."""
        try:
            data = os.read(self.fd, MAX_ANSWER)
        except BlockingIOError:
            return False
        self._answer += data
        return not data or len(self._answer) > MAX_ANSWER

    def finish(self) -> WriteResult:
        """Kill the process if it still runs, and return what it did.

        Call it once.  Raises RewriteError where it wrote no files, or gave no answer that can be
        read.
        """
        os.close(self.fd)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        if not self._answer:
            raise RewriteError("the process that writes its files said nothing; see the log")
        return WriteResult.load(self._answer)
