"""Print text, tables and durations (light: every command imports this).

Everything that is printed is made printable here, although the agent did so where the text came
in. Parts of it come from HAProxy's servers, other regions and other users, and the reader is often
root.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from anycastd.system import instants
from anycastd.system.printable import make_printable

NO_STEERING = "prepends do not steer here: degraded and drained services are withdrawn"
"""What commands print of services whose profile says so."""

format_duration = instants.format_duration
"""Format a duration, as the page does."""
MAX_LINE = 4096
"""Characters of a printed line at most."""
WIDTH = 80
"""Columns of what people read; only a word that is longer goes beyond."""
MAX_NAMES = 20
"""Services that an error message lists."""
GREEN, YELLOW, RED = 32, 33, 31
"""Colours of a terminal (ECMA-48, SGR)."""
SEVERITY_COLOURS = (GREEN, YELLOW, RED)
"""Colours of the monitoring codes 0 to 2."""
_COLOUR = re.compile(r"(\x1b\[(?:0|1;3[123])m)")


def print_line(text: str, *, flush: bool = False) -> None:
    """Print one line on standard output."""
    print(make_printable(text, MAX_LINE), flush=flush)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on standard output; the colours that `colour_level` gives are kept.

    Texts of others must have been made printable before they got a colour (`clean_answer`).
    """
    for line in lines:
        pieces = _COLOUR.split(line)
        pieces[::2] = [make_printable(piece, MAX_LINE) for piece in pieces[::2]]
        print("".join(pieces))


def print_json(value: object) -> None:
    """Print a JSON document (RFC 8259); a number that JSON lacks, of an older agent, is null."""
    text = json.dumps(value, indent=2)
    if "Infinity" in text or "NaN" in text:
        text = json.dumps(json.loads(text, parse_constant=lambda _: None), indent=2)
    print(text)


def print_error(text: str) -> None:
    """Print a text of one line or more on standard error."""
    for line in text.split("\n"):
        print(make_printable(line, MAX_LINE), file=sys.stderr)


def report_unknown_service(name: str, services: Iterable[str]) -> None:
    """Print that there is no service ``name``, and which there are."""
    from difflib import get_close_matches  # noqa: PLC0415 - only this error needs it

    known = list(services)
    close = get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    more = f" and {len(known) - MAX_NAMES} more" if len(known) > MAX_NAMES else ""
    print_error(
        f"anycastd: there is no service {name}{hint}; the profile has: "
        f"{', '.join(known[:MAX_NAMES])}{more}"
    )


def clean_answer(value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    """Make each text in an answer of the agent printable, keys too; returns the answer."""
    if isinstance(value, str):
        return make_printable(value, MAX_LINE)
    if isinstance(value, dict):
        return {clean_answer(key): clean_answer(each) for key, each in value.items()}
    if isinstance(value, list):
        return [clean_answer(each) for each in value]
    return value


def colour_level(level: str) -> str:
    """Colour the name of a level for a terminal, in capitals."""
    number = {"preferred": GREEN, "degraded": YELLOW, "standby": YELLOW}.get(level, RED)
    return paint(level.upper(), number)


def paint(text: str, colour: int | None) -> str:
    """Colour a text for a terminal; None: leave it as it is."""
    return text if colour is None or not text else f"\033[1;{colour}m{text}\033[0m"


def wants_colour(choice: str) -> bool:
    """Tell whether to use colours: ``choice`` is ``always``, ``never`` or ``auto``.

    ``auto``: on a terminal only, and not where the environment has NO_COLOR (no-color.org).
    """
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return choice == "always"


def fold(text: str, indent: str = "", hanging: str | None = None) -> Iterator[str]:
    """Fold a text into lines of ``WIDTH`` columns at most, unless one word is longer.

    The first line begins with ``indent``, the others with ``hanging`` (None: the same).
    """
    line, begins = indent, True
    rest = indent if hanging is None else hanging
    for word in text.split():
        if not begins and len(line) + 1 + len(word) > WIDTH:
            yield line
            line, begins = rest, True
        line += word if begins else f" {word}"
        begins = False
    yield line.rstrip()


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


def describe_path(
    path: Sequence[int] | None, prepends: int | None, local_pref: int | None = None
) -> str:
    """Describe an AS path and its number of prepends; None: the service is not announced.

    ``local_pref`` is the local preference over iBGP, where a neighbor is an iBGP one.
    """
    if path is None:
        return "not announced"
    if local_pref is not None:
        inside = f"local preference {local_pref} over iBGP"
        return f"{describe_path(path, prepends)}, {inside}" if path else inside
    return f"{' '.join(map(str, path))} ({prepends} prepend{'' if prepends == 1 else 's'})"


def shorten_path(path: Sequence[int] | None, local_pref: int | None = None) -> str:
    """Shorten an AS path: ``65010 x3``, ``65515 65010 x3``, ``-`` where nothing is announced.

    An empty one, over iBGP alone, is its local preference: ``pref 97``.
    """
    if not path and local_pref is not None:
        return f"pref {local_pref}"
    runs: list[tuple[int, int]] = []
    for asn in path or ():
        if runs and runs[-1][0] == asn:
            runs[-1] = asn, runs[-1][1] + 1
        else:
            runs.append((asn, 1))
    return " ".join(f"{asn} x{count}" if count > 1 else str(asn) for asn, count in runs) or "-"


def format_session_count(number: int | None) -> str:
    """Format a number of sessions: ``1 session``, ``2 sessions``, ``? sessions`` (not known)."""
    return f"{'?' if number is None else number} session{'' if number == 1 else 's'}"


def format_short_duration(seconds: float) -> str:
    """Format a duration with its largest unit only: 0.3 s, 42 s, 5 min, 2 h, 3 d."""
    return " ".join(format_duration(seconds).split()[:2])
