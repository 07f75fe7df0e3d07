"""Keep values across restarts of the agent: one JSON file for each, in the state directory.

A new file is written beside the old one, synced to disk, and renamed over it.  So the file is
always complete.  It holds a version and the time at which it was written, on two clocks: time since
boot (CLOCK_BOOTTIME), and wall time.  Wall time is only used for the time that a reboot took; if
the wall clock was set back meanwhile, the value counts as new.

A file that cannot be read is renamed to `*.unreadable`.  The agent reports that for as long as the
renamed file exists, because it may hold an operator's command.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from pathlib import Path
from typing import Any

from anycastd.system.atomic_file import remove_leftovers, write_atomic

log = logging.getLogger(__name__)

VERSION = 1
"""Version of the file format; a file with another version is not read."""
RETRY_DELAY = 10.0
"""Seconds between two attempts to write a file that could not be written."""
MAX_SIZE = 16 * 1024 * 1024
"""Bytes that are read of a file at most."""
QUARANTINE_SUFFIX = ".unreadable"
"""What is added to the name of a file that could not be read."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StateFile:
    """The file `NAME.json` in ``directory``, which keeps one JSON value.

    ``load()`` reads it when the agent starts.  ``save_soon()`` returns at once and leaves the
    writing to ``run()``.  ``save()`` writes before it returns.

    ``content`` names the value in messages, in the plural.  ``problem`` is the error because of
    which the newest value is not on disk, or empty.
    """

    def __init__(
        self, directory: str, name: str, content: str, *, retry_delay: float = RETRY_DELAY
    ) -> None:
        self.path = Path(directory, f"{name}.json")
        self.content = content
        self.problem = ""
        self._retry_delay = retry_delay
        self._newest: Any = None
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()

    def load(self) -> tuple[Any, float] | None:
        """Read the file.

        Returns the value and its age in seconds (time since boot, or wall time after a reboot);
        None if there is no file or it cannot be read.  A file that cannot be read is quarantined.
        Raises OverflowError where one of its times is a whole number too large for a float.
        """
        remove_leftovers(self.path)
        try:
            with self.path.open("rb") as file:
                text = file.read(MAX_SIZE)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.quarantine(error.strerror or str(error))
            return None
        try:
            document = json.loads(text)
            if document["v"] != VERSION:
                self.quarantine(f"its version is {document['v']!r}")
                return None
            return document["value"], _age(document)
        except (ValueError, KeyError, TypeError, RecursionError):
            self.quarantine("its content is not what the agent writes")
            return None

    def quarantine(self, detail: str) -> None:
        """Rename the file to `*.unreadable`, because its content could not be used.

        ``detail`` says why, for the log.  Callers use this, too, if they cannot use the value.
        """
        log.error("%s: %s cannot be read: %s; the file is renamed", self.path, self.content, detail)
        with contextlib.suppress(OSError):
            self.path.replace(self._quarantine_path())

    def quarantine_notice(self) -> str:
        """Describe the renamed file, for the status; empty if there is none."""
        path = self._quarantine_path()
        if not path.exists():
            return ""
        return (
            f"{path}: {self.content} of an earlier agent could not be read and are lost; "
            "see what they were, and remove the file"
        )

    def save_soon(self, value: Any) -> None:  # noqa: ANN401 - any JSON value
        """Have ``run()`` write this value, unless a newer one comes before that."""
        self._newest = value
        self._changed.set()

    async def save(self, value: Any) -> str:  # noqa: ANN401 - as above
        """Write this value now.

        Returns why it could not be written, or an empty text if it is on disk.  Raises TypeError or
        ValueError for a value that JSON does not have.
        """
        self.save_soon(value)
        await self._write_newest()
        return self.problem

    async def run(self) -> None:
        """Write each newest value until cancelled.

        Where that fails, it tries again each ``retry_delay`` seconds.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._retry_delay if self.problem else None):
                    await self._changed.wait()
            await self._write_newest()

    async def flush(self) -> None:
        """Try once more to write a value that is not on disk yet."""
        if self._changed.is_set() or self.problem:
            await self._write_newest()

    async def _write_newest(self) -> None:
        async with self._writing:
            self._changed.clear()
            # In a thread: a disk may be slow, and the lease has to be renewed meanwhile.
            problem = await asyncio.to_thread(_write_file, self.path, self._newest)
            if problem and problem != self.problem:
                log.error("%s: %s cannot be written: %s", self.path, self.content, problem)
            elif self.problem and not problem:
                log.info("%s: %s are written again", self.path, self.content)
            self.problem = problem

    def _quarantine_path(self) -> Path:
        return self.path.with_name(self.path.name + QUARANTINE_SUFFIX)


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
    """Compute how many seconds ago the file was written; the lower value if the clocks differ."""
    awake = time.clock_gettime(time.CLOCK_BOOTTIME) - float(document["awake"])
    wall = max(0.0, time.time() - float(document["wall"]))
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
