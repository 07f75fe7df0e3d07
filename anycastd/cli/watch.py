"""Show something again and again in place, and leave the terminal as it was."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from anycastd.cli.output import print_lines

_ENTER = "\033[?1049h\033[?25l"  # the other screen, without a cursor (xterm's private modes)
_LEAVE = "\033[?25h\033[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_REST = "\033[H", "\033[K", "\033[J"

Screen = tuple[int, list[str] | None]
"""An exit code and the lines to show; None: there is nothing more to come."""


def watch(read: Callable[[], Screen], interval: float) -> int:
    """Show what ``read`` returns every ``interval`` seconds, until it is interrupted.

    On a terminal it is shown in place, as many lines as there is room for.  Elsewhere one after
    the other, without escape sequences.  Returns the exit code of the last one where its lines are
    None.  Raises KeyboardInterrupt for SIGINT and SIGTERM; the terminal is as before then.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    code, lines = read()
    if lines is None:
        return code
    if not sys.stdout.isatty():
        return _repeat(read, interval, lines)
    try:
        sys.stdout.write(_ENTER)
        while lines is not None:
            _draw(lines)
            time.sleep(interval)
            code, lines = read()
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
    return code


def _repeat(read: Callable[[], Screen], interval: float, lines: list[str] | None) -> int:
    code = 0
    while lines is not None:
        print_lines([*lines, ""])
        sys.stdout.flush()
        time.sleep(interval)
        code, lines = read()
    return code


def _draw(lines: list[str]) -> None:
    rows = os.get_terminal_size(sys.stdout.fileno()).lines
    shown = lines if len(lines) < rows else [*lines[: rows - 2], "... (the terminal has no room)"]
    sys.stdout.write(_HOME)
    for line in shown:
        sys.stdout.write(_CLEAR_LINE)
        print_lines([line])
    sys.stdout.write(_CLEAR_REST)
    sys.stdout.flush()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
