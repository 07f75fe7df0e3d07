"""What one service's decision remembers from pass to pass, and over restarts (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anycastd.decision.last_known import NEVER, LastKnown
from anycastd.decision.levels import Level


@dataclass(frozen=True, slots=True)
class Memory:
    """What one service's machine remembers from pass to pass; times as ``now``.

    ``restored``: failures and changes are known from before a restart; ``announced``: as is that it
    was announced then.
    """

    level: Level = Level.WITHDRAWN
    level_began_at: float = 0.0
    changed_at: float | None = None
    adopted: bool = False
    serve: LastKnown = NEVER
    healthy: LastKnown = NEVER
    sessions: LastKnown = NEVER
    maintenance: LastKnown = NEVER
    failures: int = 0
    failed_at: float | None = None
    returned_at: float | None = None
    restored: bool = False
    announced: bool = False


def dump_memory(memory: Memory, now: float) -> dict[str, Any]:
    """Give what outlives the process: a count, and how many seconds ago what happened (or None)."""

    def ago(at: float | None) -> float | None:
        return None if at is None else round(max(0.0, now - at), 3)

    return {
        "failures": memory.failures,
        "failed": ago(memory.failed_at),
        "changed": ago(memory.changed_at),
        "returned": ago(memory.returned_at),
        "announced": memory.level is not Level.WITHDRAWN,
    }


def load_memory(carried: Mapping[str, Any], now: float) -> Memory:
    """Make a Memory of what ``carry`` gave at ``now``; raises ValueError for anything else.

    It proves nothing: what was announced is the lease's to say, and who serves is for looks.
    """

    def at(name: str) -> float | None:
        seconds = carried.get(name)
        if seconds is None:
            return None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise ValueError(f"{seconds!r} is no time ago")  # noqa: TRY004 - it came from a file
        # A time ahead of us would hold back for ever, and one long ago is as good as any.
        return now - min(max(0.0, seconds), _LONG_AGO)

    failures = carried.get("failures")
    if isinstance(failures, bool) or not isinstance(failures, int) or failures < 0:
        raise ValueError(f"{failures!r} is no number of failures")
    failed_at = at("failed")
    if failures and failed_at is None:
        failed_at = now
    return Memory(
        level_began_at=now,
        failures=min(failures, _MAX_FAILURES),
        failed_at=failed_at if failures else None,
        changed_at=at("changed"),
        returned_at=at("returned"),
        restored=True,
        announced=carried.get("announced") is True,
    )


_LONG_AGO = 31_536_000.0


_MAX_FAILURES = 1000
