"""Recordings of an agent: bounded, and never in the way of a pass."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from anycastd.agent.recordings import MAX_FILES, MAX_WAITING, Recordings, list_recordings
from anycastd.decision.pipeline import Inputs, PassResult, VipState, advance
from anycastd.evidence.sources import Evidence
from anycastd.recording.reader import RecordingReader
from support.full_disk import full_disk
from support.policy_driver import view
from support.profiles import TEXT, profile
from support.snapshots import NO, YES, snapshot

PROFILE = profile()
VIP = "203.0.113.10/32"


def build_pass(at: float) -> tuple[float, dict[str, Any], Inputs, PassResult, bool]:
    """Build a pass in which something is new."""
    servers = (YES, YES) if int(at * 10) % 2 else (NO, NO)
    looks = {"main": snapshot(*servers, asked_at=at)}
    inputs = Inputs(Evidence(looks), {VIP: VipState(usable=True)}, view())
    return at, {}, inputs, advance(PROFILE, {}, inputs, at), False


def build(state: Path) -> Recordings:
    """Build the recordings of an agent."""
    return Recordings(str(state), PROFILE, lambda: TEXT)


async def wait_ended(recordings: Recordings) -> str:
    """Wait until the newest recording has ended; return why."""
    current = recordings.current
    assert current is not None
    await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(current.ended)), 60)
    return current.why


def read_end(path: Path) -> tuple[int, str]:
    """Return the number of passes that can be read, and why the recording ends."""
    with path.open("rb") as file:
        reader = RecordingReader(file)
        steps = list(reader.iter_steps())
    return len(steps), reader.ended


def read_all(descriptor: int) -> bytes:
    """Read a descriptor to its end, and close it."""
    with open(descriptor, "rb") as file:
        return file.read()


def run(work: Awaitable[None]) -> None:
    """Run a test's coroutine."""

    async def bounded() -> None:
        await asyncio.wait_for(work, 120)

    asyncio.run(bounded())


def test_a_recording_has_all_passes_and_its_end(tmp_path: Path) -> None:
    """It is there when `stop` has answered."""

    async def work() -> None:
        recordings = build(tmp_path)
        answer = await recordings.answer_start({"by": "alice"})
        path = Path(answer["recording"]["path"])
        for number in range(50):
            recordings.note_pass(*build_pass(100 + number / 10))
        again = await recordings.answer_start({})
        assert again["refused"].startswith("a recording goes on: ")
        stopped = await recordings.answer_stop({"by": "alice"})
        assert stopped["recording"]["passes"] == 50
        assert read_end(path) == (50, "alice has ended it")
        status = await recordings.answer_status({})
        assert status["running"] is False
        assert [each["name"] for each in status["files"]] == [path.name]
        assert "refused" in await recordings.answer_stop({})

    run(work())


def test_a_recording_ends_at_its_size(tmp_path: Path) -> None:
    """And the file is not larger."""

    async def work() -> None:
        recordings = build(tmp_path)
        await recordings.answer_start({"max_size": 64 << 10})
        current = recordings.current
        assert current is not None
        at = 100.0
        while not current.ended.done():
            at += 0.1
            recordings.note_pass(*build_pass(at))
            await asyncio.sleep(0)
        assert await wait_ended(recordings) == "it has reached its size"
        assert current.path.stat().st_size <= 64 << 10
        assert read_end(current.path)[1] == "it has reached its size"

    run(work())


def test_a_recording_ends_at_its_time(tmp_path: Path) -> None:
    """Also where no pass comes."""

    async def work() -> None:
        recordings = build(tmp_path)
        await recordings.answer_start({"for": 1.0})
        recordings.note_pass(*build_pass(100.0))
        assert await wait_ended(recordings) == "its time is over"

    run(work())


def test_a_disk_that_hangs_never_holds_up_a_pass(tmp_path: Path) -> None:
    """The queue fills, and the recording ends with a line that says so; the pass goes on at once.

    A FIFO that nobody reads stands for the disk.
    """

    async def work() -> None:
        recordings = build(tmp_path)
        await recordings.answer_start({})
        current = recordings.current
        assert current is not None
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        descriptor = next(
            int(name)
            for name in os.listdir("/proc/self/fd")
            if os.path.realpath(f"/proc/self/fd/{name}") == str(current.path)
        )
        writer = os.open(fifo, os.O_WRONLY)
        os.dup2(writer, descriptor)
        os.close(writer)
        slowest = 0.0
        for number in range(20 * MAX_WAITING):
            one = build_pass(100 + number / 10)
            began = time.thread_time()
            recordings.note_pass(*one)
            slowest = max(slowest, time.thread_time() - began)
        assert slowest < 0.1
        assert not current.ended.done()
        answer = await recordings.answer_status({})
        assert answer["running"] is True
        os.set_blocking(reader, True)
        data = await asyncio.to_thread(read_all, reader)
        assert "the disk was too slow" in await wait_ended(recordings)
        lines = data.splitlines(keepends=True)
        assert b"the disk was too slow: passes after this are missing" in lines[-1]
        assert len(lines) < 10 * MAX_WAITING

    run(work())


@pytest.mark.root
def test_a_full_disk_ends_the_recording_alone(tmp_path: Path) -> None:
    """Nothing raises, and the status says why."""

    async def work() -> None:
        with full_disk(tmp_path / "disk") as disk:
            recordings = build(disk)
            await recordings.answer_start({})
            current = recordings.current
            assert current is not None
            at = 100.0
            while not current.ended.done():
                at += 0.1
                recordings.note_pass(*build_pass(at))
                await asyncio.sleep(0)
            assert "No space left" in await wait_ended(recordings)

    run(work())


def test_a_state_directory_that_is_missing_is_refused(tmp_path: Path) -> None:
    """In one line."""

    async def work() -> None:
        recordings = build(tmp_path / "missing")
        answer = await recordings.answer_start({})
        assert answer["refused"].endswith("missing/recordings: No such file or directory")
        assert (await recordings.answer_status({}))["running"] is False

    run(work())


@pytest.mark.parametrize(
    "arguments",
    [{"for": 0.5}, {"for": 1e9}, {"for": float("nan")}, {"max_size": 1}, {"max_size": 1 << 40}],
)
def test_bounds_out_of_range_are_refused(arguments: dict[str, Any], tmp_path: Path) -> None:
    """A recording is bounded in any case."""

    async def work() -> None:
        answer = await build(tmp_path).answer_start(arguments)
        assert answer["refused"].startswith("a recording ")
        assert not (tmp_path / "recordings").exists()

    run(work())


def test_old_recordings_make_room(tmp_path: Path) -> None:
    """Only recordings are removed, the oldest first."""

    async def work() -> None:
        directory = tmp_path / "recordings"
        directory.mkdir()
        for number in range(20):
            (directory / f"20000101T0000{number:02d}Z.jsonl").write_text("old", encoding="utf-8")
        (directory / "mine.txt").write_text("kept", encoding="utf-8")
        recordings = build(tmp_path)
        await recordings.answer_start({})
        await recordings.close()
        names = [path.name for path in list_recordings(directory)]
        assert len(names) == MAX_FILES
        assert names[0] == "20000101T000013Z.jsonl"
        assert (directory / "mine.txt").exists()

    run(work())
