"""What the parts of the agent count while they work (stdlib only).

The metrics of the agent show it.  Counting costs less than a microsecond, and so is always on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper bounds in seconds for what usually takes milliseconds."""
SLOW = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds for what may take seconds."""


class Durations:
    """Counts durations by upper bounds, in seconds; ``total`` is their sum."""

    __slots__ = ("_counts", "bounds", "total")

    def __init__(self, bounds: Sequence[float] = FAST) -> None:
        self.bounds = tuple(bounds)
        self.total = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """Return how many durations were counted."""
        return sum(self._counts)

    def list_buckets(self) -> list[tuple[str, int]]:
        """List (upper bound as text, number of durations up to it), the last one without a bound.

        As Prometheus wants its buckets: each count includes the ones before.
        """
        buckets, sofar = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self._counts, strict=True):
            sofar += count
            buckets.append((bound, sofar))
        return buckets


class LoopCounters:
    """What the decision loop counts: its passes; ``passed_at`` is monotonic time in seconds."""

    def __init__(self) -> None:
        self.passes = Durations()
        self.passed_at: float | None = None

    def count_pass(self, began_at: float, ended_at: float) -> None:
        """Count a pass; both are monotonic time in seconds."""
        self.passes.observe(ended_at - began_at)
        self.passed_at = ended_at


class LeaseCounters:
    """What the client of the lease counts.

    ``lateness``: how many seconds after a quarter of the lease it was renewed.  ``renewed_at`` and
    ``reported_at`` (of the newest report) are monotonic time in seconds.
    """

    def __init__(self) -> None:
        self.renewals = 0
        self.lateness = Durations(SLOW)
        self.renewed_at: float | None = None
        self.reported_at: float | None = None

    def count_renewal(self, now: float, ttl: float) -> None:
        """Count a renewal at ``now`` (monotonic time) of a lease of ``ttl`` seconds."""
        self.renewals += 1
        if self.renewed_at is not None:
            self.lateness.observe(max(0.0, now - self.renewed_at - ttl / 4))
        self.renewed_at = now


class LookCounters:
    """What the watcher of one HAProxy counts: looks by outcome, their durations, and events."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.durations = Durations()
        self.events = 0

    def count_look(self, outcome: str, seconds: float) -> None:
        """Count a look; ``outcome`` is ``answered``, ``gone``, or the name of a reason."""
        self.outcomes[outcome] += 1
        self.durations.observe(seconds)
