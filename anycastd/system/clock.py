"""A clock that stops while its own process is stalled (stdlib only).

A stall of this process is no evidence about anything else.  A virtual machine is paused for
seconds, or a process gets no CPU; afterwards every deadline has passed by the system's clock,
although the other side was stopped just as long.  So deadlines are measured in ticks: a late tick
counts as two ticks at most, however late it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class OwnTime:
    """Own time: seconds that pass only while this process runs.

    The process's loop must call ``tick()`` about every ``tick`` seconds (0.05 to 0.1).  Without
    that, time stops two ticks after the last call.  Own time starts at the reading of
    ``monotonic``.  Not thread-safe.  ``is_ticked_by_loop``: the loop itself ticks it, so nobody
    else has to.
    """

    __slots__ = ("_max_step", "_monotonic", "_own", "_ticked_at", "is_ticked_by_loop")

    def __init__(self, tick: float = 0.05, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.is_ticked_by_loop = False
        self._max_step = 2 * tick
        self._ticked_at = self._own = monotonic()

    @property
    def interval(self) -> float:
        """Return the seconds between two ticks, as constructed."""
        return self._max_step / 2

    def now(self) -> float:
        """Return own time in seconds; it never goes back and is never ahead of ``monotonic``."""
        return self._own + min(self._monotonic() - self._ticked_at, self._max_step)

    def tick(self) -> None:
        """Advance own time by the time since the last tick, by two ticks at most."""
        now = self._monotonic()
        self._own += min(now - self._ticked_at, self._max_step)
        self._ticked_at = now

    @property
    def stalled(self) -> float:
        """Return the seconds of stalls since the start, which own time did not count."""
        return self._monotonic() - self.now()
