"""A long computation leaves turns to the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest

from anycastd.system.turns import run_in_turns


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
