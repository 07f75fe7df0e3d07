"""The history on disk: bounded, whole, and never in the way of anything."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from anycastd.agent.event_log import MAX_RECENT, EventLog
from anycastd.agent.history_answer import HistoryAnswer
from anycastd.agent.history_file import MAX_AGE, MAX_WAITING, UNREADABLE, HistoryFile
from anycastd.agent.history_reader import CURRENT, MAX_LINE, OLDER, Selection, read_history
from anycastd.views.events import Event, EventKind
from support.full_disk import full_disk
from support.waiting import eventually

ALL = Selection(100_000)


def event(number: int, text: str = "", service: str = "") -> Event:
    """Give an event of now."""
    kind = EventKind.RETURN
    return Event(time.time(), kind, text or f"event {number}", service=service, number=number)


def texts(directory: Path, selection: Selection = ALL) -> list[str]:
    """Return the texts that are on disk."""
    return [each.text for each in read_history(str(directory), selection).events]


def live(
    directory: Path,
    *events: Event,
    then: Callable[[HistoryFile], bool] | None = None,
    size: int = 0,
) -> tuple[list[Event], HistoryFile]:
    """Run a history, add events one by one, wait for ``then``; return what it had loaded."""
    loaded: list[list[Event]] = []

    async def run() -> HistoryFile:
        def take(found: Sequence[Event]) -> None:
            loaded.append(list(found))

        file = HistoryFile(str(directory), retry_delay=0.05, **({"max_size": size} if size else {}))
        task = asyncio.create_task(file.run(MAX_RECENT, take))
        await eventually(lambda: loaded)
        for each in events:
            file.add(each)
            if size:
                await wait_written(directory, each.number)
        if then is not None:
            await eventually(lambda: then(file))
        await file.flush()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return file

    return loaded[0] if loaded else [], asyncio.run(run())


async def wait_written(directory: Path, number: int) -> None:
    """Wait until an event is on disk."""
    await eventually(lambda: last(directory) >= number)


def last(directory: Path) -> int:
    """Return the number of the newest event on disk."""
    events = read_history(str(directory), Selection(1)).events
    return events[-1].number if events else 0


def test_it_outlives_the_agent(tmp_path: Path) -> None:
    """What one agent has written the next one loads; the files are for the group, too."""
    directory = tmp_path / "state"
    live(directory, *map(event, range(1, 4)))
    assert stat.S_IMODE((directory / CURRENT).stat().st_mode) == 0o640
    found: list[Event] = []

    async def load() -> None:
        task = asyncio.create_task(HistoryFile(str(directory)).run(2, found.extend))
        await eventually(lambda: found)
        task.cancel()

    asyncio.run(load())
    assert [each.text for each in found] == ["event 2", "event 3"], "the newest, oldest first"


def test_the_size_is_bounded(tmp_path: Path) -> None:
    """Two files; the older one goes, and nothing between the two is lost."""
    live(tmp_path, *map(event, range(1, 60)), size=2000)
    assert sorted(os.listdir(tmp_path)) == [OLDER, CURRENT]
    assert all((tmp_path / name).stat().st_size < 2400 for name in (OLDER, CURRENT))
    numbers = [each.number for each in read_history(str(tmp_path), ALL).events]
    assert numbers == list(range(numbers[0], 60))
    assert 7 < len(numbers) < 30


def test_the_age_is_bounded(tmp_path: Path) -> None:
    """What is older than MAX_AGE goes, also where there is hardly any event."""
    old = Event(time.time() - MAX_AGE / 2 - 60, EventKind.RETURN, "long ago", number=1)
    (tmp_path / CURRENT).write_text(json.dumps(old.to_json()) + "\n", encoding="utf-8")
    live(tmp_path, event(2))
    assert (texts(tmp_path), sorted(os.listdir(tmp_path))) == (
        ["long ago", "event 2"],
        [OLDER, CURRENT],
    )
    os.utime(tmp_path / OLDER, (0, time.time() - MAX_AGE / 2 - 60))
    live(tmp_path, event(3))
    assert texts(tmp_path) == ["event 2", "event 3"]


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    """As by a power failure: the reader says so, and the next agent goes on after it."""
    live(tmp_path, event(1))
    with (tmp_path / CURRENT).open("ab") as file:
        file.write(json.dumps(event(2).to_json()).encode()[:40])
    reading = read_history(str(tmp_path), ALL)
    assert (reading.has_short_line, reading.damaged) == (True, 0)
    _, file_ = live(tmp_path, event(3))
    assert texts(tmp_path) == ["event 1", "event 3"]
    assert file_.list_problems() == ()


@pytest.mark.parametrize(
    "damage",
    [b"\0" * 5000 + b"\n", b"{}\n", b'{"at": 1}\n', b"[" * 3000 + b"\n", b"\xff\xfe\n"],
    ids=["zeros", "nothing", "no kind", "nested", "bytes"],
)
def test_damaged_lines_cost_themselves_only(tmp_path: Path, damage: bytes) -> None:
    """The file as it was stays, and is named until somebody removes it."""
    live(tmp_path, event(1))
    with (tmp_path / CURRENT).open("ab") as file:
        file.write(damage)
    _, history = live(tmp_path, event(2))
    assert texts(tmp_path) == ["event 1", "event 2"]
    assert damage in (tmp_path / UNREADABLE).read_bytes()
    (problem,) = history.list_problems()
    assert UNREADABLE in problem
    assert "remove the file" in problem
    (tmp_path / UNREADABLE).unlink()
    assert live(tmp_path)[1].list_problems() == ()


def test_a_very_long_line_takes_no_memory(tmp_path: Path) -> None:
    """It is damaged, in pieces."""
    (tmp_path / CURRENT).write_bytes(b"x" * (3 * MAX_LINE) + b"\n")
    reading = read_history(str(tmp_path), ALL)
    assert reading.events == []
    assert reading.damaged == 4


def test_events_of_a_later_release_are_kept(tmp_path: Path) -> None:
    """After a downgrade they are not shown, and not damaged."""
    later = event(1).to_json() | {"kind": "teleported"}
    (tmp_path / CURRENT).write_text(json.dumps(later) + "\n", encoding="utf-8")
    _, history = live(tmp_path, event(2))
    assert texts(tmp_path) == ["event 2"]
    assert history.list_problems() == ()
    assert "teleported" in (tmp_path / CURRENT).read_text(encoding="utf-8")


@pytest.mark.root
def test_a_full_disk_is_named_and_waited_for(tmp_path: Path) -> None:
    """No torn line stays, nothing that fits in the memory is lost, and it ends by itself."""
    with full_disk(tmp_path / "disk") as disk:

        def freed(file: HistoryFile) -> bool:
            if file.problem and (disk / "clutter").exists():
                (problem,) = file.list_problems()
                assert "No space left on device; make room" in problem
                assert not (disk / CURRENT).exists() or (disk / CURRENT).stat().st_size == 0
                (disk / "clutter").unlink()
            return last(disk) == 5

        _, history = live(disk, *map(event, range(1, 6)), then=freed)
        assert texts(disk) == [f"event {number}" for number in range(1, 6)]
        assert history.list_problems() == ()


@pytest.mark.parametrize("kind", ["directory", "fifo", "link", "no directory"])
def test_what_is_in_the_way_costs_the_history_only(tmp_path: Path, kind: str) -> None:
    """It is named; nothing waits for it, and what waits for the disk is bounded."""
    place = tmp_path / "state"
    if kind == "no directory":
        place.write_text("", encoding="utf-8")
    else:
        place.mkdir()
    if kind == "directory":
        (place / CURRENT).mkdir()
    elif kind == "fifo":
        os.mkfifo(place / CURRENT)
    elif kind == "link":
        (tmp_path / "target").write_text("mine\n", encoding="utf-8")
        (place / CURRENT).symlink_to(tmp_path / "target")
    events = map(event, range(1, 2 * MAX_WAITING))
    began = time.monotonic()
    _, history = live(place, *events, then=lambda file: bool(file.problem))
    assert time.monotonic() - began < 20
    assert "the history cannot be written: " in history.list_problems()[0]
    if kind == "link":
        assert (tmp_path / "target").read_text(encoding="utf-8") == "mine\n"


def test_a_subscriber_that_fails_is_alone(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once; the others get the event."""
    log = EventLog()
    got: list[Event] = []

    def fail(_: Event) -> None:
        raise RuntimeError

    log.subscribe(fail)
    log.subscribe(got.append)
    for number in range(3):
        log.record(event(number))
    assert len(got) == 3
    assert [each.levelname for each in caplog.records] == ["ERROR"]


def test_texts_of_others_are_cleaned_and_numbered() -> None:
    """What a peer or a server is called can neither draw nor fill the memory."""
    log = EventLog()
    wild = Event(
        1.0, EventKind.RETURN, "a\x1b[31m\nb" + "x" * 9999, fields={"why\n": "\x07" * 9999}
    )
    first, second = log.record(wild), log.record(wild)
    assert first.text.startswith("a\\x1b[31m\\nb")
    assert len(first.text) <= 1000
    assert all(str(each).isprintable() and len(str(each)) <= 1000 for each in first.fields.values())
    assert second.number > first.number > 0


def test_numbers_grow_over_restarts() -> None:
    """Also where the clock was set back."""
    log, ahead = EventLog(), (time.time_ns() // 1000) + 10**9
    log.load([event(ahead)])
    assert log.record(event(0)).number == ahead + 1
    assert [each.number for each in log.recent()] == [ahead, ahead + 1]


def test_an_answer_reads_the_disk_for_what_the_memory_has_not(tmp_path: Path) -> None:
    """Without a gap and without a repetition; a follower asks for what is new."""
    log = EventLog()
    written = [event(number, service="web" if number % 2 else "api") for number in range(1, 1501)]
    live(tmp_path, *written[:900])
    live(tmp_path, *written[900:])
    log.load(written[500:])
    answers = HistoryAnswer("north", log, HistoryFile(str(tmp_path)))

    def ask(**arguments: object) -> dict[str, object]:
        found = asyncio.run(answers.answer(arguments, ["web", "api"]))
        return dict(json.loads(found) if isinstance(found, bytes) else found)

    def numbers(answer: dict[str, object]) -> list[int]:
        found = answer["events"]
        assert isinstance(found, list)
        return [each["number"] for each in found]

    assert numbers(ask(limit=9999, since=0.0)) == list(range(501, 1501))
    assert numbers(ask(limit=900, after=300, service="api")) == list(range(302, 1501, 2))
    assert numbers(ask(limit=3)) == [1498, 1499, 1500]
    assert ask(limit=3)["cut"] is True
    assert numbers(ask(service="web", limit=3)) == [1495, 1497, 1499]
    assert (numbers(ask(after=1498)), ask(after=1498)["newest"]) == ([1499, 1500], 1500)
    assert numbers(ask(after=1500)) == []
    assert len(numbers(ask(since=0.0))) == 200
    for odd in (float("nan"), float("inf"), 10**400, -1e300):
        assert len(numbers(ask(since=odd, limit=5))) == 5
    assert ask(service="wbe") == {
        "v": 1,
        "refused": "there is no service wbe; there are: web, api",
    }
