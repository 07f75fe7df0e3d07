"""Keep the last known value of a condition for a bounded time while it is unknown (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from anycastd.evidence.finding import BelieveFor, Finding, Truth


@dataclass(frozen=True, slots=True)
class LastKnown:
    """The last known value of a condition; None before the first one.

    ``began_at`` (own time) is when it took this value.  ``unknown_began_at`` (own time) is when it
    became unknown, None while it is known.
    """

    value: bool | None = None
    began_at: float = 0.0
    unknown_began_at: float | None = None


NEVER_KNOWN = LastKnown()
"""A condition that was never known."""


# Looking up a member of an enumeration is slow in Python 3.11, and each pass needs these often.
_TRUE, _UNKNOWN = Truth.TRUE, Truth.UNKNOWN


def update_from_finding(
    last: LastKnown, finding: Finding, believe_for: BelieveFor, now: float
) -> LastKnown:
    """Update the last known value from the truth of a finding, at ``now`` (own time).

    If the truth is unknown, the last value counts for ``believe_for``, from
    `Finding.unknown_from` on at the earliest, and then `Finding.believe_then`.  Returns the same
    object if nothing changed.
    """
    if finding.truth is not _UNKNOWN:
        value = finding.truth is _TRUE
        if value is last.value and last.unknown_began_at is None:
            return last  # as in nearly every pass: update_from_value() would say the same
        return update_from_value(last, value, now)
    if last.unknown_began_at is None:
        last = replace(last, unknown_began_at=now)
    elif last.unknown_began_at < finding.unknown_from:
        # Another worker: what the one before it did not find out says nothing of this one.
        last = replace(last, unknown_began_at=finding.unknown_from)
    if not is_expired(last, believe_for, now):
        return last
    believed = finding.believe_then is Truth.TRUE
    if believed is last.value:
        return last
    return LastKnown(believed, now, last.unknown_began_at)


def update_from_value(last: LastKnown, value: bool | None, now: float) -> LastKnown:
    """Update the last known value from ``value``, at ``now`` (own time); None changes nothing.

    Returns the same object if nothing changed.
    """
    if value is None:
        return last
    if value is last.value:
        return last if last.unknown_began_at is None else replace(last, unknown_began_at=None)
    return LastKnown(value, now)


def believed_until(last: LastKnown, believe_for: BelieveFor) -> float | None:
    """Return until when (own time) the last known value counts; None while it is known.

    ``believe_for``: for how long it counts after the condition became unknown.
    """
    if last.unknown_began_at is None:
        return None
    if not last.value:
        return last.unknown_began_at + believe_for.other
    return max(last.unknown_began_at + believe_for.true, believe_for.until)


def is_expired(last: LastKnown, believe_for: BelieveFor, now: float) -> bool:
    """Return whether the last known value has counted for ``believe_for`` at ``now``.

    ``now`` is own time in seconds.
    """
    ends_at = believed_until(last, believe_for)
    return ends_at is not None and now >= ends_at
