"""Long work in an asyncio loop: in pieces, or only while nothing else comes (stdlib only)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Generator
from typing import TypeVar

MAX_PIECE = 0.003
"""Seconds of a computation after which the loop gets a turn: a turn costs some 50 microseconds."""

_Result = TypeVar("_Result")


async def run_in_turns(computation: Generator[None, None, _Result]) -> _Result:
    """Run ``computation`` to its end and return its result, with turns of the loop in between.

    It yields wherever it may be interrupted; a short one is not.  Raises what it raises.
    """
    began_at = time.monotonic()
    while True:
        try:
            next(computation)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if time.monotonic() - began_at >= MAX_PIECE:
            await asyncio.sleep(0)
            began_at = time.monotonic()


async def run_unless(
    event: asyncio.Event, work: Coroutine[object, object, _Result]
) -> _Result | None:
    """Run ``work`` and return its result; cancel it and return None once ``event`` is set.

    A result that is there counts, even if ``event`` is set as well.  Raises what ``work`` raises.
    """
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)
