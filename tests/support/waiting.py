"""Wait for a condition in a coroutine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    condition: Callable[[], T], timeout: float = 20.0, what: str = "", every: float = 0.002
) -> T:
    """Evaluate ``condition()`` every ``every`` seconds until it is true, and return its value.

    Raises AssertionError after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        await asyncio.sleep(every)
    return value
