"""Draw the picture in docs/policy.md: ``PYTHONPATH=. python scripts/policy_picture.py``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from anycastd.decision.levels import CapKind, CapSource, Level

PAGE = Path(__file__).resolve().parent.parent / "docs" / "policy.md"
BEGIN = "<!-- drawn by scripts/policy_picture.py from the code's table: begin -->"
END = "<!-- end -->"
WIDTH = max(len(source.label) for source in CapSource)


def draw_picture() -> str:
    """Draw the levels from best to worst, with the facts that lower and the waits that delay."""
    return "\n".join(_draw_lines())


def _draw_lines() -> Iterator[str]:
    for level in sorted(Level, reverse=True):
        if level is not Level.PREFERRED:
            yield f"   v  down to {level.label} at once, when one of these is so"
            yield from _draw_rows("   v", CapKind.FACT, level)
            yield f"   ^  up from {level.label}, when all of these are so"
            yield from _draw_rows("   ^", CapKind.WAIT, level)
        yield f"[{level.label.upper()}]"
        if level is Level.PREFERRED:
            yield f"   |  still {level.label}, while this is so"
            yield from _draw_rows("   |", CapKind.WAIT, level)


def _draw_rows(margin: str, kind: CapKind, level: Level) -> Iterator[str]:
    for source in CapSource:
        if (source.kind, source.level) == (kind, level):
            yield f"{margin}    {source.label.ljust(WIDTH)}  {source.condition}"


def insert_picture(page: str) -> str:
    """Return the text of the page with the picture as it is now."""
    whole = f"{BEGIN}\n```text\n{draw_picture()}\n```\n{END}"
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: whole, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(insert_picture(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(draw_picture() + "\n")
