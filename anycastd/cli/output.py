"""Print text, tables and durations (light: every command imports this)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

NO_STEERING = "prepends do not steer here: degraded and drained services are withdrawn"
"""What commands print of services whose profile says so."""


def print_error(text: str) -> None:
    """Print ``text`` on standard error."""
    print(text, file=sys.stderr)


def log_to_stderr() -> None:
    """Log to standard error, with the wall time on a terminal only: a journal adds its own."""
    import logging  # noqa: PLC0415 - most commands log nothing, and are to start fast

    stamp = "%(asctime)s " if sys.stderr.isatty() else ""
    logging.basicConfig(level=logging.INFO, format=f"{stamp}anycastd: %(message)s")


def format_table(rows: Sequence[Sequence[str]], indent: int = 2) -> Iterator[str]:
    """Format rows as lines with aligned columns, after ``indent`` spaces.

    A column that is empty in every row is left out.  Raises ValueError where rows differ in length.
    """
    if not rows:
        return
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width)
        yield (" " * indent + "  ".join(cells)).rstrip()


def describe_path(path: Sequence[int] | None, prepends: int | None) -> str:
    """Describe an AS path and its number of prepends; None: the service is not announced."""
    if path is None:
        return "not announced"
    return f"{' '.join(map(str, path))} ({prepends} prepend{'' if prepends == 1 else 's'})"


def format_session_count(number: int | None) -> str:
    """Format a number of sessions: ``1 session``, ``2 sessions``, ``? sessions`` (not known)."""
    return f"{'?' if number is None else number} session{'' if number == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """Format a duration with at most two units: 0.3 s, 42 s, 5 min 3 s, 2 h 5 min, 3 d 4 h."""
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
