"""The state of one service between two passes; dump and load it across restarts (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anycastd.decision.last_known import NEVER_KNOWN, LastKnown
from anycastd.decision.levels import Level


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of one service's machine between two passes; times are own time, in seconds.

    ``adopted``: the lease process has reported, and the level of the leased routes was taken over.
    ``serve``, ``healthy``, ``sessions`` (one is up) and ``maintenance`` are the last known values.
    ``failures``: how often it failed in a row, the last time at ``failed_at``.  ``returned_at``:
    no failure until then counts any more, since it has returned by its timers or by `anycastd
    return`.  ``changed_at``: the last change of level.  ``restored``: failures and changes were
    loaded from disk.  ``announced``: the service was announced when they were saved.
    """

    level: Level = Level.WITHDRAWN
    level_began_at: float = 0.0
    changed_at: float | None = None
    adopted: bool = False
    serve: LastKnown = NEVER_KNOWN
    healthy: LastKnown = NEVER_KNOWN
    sessions: LastKnown = NEVER_KNOWN
    maintenance: LastKnown = NEVER_KNOWN
    failures: int = 0
    failed_at: float | None = None
    returned_at: float | None = None
    restored: bool = False
    announced: bool = False


def dump_memory(memory: Memory, now: float) -> dict[str, Any]:
    """Convert what has to survive a restart into JSON values.

    Times become ages: seconds before ``now`` (own time), or None.
    """

    def age(at: float | None) -> float | None:
        return None if at is None else round(max(0.0, now - at), 3)

    return {
        "failures": memory.failures,
        "failed": age(memory.failed_at),
        "changed": age(memory.changed_at),
        "returned": age(memory.returned_at),
        "announced": memory.level is not Level.WITHDRAWN,
    }


def load_memory(dump: Mapping[str, Any], saved_at: float) -> Memory:
    """Convert what `dump_memory` returned back into a Memory.

    ``saved_at`` (own time of this agent) is when it was dumped.  Raises ValueError where the
    failures or an age are no number.  The level and the conditions are not restored: the level
    comes from the lease, and the conditions need new evidence.
    """

    def time_of(name: str) -> float | None:
        age = dump.get(name)
        if age is None:
            return None
        if isinstance(age, bool) or not isinstance(age, int | float):
            raise ValueError(f"{age!r} is no time ago")  # noqa: TRY004 - it came from a file
        # A time in the future would never end a wait; beyond a year, the exact time is irrelevant.
        return saved_at - min(max(0.0, age), _MAX_AGE)

    failures = dump.get("failures")
    if isinstance(failures, bool) or not isinstance(failures, int) or failures < 0:
        raise ValueError(f"{failures!r} is no number of failures")
    failed_at = time_of("failed")
    if failures and failed_at is None:
        failed_at = saved_at
    return Memory(
        level_began_at=saved_at,
        failures=min(failures, _MAX_FAILURES),
        failed_at=failed_at if failures else None,
        changed_at=time_of("changed"),
        returned_at=time_of("returned"),
        restored=True,
        announced=dump.get("announced") is True,
    )


_MAX_AGE = 31_536_000.0
_MAX_FAILURES = 1000
