"""State files: always complete, and never read as something else."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from anycastd.agent.state_file import QUARANTINE_SUFFIX, StateFile


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


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"v": 2, "value": 1}', b"\xff", b'{"v": 1}'])
def test_what_cannot_be_read_is_put_aside(tmp_path: Path, text: bytes) -> None:
    """It is kept for an operator, and later writes do not touch it."""
    (tmp_path / "thing.json").write_bytes(text)
    file = open_file(tmp_path)
    assert file.load() is None
    assert "things of an earlier agent could not be read" in file.quarantine_notice()
    assert asyncio.run(file.save(3)) == ""
    assert (tmp_path / f"thing.json{QUARANTINE_SUFFIX}").read_bytes() == text
    assert open_file(tmp_path).load() is not None


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
