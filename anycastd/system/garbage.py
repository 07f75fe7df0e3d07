"""Collect garbage at times, in processes whose own work makes hardly any (stdlib only).

CPython keeps up to 2,000 freed tuples of each length below 20, 5 MB in all, and gives them back in
a full collection.  A process that runs for months without one grows by that within hours: each
``tuple(...)`` of a generator adds one that no other use takes out again.
"""

from __future__ import annotations

import gc

INTERVAL = 60.0
"""Seconds between two full collections at most."""


class GarbageCollection:
    """Runs a full collection each ``INTERVAL``, unless Python has run one by itself."""

    def __init__(self) -> None:
        self._due_at = 0.0
        self._runs = -1

    def run_if_due(self, now: float) -> None:
        """Run a full collection if it is due at ``now``, in seconds of any clock."""
        if now < self._due_at:
            return
        self._due_at = now + INTERVAL
        if _count_runs() == self._runs:
            gc.collect()
        self._runs = _count_runs()


def _count_runs() -> int:
    return int(gc.get_stats()[2]["collections"])
