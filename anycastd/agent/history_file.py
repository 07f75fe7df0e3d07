"""Keep the events on disk, so that they outlive the agent: the history.

A thread appends them, a line of JSON each, so a slow disk delays nothing else.  A line that could
not be written whole is taken back.  What cannot be written waits, up to ``MAX_WAITING`` events, and
is tried again.  A file that is damaged loses the damaged lines only; the file as it was is renamed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from anycastd.agent.history_reader import (
    CURRENT,
    OLDER,
    Reading,
    Selection,
    iter_lines,
    read_history,
)
from anycastd.system.atomic_file import remove_leftovers, write_atomic
from anycastd.views.events import Event

log = logging.getLogger(__name__)

MAX_SIZE = 1024 * 1024
"""Bytes of a file; then it becomes the older one, and the older one before it is removed."""
MAX_AGE = 90 * 86400.0
"""Seconds for which events are kept at most, and at least half of them if they fit."""
MAX_WAITING = 2000
"""Events that wait for the disk; the oldest of more are dropped."""
MODE = 0o640
"""Mode of the files: the agent's group may read the history while no agent runs."""
RETRY_DELAY = 10.0
"""Seconds between two attempts to write what could not be written."""
LOAD_TIMEOUT = 10.0
"""Seconds after which an agent goes on without the history of earlier agents."""
FLUSH_TIMEOUT = 2.0
"""Seconds that the end of an agent waits for the disk."""
AGE_INTERVAL = 86400.0
"""Seconds between two looks at the age of the files."""
UNREADABLE = f"{CURRENT}.unreadable"
"""What a damaged file is renamed to."""
_FIRST_PLAUSIBLE_WALL = 1_700_000_000.0  # before this release: a clock that was not set yet


class HistoryFile:
    """The history in ``directory``.

    ``add()`` returns at once; ``run()`` loads what is there, and then writes.  ``problem`` is the
    error because of which the newest events are not on disk, or empty.
    """

    def __init__(
        self, directory: str, *, max_size: int = MAX_SIZE, retry_delay: float = RETRY_DELAY
    ) -> None:
        self.directory = directory
        self.problem = ""
        self._max_size = max_size
        self._retry_delay = retry_delay
        self._waiting: deque[Event] = deque(maxlen=MAX_WAITING)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None  # the write that is under way
        self._aged_at = time.monotonic()

    def add(self, event: Event) -> None:
        """Have ``run()`` write an event."""
        self._waiting.append(event)
        self._changed.set()

    async def run(self, limit: int, on_loaded: Callable[[Sequence[Event]], None]) -> None:
        """Load the ``limit`` newest events for ``on_loaded``, then write until cancelled."""
        try:
            await self._run(limit, on_loaded)
        except Exception as error:
            log.exception("a bug in the history: it is not written any more")
            self.problem = f"a bug in the agent ({type(error).__name__}): see its log"
            await asyncio.Event().wait()  # no part of the agent may end, or the agent would

    async def _run(self, limit: int, on_loaded: Callable[[Sequence[Event]], None]) -> None:
        loading = asyncio.create_task(asyncio.to_thread(self._load, limit))
        try:
            async with asyncio.timeout(LOAD_TIMEOUT):
                reading = await asyncio.shield(loading)
        except TimeoutError:
            reading = Reading(problems=["the disk does not answer"])
        for problem in reading.problems:
            log.error("the history cannot be read: %s", problem)
        if reading.damaged:
            text = "%s: the history was damaged; %d lines are left out"
            log.error(text, self._path(CURRENT), reading.damaged)
        elif reading.has_short_line:
            log.warning("%s: the last line was cut short and is left out", self._path(CURRENT))
        on_loaded(reading.events)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._retry_delay if self.problem else AGE_INTERVAL):
                    await self._changed.wait()
            await self._write_once()

    async def flush(self) -> None:
        """Try once more to write what waits, before the agent ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT):
                await self._write_once()
                if self._waiting and not self.problem:  # what came during a write
                    await self._write_once()

    def list_problems(self) -> tuple[str, ...]:
        """List what is wrong with the history, for the status: one sentence each."""
        found = []
        if self.problem:
            found.append(
                f"{self._path(CURRENT)}: the history cannot be written: {self.problem}; make room "
                "or repair the directory (the agent tries again; nothing else depends on it)"
            )
        damaged = self._path(UNREADABLE)
        if os.path.lexists(damaged):
            found.append(
                f"{damaged}: the history was damaged, and its readable part was kept; see what "
                "happened to the disk, and remove the file"
            )
        return tuple(found)

    async def read(self, selection: Selection) -> Reading:
        """Read events from the disk, in a thread."""
        return await asyncio.to_thread(read_history, self.directory, selection)

    def _path(self, name: str) -> Path:
        return Path(self.directory, name)

    async def _write_once(self) -> None:
        """Write what waits; not cancelled with the caller: the thread goes on."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_waiting())
        await asyncio.shield(self._task)

    async def _write_waiting(self) -> None:
        self._changed.clear()
        events = tuple(self._waiting)
        is_due = time.monotonic() - self._aged_at >= AGE_INTERVAL
        if not events and not is_due:
            return
        problem = await asyncio.to_thread(self._write_now, events)
        if not problem:
            self._aged_at = time.monotonic() if is_due else self._aged_at
            written = events[-1].number if events else 0
            while self._waiting and self._waiting[0].number <= written:
                self._waiting.popleft()
        if problem and problem != self.problem:
            log.error("%s: the history cannot be written: %s", self._path(CURRENT), problem)
        elif self.problem and not problem:
            log.info("%s: the history is written again", self._path(CURRENT))
        self.problem = problem

    # In a thread ----------------------------------------------------------------------------------

    def _load(self, limit: int) -> Reading:
        with contextlib.suppress(OSError):
            remove_leftovers(self._path(CURRENT))
            self._remove_old()
        reading = read_history(self.directory, Selection(limit))
        if reading.damaged or reading.has_short_line:
            for name in (CURRENT, OLDER):
                with contextlib.suppress(FileNotFoundError):
                    try:
                        _mend(self._path(name), self._path(UNREADABLE))
                    except OSError as error:
                        reading.problems.append(f"{self._path(name)}: {error.strerror or error}")
        return reading

    def _write_now(self, events: Sequence[Event]) -> str:
        """Append events; returns the error, or an empty text."""
        data = b"".join(json.dumps(event.to_json()).encode() + b"\n" for event in events)
        try:
            self._path(CURRENT).parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._remove_old()
            size = _append(self._path(CURRENT), data)
            if size > self._max_size:
                os.replace(self._path(CURRENT), self._path(OLDER))
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _remove_old(self) -> None:
        """Let no file grow older than half of MAX_AGE before it becomes the older one, or goes."""
        now, older, current = time.time(), self._path(OLDER), self._path(CURRENT)
        if now < _FIRST_PLAUSIBLE_WALL:
            return
        with contextlib.suppress(FileNotFoundError):
            if now - older.stat().st_mtime > MAX_AGE / 2:
                older.unlink()
        with contextlib.suppress(FileNotFoundError):
            began_at = _read_first_time(current)
            if began_at is not None and now - began_at > MAX_AGE / 2:
                os.replace(current, older)


def _append(path: Path, data: bytes) -> int:
    """Append ``data`` as a whole or not at all; returns the size then.  Raises OSError."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, MODE)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if stat.S_IMODE(found.st_mode) != MODE:
            os.fchmod(descriptor, MODE)
        size = found.st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        try:
            if data and os.write(descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        return size + len(data)
    finally:
        os.close(descriptor)


def _mend(path: Path, damaged_path: Path) -> None:
    """Leave the damaged lines out of a file, and keep the file as it was.

    A last line that was cut short, as by a power failure, is just removed.  Raises OSError.
    """
    damaged, whole, size = 0, 0, 0
    for line in iter_lines(path):
        damaged += line.is_damaged
        size += len(line.text)
        whole = whole if line.is_short else size
    if whole < size and not damaged:
        os.truncate(path, whole)
    if damaged:
        os.replace(path, damaged_path)
        good = (line.text for line in iter_lines(damaged_path) if not line.is_damaged)
        write_atomic(path, b"".join(text for text in good if text.endswith(b"\n")).decode())


def _read_first_time(path: Path) -> float | None:
    """Read when the first event of a file happened; None where there is none."""
    return next((line.event.at for line in iter_lines(path) if line.event is not None), None)
