"""What happens now: a few lines that change on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from typing import TextIO

from anycastd.lab.network.lab import Lab
from anycastd.lab.network.namespaces import LabError
from anycastd.lab.network.outage import RequestResult
from anycastd.lab.network.topology import Site

SLOT = 0.1
"""Seconds of the client's answers that one character shows."""
REDRAW_INTERVAL = 0.1
"""Seconds between two drawings on a terminal."""
TABLE_INTERVAL = 0.3
"""Seconds between two looks at the far router's table."""
LINE_INTERVAL = 5.0
"""Seconds between two lines where there is no terminal."""
FAILED = "x"
"""The character for requests that failed."""
_COLORS = ("32", "34", "35", "36", "33", "92", "94", "95")


def describe_letters(sites: Iterable[Site]) -> str:
    """Say what the characters of a strip mean."""
    return ", ".join(f"{site.letter} {site.title}" for site in sites) + f", {FAILED} failed"


def draw_strip(
    results: Iterable[RequestResult], began_at: float, slots: int, sites: Iterable[Site]
) -> str:
    """Draw the client's answers: one character for each ``SLOT`` seconds from ``began_at``.

    It is the letter of the site that answered last, ``x`` where a request failed, a space where
    none ended.  ``began_at`` is a time of the monotonic clock, in seconds.
    """
    letters = {site.name: site.letter for site in sites}
    strip = [" "] * slots
    for result in results:
        slot = int((result.ended_at - began_at) / SLOT)
        if 0 <= slot < slots and strip[slot] != FAILED:
            strip[slot] = letters.get(result.region, "?") if result.ok else FAILED
    return "".join(strip)


class LiveView:
    """A display of what is awaited; on a terminal also the client's answers and the far router.

    ``lab`` is shown as soon as it is set.  No line is wider than the terminal, and `clear` leaves
    nothing behind.
    """

    def __init__(self, stream: TextIO, size: Callable[[], os.terminal_size] | None = None) -> None:
        self.lab: Lab | None = None
        self._stream = stream
        self._size = size or shutil.get_terminal_size
        self._terminal = stream.isatty()
        self._use_color = self._terminal and not os.environ.get("NO_COLOR")
        self._what = ""
        self._next_at = 0.0
        self._table_at = float("-inf")
        self._rows: list[str] = []
        self._shown: list[int] = []  # the length of each line that is on the screen

    def __call__(self, what: str, waited: float, allowed: float) -> None:
        """Show what is awaited, for how long so far and at most (seconds)."""
        now = time.monotonic()
        if what != self._what:
            # A wait that ends at once needs no line.
            self._what, self._next_at = what, now + (0.2 if self._terminal else 1.0)
        if now < self._next_at:
            return
        if not self._terminal:
            self._next_at = now + LINE_INTERVAL
            self._stream.write(f"  ... {what}: {waited:.1f} s (at most {allowed:g} s)\n")
            self._stream.flush()
            return
        self._next_at = now + REDRAW_INTERVAL
        self.draw(f"{waited:.1f} s of {allowed:g} s: {what}")

    def clear(self) -> None:
        """Remove what is shown, before other output."""
        self._what = ""
        self._stream.write(self._erase())
        self._stream.flush()

    def draw(self, title: str) -> None:
        """Draw on a terminal: a line of text, the client's answers, the far router's routes."""
        columns = self._size().columns
        lines = [f"  ... {title}", *self._draw_lab(columns)]
        cut = [line if len(line) < columns else f"{line[: columns - 4]}..." for line in lines]
        erased = self._erase()
        self._shown = [len(line) for line in cut]
        text = "".join(f"{self._paint(line)}\n" for line in cut)
        self._stream.write(f"{erased}{text}")
        self._stream.flush()

    def _erase(self) -> str:
        """Return what removes the lines that are shown; a terminal that shrank has folded them."""
        if not self._shown:
            return ""
        columns = max(1, self._size().columns)
        rows = sum(max(1, -(-length // columns)) for length in self._shown)
        self._shown = []
        return f"\r\033[{rows}A\033[J"

    def _draw_lab(self, columns: int) -> list[str]:
        lab = self.lab
        if lab is None or lab.topology.observed not in lab.routers:
            return []
        slots = max(1, columns - 12)
        began_at = time.monotonic() - slots * SLOT
        results = lab.client.results(began_at)
        lines = []
        if results:
            sites = lab.topology.sites
            lines.append(f"  client  {draw_strip(results, began_at, slots, sites)}")
            lines.append(f"          {describe_letters(sites)}")
        if time.monotonic() >= self._table_at + TABLE_INTERVAL:
            self._table_at = time.monotonic()
            self._rows = _describe_table(lab)
        heads = (lab.topology.observed, *[""] * len(self._rows))
        return lines + [f"  {head:<8}{row}" for head, row in zip(heads, self._rows, strict=False)]

    def _paint(self, line: str) -> str:
        """Give a strip its colours."""
        if not self._use_color or not line.startswith("  client  "):
            return line
        sites = self.lab.topology.sites if self.lab else ()
        letters = (*(site.letter for site in sites), FAILED)
        colors = dict(zip(letters, (*_COLORS[: len(sites)], "31"), strict=False))
        painted, last = line[:10], ""
        for letter in line[10:]:
            color = colors.get(letter, "")
            if color != last:
                painted += f"\033[{color or '0'}m"
                last = color
            painted += letter
        return f"{painted}\033[0m"


def _describe_table(lab: Lab) -> list[str]:
    try:
        return [row.describe() for row in lab.read_table()] or ["  no route to the VIP"]
    except (OSError, LabError):
        return ["  does not answer"]
