"""The last known value of a condition, held while it is unknown, for a bounded time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from anycastd.evidence.finding import Finding, Truth


@dataclass(frozen=True, slots=True)
class LastKnown:
    """The last known value of a condition: since when it has that value, since when it is unknown.

    ``value`` is None before the first known value.
    """

    value: bool | None = None
    began_at: float = 0.0
    unknown_began_at: float | None = None


NEVER = LastKnown()
"""What was never known."""


# A member of an enumeration costs a search in Python 3.11, and each pass asks for these.
_TRUE, _UNKNOWN = Truth.TRUE, Truth.UNKNOWN


def update_from_finding(known: LastKnown, found: Finding, hold: float, now: float) -> LastKnown:
    """Take over a condition's value; hold the last one while it is unknown, for a bounded time."""
    if found.truth is not _UNKNOWN:
        return update(known, found.truth is _TRUE, now)
    if known.unknown_began_at is None:
        known = replace(known, unknown_began_at=now)
    if not is_expired(known, hold, now):
        return known
    if (found.believe_then is Truth.TRUE) is known.value:
        return known
    return LastKnown(found.believe_then is Truth.TRUE, now, known.unknown_began_at)


def update(known: LastKnown, value: bool | None, now: float) -> LastKnown:
    """Take over a value that is known, None otherwise; the very same where nothing is new."""
    if value is None:
        return known
    if value is known.value:
        return known if known.unknown_began_at is None else replace(known, unknown_began_at=None)
    return LastKnown(value, now)


def believed_until(known: LastKnown, hold: float) -> float | None:
    """When the last known value is held no longer; None while it is known."""
    return None if known.unknown_began_at is None else known.unknown_began_at + hold


def is_expired(known: LastKnown, hold: float, now: float) -> bool:
    """Whether the last known value is held no longer."""
    ends = believed_until(known, hold)
    return ends is not None and now >= ends
