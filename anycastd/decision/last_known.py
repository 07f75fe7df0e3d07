"""The last known value of a condition, held while it is unknown, for a bounded time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from anycastd.evidence.finding import Finding, Truth


@dataclass(frozen=True, slots=True)
class Known:
    """The last known value of a condition: since when it has that value, since when it is unknown.

    ``value`` is None before the first known value.
    """

    value: bool | None = None
    since: float = 0.0
    unknown_since: float | None = None


NEVER = Known()
"""What was never known."""


# A member of an enumeration costs a search in Python 3.11, and each pass asks for these.
_TRUE, _UNKNOWN = Truth.TRUE, Truth.UNKNOWN


def learn(known: Known, found: Finding, hold: float, now: float) -> Known:
    """Take over a condition's value; hold the last one while it is unknown, for a bounded time."""
    if found.truth is not _UNKNOWN:
        return observe(known, found.truth is _TRUE, now)
    if known.unknown_since is None:
        known = replace(known, unknown_since=now)
    if not expired(known, hold, now):
        return known
    if (found.then is Truth.TRUE) is known.value:
        return known
    return Known(found.then is Truth.TRUE, now, known.unknown_since)


def observe(known: Known, value: bool | None, now: float) -> Known:
    """Take over a value that is known, None otherwise; the very same where nothing is new."""
    if value is None:
        return known
    if value is known.value:
        return known if known.unknown_since is None else replace(known, unknown_since=None)
    return Known(value, now)


def end(known: Known, hold: float) -> float | None:
    """When the last known value is held no longer; None while it is known."""
    return None if known.unknown_since is None else known.unknown_since + hold


def expired(known: Known, hold: float, now: float) -> bool:
    """Whether the last known value is held no longer."""
    ends = end(known, hold)
    return ends is not None and now >= ends
