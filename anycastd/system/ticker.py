"""Tick a process's own time in an asyncio loop (stdlib only)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import NoReturn

from anycastd.system.clock import OwnTime


async def tick_forever(clock: OwnTime) -> NoReturn:
    """Tick ``clock`` at its interval until cancelled."""
    while True:
        await asyncio.sleep(clock.interval)
        clock.tick()


@contextlib.asynccontextmanager
async def ticking(clock: OwnTime) -> AsyncIterator[None]:
    """Tick ``clock`` while the ``with`` block runs: for a command without an agent's loop."""
    ticker = asyncio.create_task(tick_forever(clock))
    try:
        yield
    finally:
        ticker.cancel()
