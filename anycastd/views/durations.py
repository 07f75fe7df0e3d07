"""A duration as people read it (pure; light: every command imports this)."""

from __future__ import annotations

import math


def format_duration(seconds: float) -> str:
    """Format a duration with at most two units: 0.3 s, 42 s, 5 min 3 s, 2 h 5 min, 3 d 4 h."""
    if not math.isfinite(seconds):
        return "? s"
    if seconds < 10:  # noqa: PLR2004 - below this a tenth matters
        return f"{seconds:.1f} s"
    whole = round(seconds)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for index, (unit, size) in enumerate(units):
        if whole >= size:
            text = f"{whole // size} {unit}"
            rest = whole % size
            if index + 1 < len(units) and rest // units[index + 1][1]:
                text += f" {rest // units[index + 1][1]} {units[index + 1][0]}"
            return text
    return "0 s"
