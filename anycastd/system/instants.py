"""Format instants and durations for people (pure)."""

from __future__ import annotations

import math

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def format_duration(seconds: float) -> str:
    """Format a duration with at most two units: 0.3 s, 42 s, 5 min 3 s, 2 h 5 min, 3 d 4 h."""
    if not math.isfinite(seconds):
        return "? s"
    if seconds < 10:  # noqa: PLR2004 - below this a tenth matters
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for index, (unit, size) in enumerate(_UNITS):
        if whole >= size:
            text = f"{whole // size} {unit}"
            rest = whole % size
            if index + 1 < len(_UNITS) and rest // _UNITS[index + 1][1]:
                text += f" {rest // _UNITS[index + 1][1]} {_UNITS[index + 1][0]}"
            return text
    return "0 s"


def format_utc(at: float, pattern: str = "%H:%M:%S") -> str:
    """Format a Unix time (s) in UTC, by a pattern of strftime; ``?`` for one that is no time."""
    import datetime as dt  # noqa: PLC0415 - most commands need no calendar, and are to start fast

    try:
        return dt.datetime.fromtimestamp(at, dt.UTC).strftime(pattern)
    except (OverflowError, ValueError, OSError):
        return "?"


def format_day_and_time(at: float, now: float) -> str:
    """Format a Unix time (s) in UTC: with its date where that is not the one of ``now``."""
    same = format_utc(at, "%Y-%m-%d") == format_utc(now, "%Y-%m-%d")
    return format_utc(at, "%H:%M:%S" if same else "%b %d %H:%M:%S")
