"""Run a long computation in pieces, so that an asyncio loop gets its turns (stdlib only)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
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
