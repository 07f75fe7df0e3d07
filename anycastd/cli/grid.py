"""Lay out tables for people: aligned columns, or where these are too wide, a few lines a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from anycastd.cli.output import WIDTH, fold, paint
from anycastd.system.printable import make_printable

MIN_LAST = 12
"""Columns that the last column has at least where it is cut."""


class Cell(NamedTuple):
    """A cell of a table; ``colour`` is one of ``output`` (None: no colour)."""

    text: str
    colour: int | None = None


Row = Sequence[Cell | str]
"""A row; a text is a cell without colour."""


def format_grid(
    headings: Sequence[str],
    rows: Sequence[Row],
    *,
    indent: int = 0,
    names: int = 1,
    colour: bool = False,
    cut: bool = False,
) -> Iterator[str]:
    """Format a table with headings as lines of ``WIDTH`` columns at most.

    A column without a text is left out.  Where the table is too wide, each row begins with its
    first ``names`` cells on a line, and the others follow, indented; with ``cut`` the last column
    is cut first, if that is enough.  A single cell that is wider than a line stays whole.
    """
    cells = [[each if isinstance(each, Cell) else Cell(each) for each in row] for row in rows]
    filled = [any(row[index].text for row in cells) for index in range(len(headings))]
    cells = [
        [each for each, is_filled in zip(row, filled, strict=True) if is_filled] for row in cells
    ]
    heads = [Cell(head) for head, is_filled in zip(headings, filled, strict=True) if is_filled]
    if not heads or not cells:
        return
    table = [heads, *cells] if any(head.text for head in heads) else cells
    widths = [max(len(each.text) for each in column) for column in zip(*table, strict=True)]
    left = WIDTH - indent - sum(widths[:-1]) - 2 * (len(widths) - 1)
    if widths[-1] > left and not (cut and left >= MIN_LAST):
        yield from _stack(cells, indent, names, colour=colour)
        return
    for row in table:
        yield _align(row, widths, left, indent, colour=colour)


def _align(
    row: Sequence[Cell], widths: Sequence[int], left: int, indent: int, *, colour: bool
) -> str:
    *most, last = zip(row, widths, strict=True)
    texts = [
        (paint(each.text, each.colour) if colour else each.text) + " " * (width - len(each.text))
        for each, width in most
    ]
    end = make_printable(last[0].text, max(left, MIN_LAST))
    texts.append(paint(end, last[0].colour) if colour else end)
    return (" " * indent + "  ".join(texts)).rstrip()


def _stack(
    rows: Sequence[Sequence[Cell]], indent: int, names: int, *, colour: bool
) -> Iterator[str]:
    first, rest = " " * indent, " " * (indent + 2)
    for row in rows:
        head = "  ".join(each.text for each in row[:names])
        if head.strip():  # a further line of the same thing has none
            yield from fold(head, first, rest)
        line = rest
        for each in row[names:]:
            text = paint(each.text, each.colour) if colour else each.text
            if not each.text:
                continue
            if len(line) > len(rest) and _width(line) + 2 + len(each.text) > WIDTH:
                yield line
                line = rest
            if _width(rest) + len(each.text) > WIDTH:
                yield from fold(each.text, rest, f"{rest}  ")
                continue
            line += text if len(line) == len(rest) else f"  {text}"
        if line.strip():
            yield line


def _width(line: str) -> int:
    """Return the columns of a line that may have colours."""
    count, inside = 0, False
    for character in line:
        if character == "\x1b":
            inside = True
        elif inside:
            inside = character != "m"
        else:
            count += 1
    return count
