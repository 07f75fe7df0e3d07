"""Tick a process's own time in an asyncio loop (stdlib only)."""

from __future__ import annotations

import asyncio
import contextlib
import select
import selectors
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, NoReturn

from anycastd.system.clock import OwnTime

_MAX_DELAYED = 2
"""Turns of the loop by which a tick is delayed at most, while there is something to do."""


async def tick_forever(clock: OwnTime) -> NoReturn:
    """Tick ``clock`` at its interval until cancelled; waits where the loop does it."""
    if clock.is_ticked_by_loop:
        await asyncio.Event().wait()
    while True:
        await asyncio.sleep(clock.interval)
        clock.tick()


def run_ticking(main: Coroutine[Any, Any, None], clock: OwnTime) -> None:
    """Run ``main`` as ``asyncio.run`` does, in a loop that ticks ``clock`` while it waits."""
    selector = TickingSelector(clock)
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(main)


class TickingSelector(selectors.DefaultSelector):
    """A selector that ticks ``clock`` at its interval: a tick costs a quarter of a timer's.

    It waits with poll(2) for its own descriptor: most waits end with a tick and nothing to read.
    What has arrived is handled before time counts, with all that this makes ready: two turns of the
    loop.  Where there is always something to do, time counts after them.
    """

    def __init__(self, clock: OwnTime) -> None:
        super().__init__()
        clock.is_ticked_by_loop = True
        self._clock, self._interval = clock, clock.interval
        self._due_at = time.monotonic() + self._interval
        self._delayed, self._was_late = 0, False
        poller = select.poll()
        poller.register(self.fileno(), select.POLLIN)
        self._poll = poller.poll

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events as any selector does; None: without a limit."""
        now = time.monotonic()
        if now >= self._due_at:
            if self._is_late(now) and not self._was_late:
                self._was_late, self._delayed = True, 0  # a stall since the turn before
            if self._delayed >= _MAX_DELAYED:
                self._tick(now)
            events = super().select(0)
            if events or (timeout is not None and timeout <= 0):
                self._delayed += 1
                return events
            self._tick(now)
        ends_at = None if timeout is None else now + timeout
        while ends_at is None or self._due_at < ends_at:
            if self._poll(1000 * (self._due_at - now)):
                return super().select(0)
            now = time.monotonic()
            # After a stall of ours, what came meanwhile counts before time does.
            if self._is_late(now) and (events := super().select(0)):
                self._was_late, self._delayed = True, 1
                return events
            self._tick(now)
        return super().select(max(0.0, ends_at - now))

    def _is_late(self, now: float) -> bool:
        return now - self._due_at >= self._interval

    def _tick(self, now: float) -> None:
        self._clock.tick()
        self._due_at = now + self._interval
        self._delayed, self._was_late = 0, False


@contextlib.asynccontextmanager
async def ticking(clock: OwnTime) -> AsyncIterator[None]:
    """Tick ``clock`` while the ``with`` block runs: for a command without an agent's loop."""
    ticker = asyncio.create_task(tick_forever(clock))
    try:
        yield
    finally:
        ticker.cancel()
