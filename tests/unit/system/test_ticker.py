"""Own time in an asyncio loop: it passes while the loop waits or works, and stops in a stall."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from anycastd.system.clock import OwnTime
from anycastd.system.ticker import run_ticking, tick_forever
from support.peer import wait_for

TICK = 0.05


class CountedTime(OwnTime):
    """Own time that counts its ticks."""

    def __init__(self) -> None:
        super().__init__(TICK)
        self.ticks, self.last_at = 0, 0.0

    def tick(self) -> None:
        """Tick, and count it."""
        super().tick()
        self.ticks, self.last_at = self.ticks + 1, time.monotonic()


def block(seconds: float) -> None:
    """Keep the thread for so long: a stall."""
    ends_at = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= ends_at, seconds + 5)


async def wait_idle(seconds: float) -> None:
    """Wait with nothing to do."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


async def stay_busy(seconds: float) -> None:
    """Give the loop something to do in each turn."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:  # noqa: ASYNC110 - to be busy is the point
        await asyncio.sleep(0)


async def wake_often(seconds: float) -> None:
    """Wake up more often than the clock ticks."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:  # noqa: ASYNC110 - likewise
        await asyncio.sleep(TICK / 7)


def run_with_task(main: Coroutine[Any, Any, None], clock: OwnTime) -> None:
    """Run with a ticker that is a task, as commands without an agent's loop have it."""

    async def scene() -> None:
        ticker = asyncio.create_task(tick_forever(clock))
        await main
        ticker.cancel()

    asyncio.run(scene())


@pytest.mark.parametrize("run", [run_ticking, run_with_task], ids=["loop", "task"])
@pytest.mark.parametrize("work", [wait_idle, stay_busy, wake_often])
def test_own_time_passes(
    work: Callable[[float], Awaitable[None]],
    run: Callable[[Coroutine[Any, Any, None], OwnTime], None],
) -> None:
    """Never faster than the system's clock; a slow machine counts less."""
    clock = CountedTime()
    found: list[float] = []

    async def scene() -> None:
        own, real = clock.now(), time.monotonic()
        await work(1.5)
        found.extend((clock.now() - own, time.monotonic() - real))

    run(scene(), clock)
    assert 3 * TICK < found[0] <= found[1] + 0.001
    assert 2 <= clock.ticks <= found[1] / TICK + 1


def test_a_stall_counts_as_two_ticks() -> None:
    """A callback that blocks, as a machine that was paused."""
    clock = CountedTime()
    lost: list[float] = []

    async def scene() -> None:
        await wait_idle(2 * TICK)
        before = clock.stalled
        block(1.0)
        await wait_idle(0.001)
        lost.append(clock.stalled - before)

    run_ticking(scene(), clock)
    assert lost[0] >= 1.0 - 2 * TICK - 0.001


def test_what_came_in_a_stall_is_handled_before_time_counts() -> None:
    """A line that arrived meanwhile is read by its task before the clock ticks."""
    clock = CountedTime()
    ticks: list[int] = []

    async def scene() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)

        async def read() -> None:
            await reader.readline()
            ticks.append(clock.ticks)

        reading = asyncio.create_task(read())
        # No tick is due.
        while time.monotonic() - clock.last_at > TICK / 2:  # noqa: ASYNC110
            await asyncio.sleep(TICK / 10)
        theirs.sendall(b"a line\n")
        ticks.append(clock.ticks)
        block(6 * TICK)
        await reading
        writer.close()
        theirs.close()

    run_ticking(scene(), clock)
    assert ticks[0] == ticks[1]


def test_a_loop_that_ticks_needs_no_other_ticker() -> None:
    """The part of the agent that ticks waits then, so that time does not pass twice."""
    clock = CountedTime()

    async def scene() -> None:
        ticker = asyncio.create_task(tick_forever(clock))
        await wait_idle(10 * TICK)
        assert not ticker.done()
        ticker.cancel()

    began_at = time.monotonic()
    run_ticking(scene(), clock)
    assert clock.ticks <= (time.monotonic() - began_at) / TICK + 1
