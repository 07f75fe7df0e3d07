"""Fold lines whose spaces mean something, such as those of a table, for `check` and `reload`."""

from __future__ import annotations

import shutil
import textwrap

from anycastd.cli.output import MAX_LINE, WIDTH
from anycastd.system.printable import make_printable

NO_BREAK = "\u00a0"
"""A space at which `fold_line` breaks no line."""
_MIN_WIDTH = 40


def find_width() -> int:
    """Return the columns to fill: those of the terminal, 80 at most."""
    return max(_MIN_WIDTH, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


def fold_line(line: str, width: int, indent: str = "") -> list[str]:
    """Break a line at spaces so that it has ``width`` columns at most; a long word stays whole.

    It is not broken at a no-break space.  Further lines are indented as the first one, and by
    ``indent`` or two more spaces.
    """
    line = NO_BREAK.join(make_printable(each, MAX_LINE) for each in line.split(NO_BREAK))
    begin = line[: len(line) - len(line.lstrip())]
    folded = textwrap.wrap(
        line,
        width,
        subsequent_indent=begin + (indent or "  "),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [each.replace(NO_BREAK, " ") for each in folded] or [""]
