"""Measure the load of this machine (I/O)."""

from __future__ import annotations

import os
from pathlib import Path

from anycastd.evidence.checks.asker import PlainAsker, Seen, UnseenError, describe_error
from anycastd.evidence.checks.load_steps import choose_step, describe_load, read_load
from anycastd.profile.checks import LoadCheck

PROC = Path("/proc")


class LoadAsker(PlainAsker):
    """Reads the load average and the available memory from ``proc``."""

    def __init__(self, name: str, asks: LoadCheck, proc: Path = PROC) -> None:
        super().__init__(name)
        self._asks = asks
        self._proc = proc

    async def ask(self, timeout: float, step: int | None) -> Seen:  # noqa: ARG002 - a look or a measure waits for nothing
        """Measure once."""
        try:
            average, meminfo = (
                (self._proc / name).read_text(encoding="ascii", errors="replace")
                for name in ("loadavg", "meminfo")
            )
            load = read_load(average, meminfo, len(os.sched_getaffinity(0)))
        except OSError as error:
            raise UnseenError(describe_error(error)) from None
        except ValueError as error:
            raise UnseenError(str(error)) from None
        now = choose_step(self._asks, load, step)
        return Seen(now < self._asks.steps, describe_load(self._asks, load, now), step=now)
