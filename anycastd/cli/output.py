"""Print text, tables and durations (light: every command imports this)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

NO_STEERING = "prepends do not steer here: degraded and drained services are withdrawn"
"""What commands print of services whose profile says so."""


def print_error(text: str) -> None:
    """Print ``text`` on standard error."""
    print(text, file=sys.stderr)


def log_to_stderr(*, wait: bool = True) -> None:
    """Log to standard error, with the wall time on a terminal only: a journal adds its own.

    ``wait``: a line is written when the call that logs it returns.  Without it nothing ever waits
    for the reader of the log, and what is not read is dropped and counted.
    """
    import logging  # noqa: PLC0415 - most commands log nothing, and are to start fast

    from anycastd.system.log_queue import QueuedLogHandler  # noqa: PLC0415 - likewise

    stamp = "%(asctime)s " if sys.stderr.isatty() else ""
    handlers = None if wait else [QueuedLogHandler()]
    style = f"{stamp}anycastd: %(message)s"
    logging.basicConfig(level=logging.INFO, format=style, handlers=handlers)


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
