"""Convert drains into JSON values and back, for the next agent (pure).

The format is fixed: keys are only ever added, and keys that are not known are ignored.  What cannot
be read is not left out: it becomes a drain of its own kind (``Drain.unreadable``).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from anycastd.decision.drains import Drain, DrainTable
from anycastd.decision.region_report import clean_text


def dump_drains(table: DrainTable, now: float) -> list[dict[str, Any]]:
    """Convert the drains that outlive this agent into JSON values.

    Times become seconds before or after ``now`` (own time).  Drains for a stop are left out.
    """
    return [
        {
            "service": drain.service,
            "reason": drain.reason,
            "by": drain.by,
            "age": now - drain.began_at,
            "wait": drain.wait,
            "left": None if drain.ends_at is None else drain.ends_at - now,
            "force": drain.force,
            "unreadable": drain.unreadable,
            "gone": {name: now - at for name, at in drain.withdrawn_at.items()},
        }
        for drain in table.values()
        if not drain.stopping
    ]


def load_drains(items: object, saved_at: float) -> dict[str, Drain]:
    """Convert what `dump_drains` returned back into a table.

    ``saved_at`` (own time of this agent) is when it was dumped.  Keys that are not known are
    ignored.  An item that cannot be read becomes a drain with ``unreadable``, of its service or, if
    that is not known either, of all services.  Raises ValueError where ``items`` is no list.
    """
    if not isinstance(items, list):
        raise ValueError("it holds no list of drains")  # noqa: TRY004 - it came from a file
    drains = []
    for item in items:
        try:
            drains.append(_load_drain(item, saved_at))
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
            service = item.get("service") if isinstance(item, dict) else None
            service = service if isinstance(service, str) else None
            why = "a drain of an earlier agent could not be read"
            drains.append(build_unreadable_drain(why, saved_at, service))
    return {drain.key: drain for drain in drains}


def build_unreadable_drain(why: str, now: float, service: str | None = None) -> Drain:
    """Build the drain that stands for drains of ``service`` (None: all) that could not be read.

    ``why`` is a text for operators, ``now`` own time.
    """
    return Drain(clean_text(why), "", began_at=now, wait=0.0, service=service, unreadable=True)


def _load_drain(item: Mapping[str, Any], saved_at: float) -> Drain:
    """Convert one item of `dump_drains` back; raises one of five errors for anything else."""
    service, force, unreadable = item["service"], item["force"], item.get("unreadable", False)
    if not (service is None or isinstance(service, str)):
        raise ValueError(f"{service!r} is no name of a service")
    if not (isinstance(force, bool) and isinstance(unreadable, bool)):
        raise ValueError("no boolean")  # noqa: TRY004 - it came from a file
    return Drain(
        reason=clean_text(item["reason"]),
        by=clean_text(item["by"]),
        began_at=saved_at - _seconds(item["age"]),
        wait=_seconds(item["wait"]),
        service=service,
        ends_at=None if item["left"] is None else saved_at + _seconds(item["left"]),
        force=force,
        unreadable=unreadable,
        withdrawn_at={str(name): saved_at - _seconds(age) for name, age in item["gone"].items()},
    )


def _seconds(value: object) -> float:
    """Return a number of seconds; raises ValueError for no number, OverflowError for 10**400."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError("no number of seconds")
    return float(value)
