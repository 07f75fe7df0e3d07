"""State files: always complete, and never read as something else."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycastd.agent.state_file import MAX_QUARANTINED, QUARANTINE_SUFFIX, StateFile
from support.descriptors import no_free_descriptor
from support.json_values import json_documents


def open_file(directory: Path) -> StateFile:
    """Open the state file that these tests use."""
    return StateFile(str(directory), "thing", "things")


def save(directory: Path, value: Any) -> str:
    """Save a value; return the error, or an empty text."""
    return asyncio.run(open_file(directory).save(value))


def edit_header(directory: Path, **fields: Any) -> None:
    """Change fields beside the value in the file."""
    file = directory / "thing.json"
    file.write_text(
        json.dumps(json.loads(file.read_text(encoding="utf-8")) | fields), encoding="utf-8"
    )


def load_age(directory: Path) -> float:
    """Load the value and return its age."""
    loaded = open_file(directory).load()
    assert loaded is not None
    return loaded[1]


def test_a_value_is_being_saved_until_it_is_on_disk(tmp_path: Path) -> None:
    """A disk that cannot be written has a problem instead: nobody waits for it."""

    async def follow(directory: Path) -> list[bool]:
        file = open_file(directory)
        found = [file.is_saving()]
        file.save_soon({"a": 1})
        found.append(file.is_saving())
        await file.save({"a": 2})
        return [*found, file.is_saving()]

    assert asyncio.run(follow(tmp_path)) == [False, True, False]
    in_the_way = tmp_path / "a file"
    in_the_way.touch()
    assert asyncio.run(follow(in_the_way)) == [False, True, False]


def test_what_is_put_is_there_for_the_next(tmp_path: Path) -> None:
    """Complete, the newest value, in a new directory that other users cannot read."""
    directory = tmp_path / "state"
    assert open_file(directory).load() is None
    assert save(directory, {"a": 1}) == ""
    # A killed agent leaves its temporary file behind.
    (directory / ".thing.json.killed").write_text("{", encoding="utf-8")
    open_file(directory).load()
    assert save(directory, {"a": 2}) == ""
    loaded = open_file(directory).load()
    assert loaded is not None
    assert loaded[0] == {"a": 2}
    assert 0 <= loaded[1] < 60
    assert [file.name for file in directory.iterdir()] == ["thing.json"]
    assert directory.stat().st_mode & 0o7 == 0


def test_within_a_boot_the_wall_clock_does_not_matter(tmp_path: Path) -> None:
    """It may be set by hours."""
    save(tmp_path, 1)
    edit_header(tmp_path, wall=0.0, awake=time.clock_gettime(time.CLOCK_BOOTTIME) - 100)
    assert 100 <= load_age(tmp_path) < 160


@pytest.mark.parametrize(("ago", "least", "most"), [(3600, 3600, 3660), (-3600, 0, 0)])
def test_across_a_boot_wall_time_tells_the_age(
    tmp_path: Path, ago: float, least: float, most: float
) -> None:
    """A clock that was set back makes no value older, and none newer than just now."""
    save(tmp_path, 1)
    edit_header(tmp_path, boot="another", wall=time.time() - ago)
    assert least <= load_age(tmp_path) <= most


def test_where_the_boot_cannot_be_seen_the_lesser_age_counts(tmp_path: Path) -> None:
    """Some sandboxes hide the boot's id; a drain should rather last too long than end too soon."""
    save(tmp_path, 1)
    awake = time.clock_gettime(time.CLOCK_BOOTTIME)
    edit_header(tmp_path, boot="", awake=awake - 100, wall=time.time() - 3600)
    assert 100 <= load_age(tmp_path) < 160
    edit_header(tmp_path, boot="", awake=awake + 1e6, wall=time.time() - 3600)
    assert 3600 <= load_age(tmp_path) < 3660


HEADER = '"v": 1, "boot": "x", "awake": 1, "wall": 1, "value": 1'
UNREADABLE = [
    b"",
    b"{",
    b"[]",
    b'{"v": 2, "value": 1}',
    b"\xff",
    b'{"v": 1}',
    b"\0" * 4096,
    b"[" * 100_000,
    HEADER.replace('"v": 1', '"v": true').join("{}").encode(),
    HEADER.replace('"v": 1', '"v": 0').join("{}").encode(),
    HEADER.replace('"v": 1', '"v": "1"').join("{}").encode(),
    HEADER.replace('"wall": 1', f'"wall": 1{400 * "0"}').join("{}").encode(),
    HEADER.replace('"awake": 1', f'"awake": 1{5000 * "0"}').join("{}").encode(),
    HEADER.replace('"awake": 1', '"awake": NaN').join("{}").encode(),
    HEADER.replace('"wall": 1', '"wall": -1e999').join("{}").encode(),
    HEADER.replace('"wall": 1', '"wall": "1"').join("{}").encode(),
]


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: repr(text)[:40])
def test_what_cannot_be_read_is_put_aside(tmp_path: Path, text: bytes) -> None:
    """It is kept for an operator, and later writes do not touch it."""
    (tmp_path / "thing.json").write_bytes(text)
    file = open_file(tmp_path)
    assert file.load() is None
    assert file.unreadable
    assert "things of an earlier agent could not be read" in file.quarantine_notice()
    assert asyncio.run(file.save(3)) == ""
    assert (tmp_path / f"thing.json{QUARANTINE_SUFFIX}").read_bytes() == text
    assert open_file(tmp_path).load() is not None


def make_fifo(path: Path) -> None:
    """Put a FIFO there: who opens it waits for a writer."""
    os.mkfifo(path)


def make_endless(path: Path) -> None:
    """Put a link to a device there that has no end."""
    path.symlink_to("/dev/zero")


def make_dangling(path: Path) -> None:
    """Put a link there that leads nowhere."""
    path.symlink_to("/nonexistent")


def make_directory(path: Path) -> None:
    """Put a directory there that is not empty."""
    (path / "more").mkdir(parents=True)


def make_huge(path: Path) -> None:
    """Put a file there of 20 MB that takes no room."""
    path.touch()
    os.truncate(path, 20_000_000)


@pytest.mark.parametrize(
    "make", [make_fifo, make_endless, make_dangling, make_directory, make_huge]
)
def test_what_is_no_file_is_put_aside(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """It is neither waited for nor read without end."""
    make(tmp_path / "thing.json")
    file = open_file(tmp_path)
    began = time.monotonic()
    assert file.load() is None
    assert time.monotonic() - began < 10
    assert file.unreadable
    assert asyncio.run(file.save(3)) == ""
    assert os.path.lexists(tmp_path / f"thing.json{QUARANTINE_SUFFIX}")
    loaded = open_file(tmp_path).load()
    assert loaded is not None
    assert loaded[0] == 3


def test_a_newer_format_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    """A release that is taken back finds what the newer one wrote: keys are only ever added."""
    save(tmp_path, {"a": 1})
    edit_header(tmp_path, v=2, more={"b": 1})
    file = open_file(tmp_path)
    loaded = file.load()
    assert loaded is not None
    assert (loaded[0], file.unreadable) == ({"a": 1}, "")


def test_each_unreadable_file_is_kept_up_to_a_bound(tmp_path: Path) -> None:
    """The first ones stay: they hold what an operator had asked for."""
    for number in range(MAX_QUARANTINED + 3):
        (tmp_path / "thing.json").write_text(f"no JSON {number}", encoding="utf-8")
        open_file(tmp_path).load()
    names = [f"thing.json.unreadable{'' if n == 1 else f'.{n}'}" for n in range(1, 6)]
    assert sorted(os.listdir(tmp_path)) == names
    texts = [(tmp_path / name).read_text(encoding="utf-8")[-1] for name in names]
    assert texts == ["0", "1", "2", "3", "7"]
    assert names[-1] in open_file(tmp_path).quarantine_notice()


def test_what_cannot_be_renamed_is_not_overwritten(tmp_path: Path) -> None:
    """Nothing is written until it can; the status says why."""
    (tmp_path / "thing.json").write_text("no JSON", encoding="utf-8")
    for name in (f"thing.json.unreadable{end}" for end in ("", ".2", ".3", ".4", ".5")):
        (tmp_path / name).mkdir()  # a file cannot replace a directory

    async def scene() -> None:
        file = open_file(tmp_path)
        assert file.load() is None
        assert file.unreadable
        assert "cannot be renamed" in await file.save(3)
        assert (tmp_path / "thing.json").read_text(encoding="utf-8") == "no JSON"
        (tmp_path / "thing.json.unreadable.2").rmdir()
        assert await file.save(4) == ""
        kept = tmp_path / "thing.json.unreadable.2"
        assert kept.read_text(encoding="utf-8") == "no JSON"

    asyncio.run(scene())


def test_a_file_that_was_renamed_and_never_replaced_is_unreadable(tmp_path: Path) -> None:
    """An agent was ended between the two, or its disk was full."""
    (tmp_path / "thing.json").write_text("no JSON", encoding="utf-8")
    assert open_file(tmp_path).load() is None
    file = open_file(tmp_path)
    assert file.load() is None
    assert file.unreadable == "it is missing, and thing.json.unreadable is there"


def test_a_clock_that_was_not_set_yet_ends_nothing(tmp_path: Path) -> None:
    """A machine without a clock of its own writes in 1970 and reads after a reboot, in our time."""
    save(tmp_path, 1)
    edit_header(tmp_path, boot="another", wall=3600.0)
    assert load_age(tmp_path) == 0


@given(st.binary(max_size=200) | json_documents())
def test_any_file_is_read_or_put_aside(text: bytes) -> None:
    """No content raises, and none takes long."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "thing.json").write_bytes(text)
        file = open_file(Path(directory))
        began_at = time.process_time()
        loaded = file.load()
        assert time.process_time() - began_at < 1.0, "CPU, whatever else this machine does"
        assert (loaded is None) == bool(file.unreadable)
        assert loaded is None or 0 <= loaded[1] < 1e12


def test_a_place_that_is_none_is_a_problem_in_words(tmp_path: Path) -> None:
    """The agent continues."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert save(tmp_path / "file" / "state", 1) == "Not a directory"


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """The new file is written beside the old one first, and removed after a failure."""
    save(tmp_path, "old")
    assert save(tmp_path, "old") == ""
    (tmp_path / "thing.json").unlink()
    (tmp_path / "thing.json").mkdir()  # a directory cannot be replaced by a file
    assert save(tmp_path, "new") == "Is a directory"
    assert [file.name for file in tmp_path.iterdir()] == ["thing.json"]


def test_what_could_not_be_written_is_tried_again(
    tmp_path: Path, eventually: Callable[..., Awaitable[bool]]
) -> None:
    """Once the directory can be written, without another call."""

    async def scene() -> None:
        directory = tmp_path / "state"
        directory.write_text("", encoding="utf-8")
        file = StateFile(str(directory), "thing", "things", retry_delay=0.05)
        assert await file.save(7) == "File exists"
        task = asyncio.create_task(file.run())
        directory.unlink()
        await eventually(lambda: not file.problem, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        loaded = file.load()
        assert loaded is not None
        assert loaded[0] == 7

    asyncio.run(scene())


def test_the_newest_wish_wins(tmp_path: Path) -> None:
    """A slow disk skips older values; the newest is written."""

    async def scene() -> Any:
        file = open_file(tmp_path)
        for number in range(100):
            file.save_soon(number)
        await file.flush()
        loaded = file.load()
        return None if loaded is None else loaded[0]

    assert asyncio.run(scene()) == 99
    assert os.listdir(tmp_path) == ["thing.json"]


def test_a_disk_that_hangs_keeps_nobody_waiting(
    tmp_path: Path, eventually: Callable[..., Awaitable[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is a problem like any other; it ends when the disk answers, with the newest value."""
    monkeypatch.setattr("anycastd.agent.state_file.SAVE_TIMEOUT", 0.2)
    monkeypatch.setattr("anycastd.agent.state_file.FLUSH_TIMEOUT", 0.2)

    async def scene() -> None:
        gate = threading.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        loop.run_in_executor(None, gate.wait, 20)  # as a write that does not return
        file = open_file(tmp_path)
        for number in range(3):
            assert await file.save(number) == "the disk does not answer"
        await file.flush()
        assert file.problem
        gate.set()
        await eventually(lambda: not file.problem, 10)
        await file.flush()
        loaded = file.load()
        assert loaded is not None
        assert loaded[0] == 2

    asyncio.run(scene())


def test_a_flush_waits_for_the_write_under_way(tmp_path: Path) -> None:
    """A reload executes new code after it: what was half written would be lost."""

    async def scene() -> None:
        file = open_file(tmp_path)
        gate = threading.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        loop.run_in_executor(None, gate.wait, 20)
        file.save_soon(1)
        writing = asyncio.create_task(file.run())
        loop.call_later(0.1, gate.set)  # the write waits for it, and the flush for the write
        loop.call_later(0.05, file.save_soon, 2)
        await file.flush()
        assert gate.is_set()
        loaded = file.load()
        assert loaded is not None
        assert loaded[0] == 2
        writing.cancel()

    asyncio.run(scene())


def test_what_cannot_be_read_for_a_moment_is_retry_read(tmp_path: Path) -> None:
    """The file stays in its place; the next attempt has its value."""
    assert save(tmp_path, {"a": 1}) == ""
    file = open_file(tmp_path)
    with no_free_descriptor():
        assert file.load() is None
    assert file.postponed
    assert "Too many open files" in file.unreadable
    assert file.quarantine_notice() == ""
    loaded = asyncio.run(file.retry_read())
    assert loaded is not None
    assert loaded[0] == {"a": 1}
    assert (file.postponed, file.unreadable) == (False, "")
    assert asyncio.run(file.save({"a": 2})) == ""
    assert [each.name for each in tmp_path.iterdir()] == ["thing.json"]


def test_a_newer_value_sets_aside_what_was_not_read(tmp_path: Path) -> None:
    """It may hold an operator's command, so it is kept; reading it again changes nothing."""
    assert save(tmp_path, {"a": 1}) == ""
    text = (tmp_path / "thing.json").read_bytes()
    file = open_file(tmp_path)
    with no_free_descriptor():
        file.load()
    assert asyncio.run(file.save({"a": 2})) == ""
    assert (tmp_path / f"thing.json{QUARANTINE_SUFFIX}").read_bytes() == text
    assert asyncio.run(file.retry_read()) is None
    loaded = open_file(tmp_path).load()
    assert loaded is not None
    assert loaded[0] == {"a": 2}


def test_an_error_that_lasts_a_while_postpones_once_more(tmp_path: Path) -> None:
    """Each attempt that fails leaves the file where it is."""
    assert save(tmp_path, {"a": 1}) == ""
    file = open_file(tmp_path)

    async def scene() -> None:
        # The thread that reads is there before the descriptors are gone.
        await asyncio.to_thread(lambda: None)
        with no_free_descriptor():
            file.load()
            assert await file.retry_read() is None
        assert file.postponed
        assert await file.retry_read() is not None

    asyncio.run(scene())
