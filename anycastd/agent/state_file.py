"""What outlives the agent: one value a file, in the state directory.

A file is written beside the old one, synced, and put in its place, so that there is always a whole
one.  It is versioned JSON with the moment at which it was written, twice: on the clock of this
boot, and as wall time, which only tells how long a reboot took; set back, it tells nothing.

A file that cannot be read is put aside under another name, and said for as long as that exists:
what was in it may have been somebody's word.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

VERSION = 1
RETRY_DELAY = 10.0
"""Seconds between two attempts to write what could not be written."""
MAX_SIZE = 16 * 1024 * 1024
QUARANTINE_SUFFIX = ".unreadable"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class StateFile:
    """One file: ``load()`` at the start, ``want()`` is a sink, ``put()`` is told what became of it.

    ``what`` it holds, in words.  ``problem`` says why the newest value is not on the disk, or is
    empty.
    """

    def __init__(
        self, directory: str, name: str, content: str, *, retry_delay: float = RETRY_DELAY
    ) -> None:
        self.path = Path(directory, f"{name}.json")
        self.content = content
        self.problem = ""
        self._retry_delay = retry_delay
        self._unsaved: Any = None
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()

    def load(self) -> tuple[Any, float] | None:
        """Read the value and how old it is, in seconds; None where there is none to be had."""
        with contextlib.suppress(OSError):
            for half in self.path.parent.glob(f".{self.path.name}.*"):  # of a writer that died
                half.unlink()
        try:
            with self.path.open("rb") as file:
                text = file.read(MAX_SIZE)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.quarantine(error.strerror or str(error))
            return None
        try:
            whole = json.loads(text)
            if whole["v"] != VERSION:
                self.quarantine(f"it is of version {whole['v']!r}")
                return None
            return whole["value"], _age(whole)
        except (ValueError, KeyError, TypeError, RecursionError):
            self.quarantine("it is not what was written")
            return None

    def quarantine(self, why: str) -> None:
        """Put a file aside whose value turned out to be no value."""
        self.quarantine(why)

    def quarantine_notice(self) -> str:
        """Say that a file was put aside, for as long as it is there."""
        other = self.path.with_name(self.path.name + QUARANTINE_SUFFIX)
        if not other.exists():
            return ""
        return (
            f"{other}: {self.content} of an earlier agent could not be read and are lost; "
            "see what they were, and remove the file"
        )

    def save_soon(self, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Have this written soon, unless something newer comes."""
        self._unsaved = value
        self._changed.set()

    async def save(self, value: Any) -> str:  # noqa: ANN401 - as above
        """Write this now; what kept it from being written, or nothing."""
        self.save_soon(value)
        await self._save()
        return self.problem

    async def run(self) -> None:
        """Write what is wanted, again and again until it is written."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._retry_delay if self.problem else None):
                    await self._changed.wait()
            await self._save()

    async def flush(self) -> None:
        """Write what has not been written yet, if that can be done."""
        if self._changed.is_set() or self.problem:
            await self._save()

    async def _save(self) -> None:
        async with self._writing:
            self._changed.clear()
            # In a thread: a disk may take its time, and the lease has to be renewed meanwhile.
            problem = await asyncio.to_thread(_write_file, self.path, self._unsaved)
            if problem and problem != self.problem:
                log.error("%s: %s cannot be kept: %s", self.path, self.content, problem)
            elif self.problem and not problem:
                log.info("%s: %s are kept again", self.path, self.content)
            self.problem = problem

    def _aside(self, why: str) -> None:
        log.error("%s: %s cannot be read: %s; it is put aside", self.path, self.content, why)
        with contextlib.suppress(OSError):
            self.path.replace(self.path.with_name(self.path.name + QUARANTINE_SUFFIX))


def _write_file(path: Path, value: Any) -> str:  # noqa: ANN401 - as above
    """Put a file with ``value`` in the place of the old one; what went wrong, or nothing."""
    whole = {
        "v": VERSION,
        "boot": _boot(),
        "awake": time.clock_gettime(time.CLOCK_BOOTTIME),
        "wall": time.time(),
        "value": value,
    }
    temporary = ""
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(whole, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return error.strerror or str(error)
    return ""


def _age(whole: dict[str, Any]) -> float:
    """Tell how many seconds ago a file was written; rather too few, where the clocks disagree."""
    awake = time.clock_gettime(time.CLOCK_BOOTTIME) - float(whole["awake"])
    wall = max(0.0, time.time() - float(whole["wall"]))
    boot = _boot()
    if boot and whole["boot"]:
        return max(0.0, awake) if whole["boot"] == boot else wall
    # Which boot it was cannot be seen in every sandbox; `awake` never counts time before this one.
    return wall if awake < 0 else min(awake, wall)


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
