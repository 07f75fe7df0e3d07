"""A long computation leaves turns to the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest

from anycastd.system.turns import run_in_turns, run_unless


def test_the_loop_goes_on_during_a_long_computation() -> None:
    """The computation ends only once something else has run."""

    async def run() -> int:
        others = list[int]()

        def compute() -> Generator[None, None, int]:
            while len(others) < 3:
                yield
            return len(others)

        async def work() -> None:
            for number in range(3):
                others.append(number)
                await asyncio.sleep(0)

        task = asyncio.create_task(work())
        result = await run_in_turns(compute())
        await task
        return result

    assert asyncio.run(run()) == 3


def test_what_it_raises_is_raised() -> None:
    """At its beginning, and after a piece."""

    def fail(pieces: int) -> Generator[None, None, None]:
        yield from [None] * pieces
        raise ValueError(str(pieces))

    for pieces in (0, 2):
        with pytest.raises(ValueError, match=str(pieces)):
            asyncio.run(run_in_turns(fail(pieces)))


@pytest.mark.parametrize("is_set", [False, True])
def test_work_that_an_event_ends(is_set: bool) -> None:
    """Its result where there is one, None where the event came first; then it has ended, too."""

    async def run() -> tuple[int | None, list[str]]:
        event, seen = asyncio.Event(), list[str]()

        async def work() -> int:
            try:
                if is_set:
                    event.set()
                    await asyncio.Event().wait()
                return 3
            finally:
                seen.append("ended")

        return await run_unless(event, work()), seen

    assert asyncio.run(run()) == (None if is_set else 3, ["ended"])


def test_work_that_fails_or_is_cancelled() -> None:
    """What it raises is raised; nothing of it goes on when its caller is cancelled."""

    async def fail() -> int:
        raise ValueError("no")

    async def run() -> list[str]:
        seen = list[str]()

        async def work() -> None:
            try:
                seen.append("began")
                await asyncio.Event().wait()
            finally:
                seen.append("ended")

        with pytest.raises(ValueError, match="no"):
            await run_unless(asyncio.Event(), fail())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await run_unless(asyncio.Event(), work())
        return seen

    assert asyncio.run(run()) == ["began", "ended"]
