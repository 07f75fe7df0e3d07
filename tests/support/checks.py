"""Run one check for tests, as the agent does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from anycastd.evidence.checks.observation import CheckObservation, CheckResult
from anycastd.evidence.checks.runner import CheckRunner, Slots
from anycastd.profile.checks import Check, CheckKind
from anycastd.system.clock import OwnTime
from anycastd.system.ticker import ticking

T = TypeVar("T")


def make_check(asks: CheckKind, **values: float) -> Check:
    """Make a check with quick times, and each result counting; ``values`` replace them."""
    fields = {"every": 0.05, "timeout": 5.0, "rise": 1, "fall": 1, "deadline": 30.0} | values
    rise, fall = int(fields.pop("rise")), int(fields.pop("fall"))
    return Check("app", asks, rise=rise, fall=fall, **fields)


def run_check(asks: CheckKind, **values: float) -> CheckResult:
    """Run a check once, and return its result."""
    return use_check(make_check(asks, **values), lambda runner, _: runner.run_once())


def use_check(
    check: Check, use: Callable[[CheckRunner, list[CheckObservation]], Awaitable[T]]
) -> T:
    """Call ``use`` with the runner of a check and the list of what it emits, in a loop that ticks.

    Everything is given back at the end.
    """

    async def run() -> T:
        clock = OwnTime()
        seen: list[CheckObservation] = []
        runner = CheckRunner(check, Slots(), clock=clock, emit=seen.append)
        async with ticking(clock):
            try:
                return await use(runner, seen)
            finally:
                await runner.close()

    return asyncio.run(run())


async def while_running(runner: CheckRunner, use: Callable[[], Awaitable[T]]) -> T:
    """Call ``use`` while the check runs again and again."""
    task = asyncio.create_task(runner.run())
    try:
        return await use()
    finally:
        task.cancel()
        await asyncio.wait([task])
