"""Write the log through a bounded queue: a log that nobody reads never blocks the process (I/O).

Standard error may be a pipe that is full, or journald's socket while journald is stopped.  A write
to it then waits, and with it everything that the process does.  So a thread of its own writes, and
what it cannot take is dropped and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from anycastd.system.journal import JournalSocket

MAX_LINES = 1000
"""Records that wait to be written at most; the next ones are dropped and counted."""
MAX_LENGTH = 8192
"""Bytes of one record that are written; the rest is cut."""
MAX_EQUAL = 5
"""Equal records that are written within ``EQUAL_INTERVAL``; the others are counted."""
EQUAL_INTERVAL = 10.0
"""Seconds for which equal records are counted together."""
MAX_COUNTED = 256
"""Different records that are counted at most."""
FLUSH_TIMEOUT = 0.5
"""Seconds that a flush waits for a writer that makes no progress."""


Encode = Callable[[logging.LogRecord], bytes]
"""A function that makes the entry of a record for the journal: its fields."""


class _Entry(NamedTuple):
    """What waits: the line, how many lines it stands for, and its entry for the journal."""

    line: bytes
    lines: int
    fields: bytes


class QueuedLogHandler(logging.Handler):
    """A handler that never waits: ``descriptor`` is written by a thread.

    With a ``journal`` and ``encode``, the thread sends entries there instead; the line is written
    where the journal does not take one.  ``dropped`` counts the records that were dropped since the
    last line that said so.
    """

    def __init__(
        self,
        descriptor: int = 2,
        journal: JournalSocket | None = None,
        encode: Encode | None = None,
    ) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._journal = journal
        self._encode = encode
        self._queue: deque[_Entry] = deque()
        self._changed = threading.Condition()
        self._writing = False
        self._equal: dict[str, int] = {}  # text -> how often it came in this interval
        self._interval_began_at = time.monotonic()
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record into the queue, or drop and count it; returns at once, raises nothing."""
        fields = b""
        try:
            text = self.format(record)
            counted = record.getMessage()[:MAX_LENGTH]
            if self._encode is not None:
                fields = self._encode(record)
        except Exception:  # noqa: BLE001 - a log line that cannot be formatted must not end anything
            text = counted = f"a line of the log cannot be formatted: {record.msg!r}"
        with self._changed:
            if not self._is_counted_only(counted):
                self._append(text, fields)
            self._changed.notify_all()
        self._start_thread()

    def flush(self) -> None:
        """Wait until everything is written, or nothing moves for ``FLUSH_TIMEOUT`` seconds."""
        with self._changed:
            self._append_counts()
            self._changed.notify_all()
            left = len(self._queue)
            while self._queue or self._writing:
                if not self._changed.wait(FLUSH_TIMEOUT) and left == len(self._queue):
                    break
                left = len(self._queue)

    def _is_counted_only(self, text: str) -> bool:
        """Count a text; returns whether it came too often to be written."""
        now = time.monotonic()
        if now - self._interval_began_at >= EQUAL_INTERVAL:
            self._append_counts()
            self._interval_began_at = now
        if text not in self._equal and len(self._equal) >= MAX_COUNTED:
            return False
        self._equal[text] = self._equal.get(text, 0) + 1
        return self._equal[text] > MAX_EQUAL

    def _append_counts(self) -> None:
        """Append a line for each text that came too often, and count anew."""
        equal, self._equal = self._equal, {}
        for text, times in equal.items():
            if times > MAX_EQUAL:
                self._append_own(f"{times - MAX_EQUAL} more lines like: {text}")

    def _append(self, text: str, fields: bytes = b"") -> None:
        told = 1 if self.dropped else 0  # the line that says how many were dropped
        if len(self._queue) + told >= MAX_LINES:
            self.dropped += 1
            return
        self._append_dropped()
        line = text.encode("utf-8", "backslashreplace")
        self._queue.append(_Entry(line[:MAX_LENGTH] + b"\n", 1, fields))

    def _append_own(self, text: str, count: int = 1) -> None:
        """Append a line about this log itself."""
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, (), None)
        fields = b"" if self._encode is None else self._encode(record)
        if count > 1 or len(self._queue) < MAX_LINES:
            line = self.format(record).encode("utf-8", "backslashreplace")
            self._queue.append(_Entry(line[:MAX_LENGTH] + b"\n", count, fields))
        else:
            self.dropped += count

    def _append_dropped(self) -> None:
        """Append the line that says how many were dropped, if any were."""
        if self.dropped:
            dropped, self.dropped = self.dropped, 0
            self._append_own(f"{dropped} lines of this log were dropped: nobody read it", dropped)

    # The writer -----------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._write_forever, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives no thread: write what can be written at once
                self._write_without_thread()
            else:
                self._thread = thread

    def _write_forever(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                while not self._queue and not self.dropped:
                    repeated = any(times > MAX_EQUAL for times in self._equal.values())
                    if not self._changed.wait(EQUAL_INTERVAL if repeated else None):
                        self._append_counts()
                if not self._queue:
                    self._append_dropped()
                entry = self._queue.popleft()
                self._writing = True
            if not self._write_entry(entry):
                with self._changed:
                    self.dropped += entry.lines
                time.sleep(1)  # a disk that is full, or a reader that has gone

    def _write_entry(self, entry: _Entry) -> bool:
        """Send an entry to the journal, or write its line; returns whether either was possible."""
        if self._journal is not None and entry.fields and self._journal.send(entry.fields):
            return True
        return self._write(entry.line)

    def _write(self, line: bytes) -> bool:
        """Write a line, and wait for that; returns whether it could be written."""
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:  # another process has made the descriptor non-blocking
                with contextlib.suppress(OSError, ValueError):
                    select.select([], [self._descriptor], [], 1.0)
            except OSError:
                return False
        return True

    def _write_without_thread(self) -> None:
        with self._changed, contextlib.suppress(OSError, ValueError):
            while self._queue and select.select([], [self._descriptor], [], 0)[1]:
                os.write(self._descriptor, self._queue.popleft().line[: select.PIPE_BUF])
