"""Keep values across restarts of the agent: one JSON file for each, in the state directory.

A new file is written beside the old one, synced to disk, and renamed over it.  So the file is
always complete.  It holds a version and the time at which it was written, on two clocks: time since
boot (CLOCK_BOOTTIME), and wall time.  Wall time is only used for the time that a reboot took; if
the wall clock was set back meanwhile, the value counts as new.

A file that cannot be read because of an error that may pass (a disk that fails once, no descriptor
left) stays where it is, for ``retry_read()``.  It is set aside only before a newer value is
written.

Any other file that cannot be read is set aside: renamed to `*.unreadable`, or to `*.unreadable.2`
and so on where that exists.  The agent reports that for as long as a renamed file exists, because
it may hold an operator's command.  Where the renaming fails, nothing is written until it succeeds,
so that nothing is lost.  A file that is missing beside a renamed one counts as unreadable too: an
agent was ended after it had renamed the one and before it had written the other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

from anycastd.system.atomic_file import remove_leftovers, write_atomic
from anycastd.system.passing_errors import may_pass
from anycastd.system.regular_file import read_regular_file

log = logging.getLogger(__name__)

VERSION = 1
"""Version of the file format.  Keys are only ever added, so a newer version is read as this one."""
RETRY_DELAY = 10.0
"""Seconds between two attempts to write a file that could not be written."""
SAVE_TIMEOUT = 5.0
"""Seconds that an operator's command waits for the disk."""
FLUSH_TIMEOUT = 2.0
"""Seconds that the end of an agent waits for the disk: less than the lease."""
MAX_SIZE = 16 * 1024 * 1024
"""Bytes that are read of a file at most."""
QUARANTINE_SUFFIX = ".unreadable"
"""What is added to the name of a file that could not be read."""
MAX_QUARANTINED = 5
"""Files that are kept; the last one of them is overwritten by the next."""
_FIRST_PLAUSIBLE_WALL = 1_700_000_000.0  # before this release: a clock that was not set yet
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StateFile:
    """The file `NAME.json` in ``directory``, which keeps one JSON value.

    ``load()`` reads it when the agent starts.  ``save_soon()`` returns at once and leaves the
    writing to ``run()``.  ``save()`` writes before it returns.

    ``content`` names the value in messages, in the plural.  ``problem`` is the error because of
    which the newest value is not on disk, or empty.  ``unreadable`` says why the file could not be
    read when the agent started, or is empty.  ``postponed`` is True while ``retry_read()`` may
    still read it.
    """

    def __init__(
        self, directory: str, name: str, content: str, *, retry_delay: float = RETRY_DELAY
    ) -> None:
        self.path = Path(directory, f"{name}.json")
        self.content = content
        self.problem = ""
        self.unreadable = ""
        self.postponed = False
        self._in_the_way = False  # an unreadable file is still in its place
        self._retry_delay = retry_delay
        self._newest: Any = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None  # the write that is under way

    def load(self) -> tuple[Any, float] | None:
        """Read the file; raises nothing.

        Returns the value and its age in seconds (time since boot, or wall time after a reboot);
        None if there is no file or it cannot be read.  A file that cannot be read is quarantined,
        and ``unreadable`` says why.
        """
        remove_leftovers(self.path)
        return self._use(_read(self.path))

    async def retry_read(self) -> tuple[Any, float] | None:
        """Read a file anew that ``load`` could not read, and return what ``load`` returns.

        Returns None, too, where a newer value was saved meanwhile: ``postponed`` is False then.
        """
        found = await asyncio.to_thread(_read, self.path)
        return self._use(found) if self.postponed else None

    def _use(self, found: bytes | OSError) -> tuple[Any, float] | None:
        """Use what ``_read`` found; set aside what is no value."""
        before = self.unreadable
        self.unreadable, self.postponed, self._in_the_way = "", False, False
        if isinstance(found, FileNotFoundError):
            renamed = self._list_quarantined()
            if renamed:
                self.unreadable = f"it is missing, and {renamed[-1].name} is there"
            return None
        if isinstance(found, OSError):
            detail = found.strerror or str(found)
            if may_pass(found):
                self._postpone(detail, before)
            else:
                self.quarantine(detail)
            return None
        try:
            document = json.loads(found)
            version = document["v"]
            if isinstance(version, bool) or not isinstance(version, int) or version < VERSION:
                self.quarantine(f"its version is {str(version)[:20]}")
                return None
            if version > VERSION:
                log.warning("%s: a newer release has written it; known keys are read", self.path)
            return document["value"], _age(document)
        except MemoryError:
            self._postpone("no memory is left", before)
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            self.quarantine("its content is not what the agent writes")
        return None

    def _postpone(self, detail: str, before: str) -> None:
        """Leave the file in its place, for ``retry_read``; a write sets it aside first."""
        self.unreadable, self.postponed, self._in_the_way = detail, True, True
        if detail != before:
            log.warning("%s: %s cannot be read now: %s", self.path, self.content, detail)

    def quarantine(self, detail: str) -> None:
        """Rename the file to `*.unreadable`, because its content could not be used.

        ``detail`` says why, for ``unreadable`` and the log.  Callers use this, too, if they cannot
        use the value.  Where the renaming fails, it is tried again before each write.
        """
        self.unreadable, self.postponed = detail, False
        problem = self._rename_unreadable()
        self._in_the_way = bool(problem)
        then = f"it cannot be renamed: {problem}" if problem else "it is renamed"
        log.error("%s: %s cannot be read: %s; %s", self.path, self.content, detail, then)

    def quarantine_notice(self) -> str:
        """Describe the renamed files, for the status; empty if there is none."""
        renamed = self._list_quarantined()
        if not renamed:
            return ""
        more = "".join(f", {path.name}" for path in renamed[1:])
        return (
            f"{renamed[0]}{more}: {self.content} of an earlier agent could not be read; "
            "see what they were, and remove the file"
        )

    def save_soon(self, value: Any) -> None:  # noqa: ANN401 - any JSON value
        """Have ``run()`` write this value, unless a newer one comes before that."""
        self._newest = value
        self.postponed = False
        self._changed.set()

    async def save(self, value: Any) -> str:  # noqa: ANN401 - as above
        """Write this value now.

        Returns why it could not be written, or an empty text if it is on disk.  After
        ``SAVE_TIMEOUT`` seconds it returns as for a disk that cannot be written; the write goes on.
        Raises TypeError or ValueError for a value that JSON does not have.
        """
        self.save_soon(value)
        await self._write_until(SAVE_TIMEOUT)
        return self.problem

    async def run(self) -> None:
        """Write each newest value until cancelled.

        Where that fails, it tries again each ``retry_delay`` seconds.
        """
        while True:
            try:
                async with asyncio.timeout(self._retry_delay if self.problem else None):
                    await self._changed.wait()
            except TimeoutError:
                self._changed.set()
            await self._write_until(SAVE_TIMEOUT)

    def is_saving(self) -> bool:
        """Return whether a value waits to be written, on a disk that takes what is written."""
        return not self.problem and (self._changed.is_set() or self._is_writing())

    async def flush(self) -> None:
        """Wait for a write that is under way, and try once more what is not on disk yet.

        It takes ``FLUSH_TIMEOUT`` seconds at most: a disk that hangs must not keep the agent.
        """
        if self.problem:
            self._changed.set()
        await self._write_until(FLUSH_TIMEOUT)

    async def _write_until(self, timeout: float) -> None:
        """Write until the newest value is on disk, has failed, or ``timeout`` seconds are over."""
        try:
            async with asyncio.timeout(timeout):
                while self._changed.is_set() or self._is_writing():
                    if self._task is None or self._task.done():
                        self._task = asyncio.create_task(self._write_newest())
                    # Not cancelled with us: the thread goes on, and a second one could overtake it.
                    await asyncio.shield(self._task)
        except TimeoutError:
            self._report("the disk does not answer")

    def _is_writing(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _write_newest(self) -> None:
        self._changed.clear()
        # In a thread: a disk may be slow, and the lease has to be renewed meanwhile.
        self._report(await asyncio.to_thread(self._write_now, self._newest))

    def _report(self, problem: str) -> None:
        """Store what came of a write, and log it where it differs."""
        if problem and problem != self.problem:
            log.error("%s: %s cannot be written: %s", self.path, self.content, problem)
        elif self.problem and not problem:
            log.info("%s: %s are written again", self.path, self.content)
        self.problem = problem

    def _write_now(self, value: Any) -> str:  # noqa: ANN401 - as above
        """Write ``value``, once no unreadable file is in the way.  Returns the error, or empty."""
        if self._in_the_way:
            problem = self._rename_unreadable()
            if problem:
                return f"{problem} (the unreadable file in its place cannot be renamed)"
            self._in_the_way = False
        return _write_file(self.path, value)

    def _rename_unreadable(self) -> str:
        """Rename the file to the first free name, or the last one.  Returns the error, or empty."""
        names = self._quarantine_paths()
        free = next((path for path in names if not os.path.lexists(path)), names[-1])
        try:
            self.path.replace(free)
        except FileNotFoundError:
            return ""  # an operator was faster
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _list_quarantined(self) -> list[Path]:
        return [path for path in self._quarantine_paths() if os.path.lexists(path)]

    def _quarantine_paths(self) -> list[Path]:
        first = self.path.with_name(self.path.name + QUARANTINE_SUFFIX)
        more = range(2, MAX_QUARANTINED + 1)
        return [first, *(first.with_name(f"{first.name}.{number}") for number in more)]


def _read(path: Path) -> bytes | OSError:
    """Read a file; returns the error where that fails."""
    try:
        return read_regular_file(path, MAX_SIZE)
    except OSError as error:
        return error


def _write_file(path: Path, value: Any) -> str:  # noqa: ANN401 - as above
    """Replace the file by one with ``value``.  Returns the error, or an empty text."""
    document = {
        "v": VERSION,
        "boot": _read_boot_id(),
        "awake": time.clock_gettime(time.CLOCK_BOOTTIME),
        "wall": time.time(),
        "value": value,
    }
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_atomic(path, json.dumps(document), 0o600)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _age(document: dict[str, Any]) -> float:
    """Compute how many seconds ago the file was written; the lower value if the clocks differ.

    Raises ValueError, TypeError, KeyError or OverflowError where a time is no number.
    """
    written_awake, written_wall = document["awake"], document["wall"]
    if not (math.isfinite(written_awake) and math.isfinite(written_wall)):
        raise ValueError("a time is infinite")
    awake = time.clock_gettime(time.CLOCK_BOOTTIME) - written_awake
    # A machine without a clock of its own begins in 1970: then nobody knows how long ago it was.
    known = written_wall >= _FIRST_PLAUSIBLE_WALL
    wall = max(0.0, time.time() - written_wall) if known else 0.0
    boot = _read_boot_id()
    if boot and document["boot"]:
        return max(0.0, awake) if document["boot"] == boot else wall
    # Some sandboxes hide the boot's id.  A negative `awake` means that the machine has rebooted.
    return wall if awake < 0 else min(awake, wall)


def _read_boot_id() -> str:
    """Read the id of this boot; empty where it cannot be read."""
    try:
        return _BOOT_ID.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
