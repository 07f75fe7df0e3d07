"""What outlives the agent: written whole or not at all, and never read as something else."""

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


def shelf(directory: Path) -> StateFile:
    """Give a shelf for something."""
    return StateFile(str(directory), "thing", "things")


def put(directory: Path, value: Any) -> str:
    """Write a value; what kept it from being written."""
    return asyncio.run(shelf(directory).save(value))


def changed(directory: Path, **fields: Any) -> None:
    """Change what stands beside the value in the file."""
    file = directory / "thing.json"
    file.write_text(
        json.dumps(json.loads(file.read_text(encoding="utf-8")) | fields), encoding="utf-8"
    )


def age(directory: Path) -> float:
    """Read how old the value is."""
    loaded = shelf(directory).load()
    assert loaded is not None
    return loaded[1]


def test_what_is_put_is_there_for_the_next(tmp_path: Path) -> None:
    """Whole, newest, in a directory that is made, which nobody else may read."""
    place = tmp_path / "state"
    assert shelf(place).load() is None
    assert put(place, {"a": 1}) == ""
    (place / ".thing.json.killed").write_text(
        "{", encoding="utf-8"
    )  # what a killed agent was writing
    shelf(place).load()
    assert put(place, {"a": 2}) == ""
    loaded = shelf(place).load()
    assert loaded is not None
    assert loaded[0] == {"a": 2}
    assert 0 <= loaded[1] < 60
    assert [file.name for file in place.iterdir()] == ["thing.json"]
    assert place.stat().st_mode & 0o7 == 0


def test_within_a_boot_the_wall_clock_does_not_matter(tmp_path: Path) -> None:
    """It may be stepped by hours."""
    put(tmp_path, 1)
    changed(tmp_path, wall=0.0, awake=time.clock_gettime(time.CLOCK_BOOTTIME) - 100)
    assert 100 <= age(tmp_path) < 160


@pytest.mark.parametrize(("ago", "least", "most"), [(3600, 3600, 3660), (-3600, 0, 0)])
def test_across_a_boot_wall_time_tells_the_age(
    tmp_path: Path, ago: float, least: float, most: float
) -> None:
    """A clock that was set back makes nothing older, or younger than it was."""
    put(tmp_path, 1)
    changed(tmp_path, boot="another", wall=time.time() - ago)
    assert least <= age(tmp_path) <= most


def test_where_the_boot_cannot_be_seen_the_lesser_age_counts(tmp_path: Path) -> None:
    """A sandbox may hide its id; a drain rather lasts too long than ends too soon."""
    put(tmp_path, 1)
    awake = time.clock_gettime(time.CLOCK_BOOTTIME)
    changed(tmp_path, boot="", awake=awake - 100, wall=time.time() - 3600)
    assert 100 <= age(tmp_path) < 160
    changed(tmp_path, boot="", awake=awake + 1e6, wall=time.time() - 3600)
    assert 3600 <= age(tmp_path) < 3660


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"v": 2, "value": 1}', b"\xff", b'{"v": 1}'])
def test_what_cannot_be_read_is_put_aside(tmp_path: Path, text: bytes) -> None:
    """It stays there for a person, and what is written later does not touch it."""
    (tmp_path / "thing.json").write_bytes(text)
    one = shelf(tmp_path)
    assert one.load() is None
    assert "things of an earlier agent could not be read" in one.quarantine_notice()
    assert asyncio.run(one.save(3)) == ""
    assert (tmp_path / f"thing.json{QUARANTINE_SUFFIX}").read_bytes() == text
    assert shelf(tmp_path).load() is not None


def test_a_place_that_is_none_is_a_problem_in_words(tmp_path: Path) -> None:
    """And nothing else: the agent goes on."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert put(tmp_path / "file" / "state", 1) == "Not a directory"


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """The new one is put beside it first, and nothing of that is left."""
    put(tmp_path, "old")
    assert put(tmp_path, "old") == ""
    (tmp_path / "thing.json").unlink()
    (tmp_path / "thing.json").mkdir()  # what cannot be replaced
    assert put(tmp_path, "new") == "Is a directory"
    assert [file.name for file in tmp_path.iterdir()] == ["thing.json"]


def test_what_could_not_be_written_is_tried_again(
    tmp_path: Path, eventually: Callable[..., Awaitable[bool]]
) -> None:
    """Once there is a place for it, without anybody asking again."""

    async def scene() -> None:
        place = tmp_path / "state"
        place.write_text("", encoding="utf-8")
        one = StateFile(str(place), "thing", "things", retry_delay=0.05)
        assert await one.save(7) == "File exists"
        task = asyncio.create_task(one.run())
        place.unlink()
        await eventually(lambda: not one.problem, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        loaded = one.load()
        assert loaded is not None
        assert loaded[0] == 7

    asyncio.run(scene())


def test_the_newest_wish_wins(tmp_path: Path) -> None:
    """A slow disk skips what has been overtaken; the last value is what stands."""

    async def scene() -> Any:
        one = shelf(tmp_path)
        for number in range(100):
            one.save_soon(number)
        await one.flush()
        loaded = one.load()
        return None if loaded is None else loaded[0]

    assert asyncio.run(scene()) == 99
    assert os.listdir(tmp_path) == ["thing.json"]
