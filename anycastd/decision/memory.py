"""The state of one service between two passes; dump and load it across restarts (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anycastd.decision.last_known import NEVER_KNOWN, LastKnown
from anycastd.decision.levels import Level


@dataclass(frozen=True, slots=True)
class HopMemory:
    """What is remembered of one next hop, by its address; times are own time, in seconds.

    ``serve`` is its last known value.  ``failures``, ``failed_at`` and ``returned_at`` are as in
    ``Memory``, but of this next hop alone.
    """

    address: str
    serve: LastKnown = NEVER_KNOWN
    failures: int = 0
    failed_at: float | None = None
    returned_at: float | None = None


@dataclass(frozen=True, slots=True)
class MedMemory:
    """What is remembered of a MED by a check; times are own time, in seconds.

    ``announced`` is the MED of the route (None: none yet), since ``changed_at`` (None: it has not
    changed by itself).  ``unknown_began_at`` is when the check's step became unknown.
    """

    announced: int | None = None
    changed_at: float | None = None
    unknown_began_at: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of one service's machine between two passes; times are own time, in seconds.

    ``adopted``: the lease process has reported, and the level of the leased routes was taken over.
    ``serve``, ``healthy``, ``sessions`` (one is up) and ``maintenance`` are the last known values.
    ``failures``: how often it failed in a row, the last time at ``failed_at``.  ``returned_at``:
    no failure until then counts any more, since it has returned by its timers or by `anycastd
    return`.  ``changed_at``: the last change of level.  ``restored``: failures and changes were
    loaded from disk.  ``announced``: the service was announced when they were saved.
    ``next_hop`` is the address that is chosen of several, and ``next_hops`` what is remembered of
    each.  ``med`` is about a MED by a check.
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
    next_hop: str | None = None
    next_hops: tuple[HopMemory, ...] = ()
    med: MedMemory = MedMemory()


def dump_memory(memory: Memory, now: float) -> dict[str, Any]:
    """Convert what has to survive a restart into JSON values.

    Times become ages: seconds before ``now`` (own time), or None.
    """

    def age(at: float | None) -> float | None:
        return None if at is None else round(max(0.0, now - at), 3)

    dump: dict[str, Any] = {
        "failures": memory.failures,
        "failed": age(memory.failed_at),
        "changed": age(memory.changed_at),
        "returned": age(memory.returned_at),
        "announced": memory.level is not Level.WITHDRAWN,
    }
    if memory.next_hops:
        dump["next_hop"] = memory.next_hop
        dump["next_hops"] = {
            each.address: {
                "failures": each.failures,
                "failed": age(each.failed_at),
                "returned": age(each.returned_at),
            }
            for each in memory.next_hops
        }
    if memory.med.announced is not None:
        dump["med_changed"] = age(memory.med.changed_at)
    return dump


def load_memory(dump: Mapping[str, Any], saved_at: float) -> Memory:
    """Convert what `dump_memory` returned back into a Memory.

    ``saved_at`` (own time of this agent) is when it was dumped.  Raises ValueError where the
    failures or an age are no number.  The level and the conditions are not restored: the level
    comes from the lease, and the conditions need new evidence.
    """
    failures, failed_at, returned_at = _load_failures(dump, saved_at)
    hops = dump.get("next_hops") or {}
    chosen = dump.get("next_hop")
    return Memory(
        level_began_at=saved_at,
        failures=failures,
        failed_at=failed_at,
        changed_at=_load_time(dump, "changed", saved_at),
        returned_at=returned_at,
        restored=True,
        announced=dump.get("announced") is True,
        next_hop=chosen if isinstance(chosen, str) else None,
        next_hops=tuple(
            HopMemory(str(address), NEVER_KNOWN, *_load_failures(each, saved_at))
            for address, each in list(hops.items())[:_MAX_HOPS]
        ),
        med=MedMemory(changed_at=_load_time(dump, "med_changed", saved_at)),
    )


def _load_failures(
    dump: Mapping[str, Any], saved_at: float
) -> tuple[int, float | None, float | None]:
    """Return the failures, the time of the last one, and that of the last return."""
    failures = dump.get("failures")
    if isinstance(failures, bool) or not isinstance(failures, int) or failures < 0:
        raise ValueError(f"{failures!r} is no number of failures")
    failed_at = _load_time(dump, "failed", saved_at)
    if failures and failed_at is None:
        failed_at = saved_at
    returned_at = _load_time(dump, "returned", saved_at)
    return min(failures, _MAX_FAILURES), failed_at if failures else None, returned_at


def _load_time(dump: Mapping[str, Any], name: str, saved_at: float) -> float | None:
    age = dump.get(name)
    if age is None:
        return None
    if isinstance(age, bool) or not isinstance(age, int | float):
        raise ValueError(f"{age!r} is no time ago")  # noqa: TRY004 - it came from a file
    # A time in the future would never end a wait; beyond a year, the exact time is irrelevant.
    return saved_at - min(max(0.0, age), _MAX_AGE)


_MAX_AGE = 31_536_000.0
_MAX_FAILURES = 1000
_MAX_HOPS = 64
