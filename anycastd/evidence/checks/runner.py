"""Run a check again and again -> CheckObservations (I/O).

One run at a time for each check, and a bounded number of runs at once for all.  Each run has a time
limit in own time (`anycastd.system.clock`), so a pause of this process makes none late.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import NoReturn

from anycastd.evidence.checks.asker import Asker, Seen, UnseenError, describe_error
from anycastd.evidence.checks.observation import CheckObservation, CheckResult, add_result
from anycastd.profile.checks import (
    Check,
    CommandCheck,
    FileCheck,
    HttpCheck,
    LoadCheck,
    TcpCheck,
)
from anycastd.system.clock import OwnTime
from anycastd.system.ticker import ticking

log = logging.getLogger(__name__)

MAX_CONNECTIONS, MAX_COMMANDS = 64, 8
"""Runs at once that connect, and that start a command; others wait for their turn."""


class Slots:
    """How many runs of each kind may go on at once, for all checks of an agent."""

    def __init__(self) -> None:
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._commands = asyncio.Semaphore(MAX_COMMANDS)

    def choose(self, check: Check) -> asyncio.Semaphore:
        """Choose the one that a run of ``check`` has to wait for."""
        return self._commands if isinstance(check.asks, CommandCheck) else self._connections


class CheckRunner:
    """Source of observations of one check: emits one after each run while ``run()`` runs.

    ``emit`` is called in the event loop and must not block.  ``name`` is its name among the parts
    of an agent.
    """

    def __init__(
        self,
        check: Check,
        slots: Slots,
        *,
        clock: OwnTime,
        emit: Callable[[CheckObservation], None],
    ) -> None:
        self.name = f"check {check.name}"
        self._check = check
        self._slots = slots
        self._clock = clock
        self._emit = emit
        self._last: CheckObservation | None = None
        self._logged = ""
        self._asker = build_asker(check)

    def list_problems(self) -> list[str]:
        """List what is wrong with the way of asking; what a run finds is evidence."""
        return self._asker.list_problems()

    async def run(self) -> NoReturn:
        """Run the check until cancelled; a run that fails is an observation, not an error."""
        try:
            while True:
                first = self._last is None
                result = await self.run_once()
                self._last = add_result(self._check, self._last, result, self._clock.now())
                self._emit(self._last)
                rest = self._check.every
                if first:  # so that many checks do not run at the same moment
                    rest *= random.random()  # noqa: S311 - no secret
                await self._asker.wait(max(0.0, result.asked_at + rest - self._clock.now()))
        finally:
            await self._asker.close()

    async def run_once(self) -> CheckResult:
        """Run the check once, in at most ``timeout`` seconds (twice that if this process stalled).

        Never raises for what it finds.
        """
        async with self._slots.choose(self._check):
            stalled = self._clock.stalled
            result, late = await self._ask()
            if late and self._clock.stalled - stalled >= self._clock.interval:
                # This process stalled, and perhaps what it asks as well: it proves nothing.
                result, _ = await self._ask()
            return result

    async def close(self) -> None:
        """Give everything back, where ``run()`` did not run."""
        await self._asker.close()

    async def _ask(self) -> tuple[CheckResult, bool]:
        """Ask once; return the result, and whether it was late."""
        timeout, asked_at = self._check.timeout, self._clock.now()
        step = None if self._last is None else self._last.step
        run = asyncio.ensure_future(self._asker.ask(timeout, step))
        try:
            while not run.done() and (left := asked_at + timeout - self._clock.now()) > 0:
                await asyncio.wait([run], timeout=max(left, self._clock.interval))
            late = not run.done()
        finally:
            run.cancel()
            await asyncio.wait([run])
        if late and not run.cancelled():
            run.exception()  # it ended in the moment in which it was cancelled
        try:
            seen = self._asker.judge_late(timeout) if late else run.result()
        except UnseenError as error:
            return CheckResult(asked_at, None, str(error), answered=False), late
        # Whatever others send must not end the agent, and whatever this process lacks.
        except Exception as error:  # noqa: BLE001
            return CheckResult(asked_at, None, self._explain_failure(error), answered=False), late
        return _stamp(asked_at, seen), late

    def _explain_failure(self, error: Exception) -> str:
        """Explain what no kind of check expects, and log a bug of ours once."""
        if isinstance(error, OSError):
            return describe_error(error)
        kind = type(error).__name__
        if kind != self._logged:
            self._logged = kind
            log.error("%s: a bug of ours: %s", self.name, kind, exc_info=error)
        return f"a bug of ours ({kind})"


async def run_check_once(check: Check, slots: Slots, clock: OwnTime) -> CheckResult:
    """Run a check once, for a command without an agent; ticks ``clock``."""
    runner = CheckRunner(check, slots, clock=clock, emit=lambda _: None)
    async with ticking(clock):
        try:
            return await runner.run_once()
        finally:
            await runner.close()


def _stamp(asked_at: float, seen: Seen) -> CheckResult:
    return CheckResult(asked_at, seen.passed, seen.detail, seen.answered, seen.step)


def build_asker(check: Check) -> Asker:
    """Build what runs one kind of check, and load only what this kind needs."""
    match check.asks:
        case TcpCheck():
            from anycastd.evidence.checks.tcp_check import TcpAsker  # noqa: PLC0415 - see above

            return TcpAsker(check.name, check.asks)
        case HttpCheck():
            from anycastd.evidence.checks.http_check import HttpAsker  # noqa: PLC0415 - see above

            return HttpAsker(check.name, check.asks)
        case CommandCheck():
            from anycastd.evidence.checks.command_check import (  # noqa: PLC0415 - see above
                CommandAsker,
            )

            return CommandAsker(check.name, check.asks)
        case FileCheck():
            from anycastd.evidence.checks.file_check import FileAsker  # noqa: PLC0415 - see above

            return FileAsker(check.name, check.asks)
        case LoadCheck():
            from anycastd.evidence.checks.load_check import LoadAsker  # noqa: PLC0415 - see above

            return LoadAsker(check.name, check.asks)
