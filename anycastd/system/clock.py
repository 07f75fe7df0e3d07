"""Time that one's own stalls do not spend (stdlib only: the lease process uses it too).

My own stall is no evidence against anybody.  A virtual machine is paused for seconds, a CPU is
starved; whoever compares two readings of the system's clock afterwards finds every deadline
missed, although the other side was stopped just as long.  So deadlines are spent in ticks: a
late tick counts as two ticks at most, however late it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class OwnTime:
    """Seconds that pass only while we are there to see them.

    ``tick()`` must be called about every ``tick`` seconds (0.05 to 0.1) by whoever owns the
    process's loop.  Without it time stands still two ticks after the last call.  Starts at the
    reading of ``monotonic``.  Not thread-safe.
    """

    __slots__ = ("_monotonic", "_own", "_seen", "_step")

    def __init__(self, tick: float = 0.05, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._step = 2 * tick
        self._seen = self._own = monotonic()

    @property
    def interval(self) -> float:
        """Seconds between two ticks, as constructed."""
        return self._step / 2

    def now(self) -> float:
        """Own time in seconds: never goes back, never passes the system's clock."""
        return self._own + min(self._monotonic() - self._seen, self._step)

    def tick(self) -> None:
        """Count the time since the last tick, two ticks at most."""
        seen = self._monotonic()
        self._own += min(seen - self._seen, self._step)
        self._seen = seen

    @property
    def lost(self) -> float:
        """Seconds that our stalls have taken since the start, and that were not counted."""
        return self._monotonic() - self.now()
