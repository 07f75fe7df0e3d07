"""Record the passes of the agent to a file in its state directory, while an operator wants it.

A thread of its own turns passes into lines and writes them.  The decision loop only puts each pass
into a bounded queue, which never waits: where the thread cannot follow, because the disk is slow or
hangs, the recording ends, and the file says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anycastd import __version__
from anycastd.agent.control_server import Answer, Arguments, Handler
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, PassResult
from anycastd.profile.model import Profile
from anycastd.recording.limits import (
    DEFAULT_DURATION,
    DEFAULT_SIZE,
    MAX_DURATION,
    MAX_SIZE,
    MIN_DURATION,
    MIN_SIZE,
)
from anycastd.recording.writer import RecordedPass, RecordingWriter, dump_lines

log = logging.getLogger(__name__)

VERSION = 1
"""Version of the answers; keys are only ever added."""
DIRECTORY = "recordings"
"""Name of the directory below the state directory."""
MAX_FILES = 8
"""Recordings that are kept; the oldest one is removed when another one begins."""
MAX_WAITING = 256
"""Passes that wait to be written at most."""
DISK_TIMEOUT = 5.0
"""Seconds that an operator's command waits for the disk."""
END_TIMEOUT = 1.0
"""Seconds that the end of the agent waits for the last line."""
_RESERVE = 4096  # bytes for the last line
_NAME = re.compile(r"\d{8}T\d{6}Z(?:-\d+)?\.jsonl")


@dataclass(frozen=True, slots=True)
class _End:
    why: str


class Recording:
    """One recording, and the thread that writes it.

    ``path`` is its file, ``ends_at`` when it ends by itself (Unix time), ``size`` the bytes until
    now.  ``why`` says why it has ended, and is empty before that.  ``ended`` is done then.
    """

    def __init__(self, directory: Path, duration: float, max_size: int, by: str) -> None:
        self.path = directory
        self.max_size = max_size
        self.by = by
        self.began_at = time.time()
        self.ends_at = self.began_at + duration
        self.size = self.passes = 0
        self.why = ""
        self.ended: Future[None] = Future()
        self._directory = directory
        self._ends_at = time.monotonic() + duration
        self._queue: queue.Queue[RecordedPass | _End] = queue.Queue(MAX_WAITING)
        self._overflow = False

    def put(self, each: RecordedPass) -> None:
        """Hand over a pass; returns at once.  Where the queue is full the recording ends."""
        if self._overflow:
            return
        try:
            self._queue.put_nowait(each)
        except queue.Full:
            self._overflow = True

    def stop(self, why: str) -> None:
        """Have the recording end once what waits is written; returns at once."""
        try:
            self._queue.put_nowait(_End(why))
        except queue.Full:
            self._overflow = True

    def start(self, build_writer: Callable[[], RecordingWriter]) -> Future[str]:
        """Start the thread.  Returns a future: the error for which it cannot begin, or empty.

        Raises RuntimeError where no thread can be started.
        """
        began: Future[str] = Future()
        thread = threading.Thread(
            target=self._run, args=(build_writer, began), name="recording", daemon=True
        )
        thread.start()
        return began

    def to_json(self) -> Answer:
        """Return what commands show of it."""
        return {
            "path": str(self.path),
            "began_at": round(self.began_at, 3),
            "ends_at": round(self.ends_at, 3),
            "size": self.size,
            "max_size": self.max_size,
            "passes": self.passes,
            "by": self.by,
            "why": self.why,
        }

    # The thread ----------------------------------------------------------------------------------

    def _run(self, build_writer: Callable[[], RecordingWriter], began: Future[str]) -> None:
        why = ""
        try:
            writer = build_writer()
            with self._create() as descriptor:
                began.set_result("")
                log.info("recording to %s, for %s", self.path, self.by or "an operator")
                why = self._write_until_end(writer, descriptor.fileno())
                lines = writer.end(why, time.time())
                self._write(lines, descriptor.fileno())
        except OSError as error:
            why = f"{error.strerror or error}"
        except Exception as error:
            why = f"a bug: {type(error).__name__}"
            log.exception("the recording ends by a bug")
        self.why = why
        self.ended.set_result(None)
        if not began.done():
            began.set_result(why)
            return
        log.info("the recording %s has ended: %s", self.path, why)

    def _write_until_end(self, writer: RecordingWriter, descriptor: int) -> str:
        """Write passes until something ends the recording; return what it is."""
        while True:
            left = self._ends_at - time.monotonic()
            if left <= 0:
                return "its time is over"
            try:
                each = self._queue.get(timeout=min(left, 1.0))
            except queue.Empty:
                if self._overflow:
                    return "the disk was too slow: passes after this are missing"
                continue
            if isinstance(each, _End):
                return each.why
            self.passes += 1
            lines = writer.add(each)
            if self.size + sum(map(len, lines)) > self.max_size - _RESERVE:
                return "it has reached its size"
            self._write(lines, descriptor)

    def _write(self, lines: Iterable[str], descriptor: int) -> None:
        data = memoryview(dump_lines(lines))
        while data:
            written = os.write(descriptor, data)
            self.size += written
            data = data[written:]

    def _create(self) -> Any:  # noqa: ANN401 - a file
        self._directory.mkdir(mode=0o750, exist_ok=True)
        for path in list_recordings(self._directory)[: 1 - MAX_FILES or None]:
            path.unlink(missing_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self.began_at))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for number in range(MAX_FILES + 1):
            suffix = f"-{number}" if number else ""
            path = self._directory / f"{stamp}{suffix}.jsonl"
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(path, flags, 0o640)
                os.fchmod(descriptor, 0o640)
                self.path = path
                return open(descriptor, "wb", buffering=0)
        raise FileExistsError("there are several recordings of this second")


class Recordings:
    """All recordings of one agent, below the directory ``state``.

    ``describe_profile`` returns the text of ``profile`` without its secrets.
    """

    def __init__(self, state: str, profile: Profile, describe_profile: Callable[[], str]) -> None:
        self.current: Recording | None = None
        self._directory = Path(state, DIRECTORY)
        self._profile = profile
        self._describe_profile = describe_profile

    def note_pass(
        self,
        now: float,
        memory: Mapping[str, Memory],
        inputs: Inputs,
        result: PassResult,
        expired: bool,
    ) -> None:
        """Hand a pass of the decision loop over to the recording, if there is one."""
        current = self.current
        if current is not None and not current.ended.done():
            current.put(RecordedPass(now, time.time(), memory, inputs, result, expired))

    def build_handlers(self) -> dict[str, Handler]:
        """Return request name -> handler, for the control socket."""
        return {
            "record": self.answer_start,
            "record_stop": self.answer_stop,
            "recordings": self.answer_status,
        }

    async def answer_start(self, arguments: Arguments) -> Answer:
        """Answer `anycastd record start`: begin a recording.

        Returns ``recording``, or ``refused``, the reason as text.
        """
        if self.current is not None and not self.current.ended.done():
            return _refuse(f"a recording goes on: {self.current.path}")
        duration, max_size = arguments.get("for"), arguments.get("max_size")
        duration = DEFAULT_DURATION if duration is None else float(duration)
        max_size = DEFAULT_SIZE if max_size is None else max_size
        if not MIN_DURATION <= duration <= MAX_DURATION:
            return _refuse(f"a recording takes {MIN_DURATION:g} s to {MAX_DURATION / 86400:g} days")
        if not MIN_SIZE <= max_size <= MAX_SIZE:
            return _refuse(f"a recording has {MIN_SIZE >> 10}K to {MAX_SIZE >> 30}G")
        by = str(arguments.get("by") or "")
        recording = Recording(self._directory, duration, max_size, by)
        self.current = recording
        try:
            began = asyncio.wrap_future(recording.start(self._build_writer))
            error = await asyncio.wait_for(asyncio.shield(began), DISK_TIMEOUT)
        except RuntimeError:
            recording.ended.set_result(None)
            error = "no thread can be started"
        except TimeoutError:
            recording.stop("the disk did not answer")
            error = "the disk does not answer"
        if error:
            return _refuse(f"{recording.path}: {error}")
        return {"v": VERSION, "recording": recording.to_json()}

    async def answer_stop(self, arguments: Arguments) -> Answer:
        """Answer `anycastd record stop`: end the recording; ``refused`` where there is none."""
        current = self.current
        if current is None or current.ended.done():
            return _refuse("there is no recording now")
        current.stop(f"{arguments.get('by') or 'an operator'} has ended it")
        if not await _wait_ended(current, DISK_TIMEOUT):
            return _refuse(f"{current.path}: the disk does not answer; it ends when it does")
        return {"v": VERSION, "recording": current.to_json()}

    async def answer_status(self, _: Arguments) -> Answer:
        """Answer `anycastd record status`: the newest recording, and the files that are there."""
        current = self.current
        try:
            files = await asyncio.wait_for(asyncio.to_thread(self._list_files), DISK_TIMEOUT)
        except TimeoutError:
            files = []
        return {
            "v": VERSION,
            "directory": str(self._directory),
            "running": current is not None and not current.ended.done(),
            "recording": None if current is None else current.to_json(),
            "files": files,
        }

    async def close(self) -> None:
        """End the recording, because the agent ends; waits ``END_TIMEOUT`` seconds at most."""
        current = self.current
        if current is not None and not current.ended.done():
            current.stop("the agent ended")
            await _wait_ended(current, END_TIMEOUT)

    def _build_writer(self) -> RecordingWriter:
        return RecordingWriter(self._profile, self._describe_profile(), __version__)

    def _list_files(self) -> list[Answer]:
        found = []
        for path in list_recordings(self._directory):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append({"name": path.name, "size": status.st_size, "at": status.st_mtime})
        return found


def list_recordings(directory: Path) -> list[Path]:
    """List the recordings in ``directory``, the oldest first; other files are left out."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return [directory / name for name in sorted(names) if _NAME.fullmatch(name)]


async def _wait_ended(recording: Recording, timeout: float) -> bool:
    """Wait until a recording has ended, ``timeout`` seconds at most; return whether it has."""
    with contextlib.suppress(TimeoutError):
        # Shielded: the thread must still be able to set it.
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(recording.ended)), timeout)
    return recording.ended.done()


def _refuse(why: str) -> Answer:
    return {"v": VERSION, "refused": why}
