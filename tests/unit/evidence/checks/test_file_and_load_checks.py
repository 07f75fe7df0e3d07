"""Checks of a file, and of the load of this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from anycastd.evidence.checks.asker import UnseenError
from anycastd.evidence.checks.load_check import LoadAsker
from anycastd.evidence.checks.load_steps import (
    Load,
    choose_step,
    describe_load,
    join_nodes,
    read_load,
)
from anycastd.evidence.checks.observation import CheckObservation
from anycastd.evidence.checks.runner import CheckRunner
from anycastd.profile.checks import FileCheck, LoadCheck
from support.checks import make_check, run_check, use_check, while_running
from support.descriptors import no_free_descriptor
from support.waiting import eventually


def test_a_file_is_there_or_not(tmp_path: Path) -> None:
    """A link counts as what it leads to; ``exists`` turns it round."""
    file, link = tmp_path / "ready", tmp_path / "link"
    link.symlink_to(file)
    for path in (file, link, tmp_path / "no" / "folder"):
        found = run_check(FileCheck(str(path)))
        assert (found.passed, found.detail) == (False, "it does not exist")
        assert run_check(FileCheck(str(path), exists=False)).passed is True
    file.touch()
    for path in (file, link, tmp_path):
        found = run_check(FileCheck(str(path)))
        assert (found.passed, found.detail) == (True, "it exists")
    assert run_check(FileCheck(str(file / "below"))).passed is False  # a file is no folder


def test_what_cannot_be_looked_at_proves_nothing(tmp_path: Path) -> None:
    """A circle of links, and a name that no file system takes."""
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    found = run_check(FileCheck(str(circle), exists=False))
    assert (found.passed, found.detail) == (
        None,
        f"{circle}: too many levels of symbolic links",
    )
    assert run_check(FileCheck(str(tmp_path / ("a" * 300)))).passed is None


Change = Callable[[Path], object]


def _replace(folder: Path) -> None:
    """Replace the file by another one, at once: it is always there."""
    (folder / "new").touch()
    (folder / "new").replace(folder / "ready")


# What is done to the folder, and whether the file is there then.
CHANGES: list[tuple[Change, bool]] = [
    (lambda folder: (folder / "ready").touch(), True),
    (_replace, True),
    (lambda folder: (folder / "ready").rename(folder / "other"), False),
    (lambda folder: (folder / "other").rename(folder / "ready"), True),
    (lambda folder: (folder / "ready").unlink(), False),
    (lambda folder: (folder / "ready").symlink_to(folder / "target"), False),
    (lambda folder: (folder / "target").touch(), True),
    (lambda folder: (folder / "target").unlink(), False),
    (lambda folder: (folder / "target").touch(), True),
    (lambda folder: os.rename(folder, folder.with_name("moved")), False),
    (lambda folder: os.rename(folder.with_name("moved"), folder), True),
    (shutil.rmtree, False),
    (lambda folder: folder.mkdir(), False),
    (lambda folder: (folder / "ready").mkdir(), True),
]


def is_seen(seen: list[CheckObservation], there: bool) -> bool:
    """Return whether the newest observation says so."""
    return seen[-1].passed is there


def test_each_change_is_seen_at_once(tmp_path: Path) -> None:
    """Without waiting for `every`: created, replaced, renamed, linked, its folder moved."""
    folder = tmp_path / "run"
    folder.mkdir()

    async def use(runner: CheckRunner, seen: list[CheckObservation]) -> None:
        async def change() -> None:
            await eventually(lambda: bool(seen), 20)
            # The pause before the second run is a random share of `every`: it ends by an event.
            for number, (each, there) in enumerate(CHANGES):
                each(folder)
                await eventually(partial(is_seen, seen, there), 20, f"change {number}")

        await while_running(runner, change)

    use_check(make_check(FileCheck(str(folder / "ready")), every=3600), use)


def test_other_files_in_its_folder_cause_no_look(tmp_path: Path) -> None:
    """A folder in which much happens, such as /run, costs little."""

    async def use(runner: CheckRunner, seen: list[CheckObservation]) -> int:
        async def write() -> int:
            await eventually(lambda: bool(seen), 20)
            for number in range(300):
                (tmp_path / f"other-{number}").touch()
                await asyncio.sleep(0)
            (tmp_path / "ready").touch()
            await eventually(lambda: seen[-1].passed is True, 20)
            return len(seen)

        return await while_running(runner, write)

    assert use_check(make_check(FileCheck(str(tmp_path / "ready")), every=3600), use) <= 5


def test_without_inotify_the_file_is_looked_at_from_time_to_time(tmp_path: Path) -> None:
    """No descriptor is free for it; the status says that changes are seen later."""

    async def use(runner: CheckRunner, seen: list[CheckObservation]) -> list[str]:
        async def change() -> list[str]:
            await eventually(lambda: bool(seen), 20)
            (tmp_path / "ready").mkdir()  # which needs no descriptor
            await eventually(lambda: seen[-1].passed is True, 20)
            return runner.list_problems()

        with no_free_descriptor():
            return await while_running(runner, change)

    assert use_check(make_check(FileCheck(str(tmp_path / "ready"))), use) == [
        "check app: its file is only looked at from time to time: too many open files"
    ]


# The load ----------------------------------------------------------------------------------------

ASKS = LoadCheck(load_average=(1.0, 2.0), memory_available=(20.0, 10.0), hysteresis=10)


@pytest.mark.parametrize(
    ("average", "memory", "last", "step"),
    [
        (0.5, 50, None, 0),
        (1.0, 50, None, 1),
        (0.95, 50, 1, 1),
        (0.95, 50, 0, 0),
        (0.89, 50, 1, 0),
        (2.5, 50, 0, 2),
        (1.9, 50, 2, 2),
        (1.7, 50, 2, 1),
        (0.5, 50, 2, 0),
        (0.5, 19, None, 1),
        (0.5, 21, 1, 1),
        (0.5, 23, 1, 0),
        (0.5, 5, 0, 2),
        (1.5, 5, 0, 2),
        (0.5, 0, 0, 2),
    ],
)
def test_a_step_ends_only_beyond_its_hysteresis(
    average: float, memory: float, last: int | None, step: int
) -> None:
    """Up at the limit, down when it is better by a tenth; the worse of the two values counts."""
    assert choose_step(ASKS, Load(average, memory), last) == step


def test_the_load_of_this_machine_is_read() -> None:
    """From /proc, in the units of the profile."""
    found = run_check(LoadCheck(load_average=(900.0, 1000.0), memory_available=(0.1,)))
    assert (found.passed, found.step) == (True, 0)
    assert "of memory available: step 0 of 2" in found.detail


def test_texts_of_proc_are_read_or_refused(tmp_path: Path) -> None:
    """A kernel without the lines that are needed is no low load."""
    meminfo = "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n"
    load = read_load("3.00 1 1 1/2 3", meminfo, 2)
    assert load == Load(1.5, 25.0)
    assert describe_load(ASKS, load, 1) == (
        "load average 1.50 per core, 25 % of memory available: step 1 of 2"
    )
    for average, memory in (("", meminfo), ("x", meminfo), ("1", "MemTotal: 0 kB\n"), ("1", "")):
        with pytest.raises(ValueError, match=r"load|float"):
            read_load(average, memory, 2)
    for name in ("loadavg", "meminfo"):
        (tmp_path / name).write_text("x", encoding="ascii")
    with pytest.raises(UnseenError, match="cannot be read"):
        asyncio.run(LoadAsker("app", ASKS, tmp_path).ask(1.0, None))


def test_where_proc_has_only_processes_the_kernel_is_asked(tmp_path: Path) -> None:
    """The unit of the agent hides the rest of /proc: sysinfo(2) and /sys say nearly the same."""
    asks = LoadCheck(load_average=(900.0, 1000.0), memory_available=(0.2, 0.1))
    found = asyncio.run(LoadAsker("app", asks, tmp_path).ask(1.0, None))
    assert (found.passed, found.step) == (True, 0)
    nodes = [
        f"Node {n} MemTotal: 1000 kB\nNode {n} MemFree: 100 kB\nNode {n} Active(file): 50 kB\n"
        f"Node {n} Inactive(file): 60 kB\nNode {n} SReclaimable: 40 kB\nNode {n} Shmem: 9 kB\n"
        for n in (0, 1)
    ]
    assert read_load("1.0", join_nodes(nodes), 1) == Load(1.0, 25.0)
    with pytest.raises(UnseenError):  # a machine that has neither
        asyncio.run(LoadAsker("app", asks, tmp_path, tmp_path).ask(1.0, None))
