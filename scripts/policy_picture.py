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
WIDTH = max(len(source.word) for source in CapSource)


def picture() -> str:
    """Draw the ladder of levels, with what leads down and what must be over before a step up."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    for level in sorted(Level, reverse=True):
        stays = list(_rows("   |", CapKind.WAIT, level)) if level is Level.PREFERRED else []
        above = Level(level + 1).word if level is not Level.PREFERRED else ""
        if above:
            yield f"   v  down to {level.word} by any of these, at once"
            yield from _rows("   v", CapKind.FACT, level)
            yield f"   ^  up from {level.word} when all of these are so"
            yield from _rows("   ^", CapKind.WAIT, level)
        yield f"[{level.word.upper()}]"
        if stays:
            yield f"   |  stays {level.word} for a while, although it is to go down"
            yield from stays


def _rows(margin: str, kind: CapKind, level: Level) -> Iterator[str]:
    for source in CapSource:
        if (source.kind, source.level) == (kind, level):
            yield f"{margin}    {source.word.ljust(WIDTH)}  {source.when}"


def drawn(page: str) -> str:
    """Give the page with the picture as it is now."""
    whole = f"{BEGIN}\n```text\n{picture()}\n```\n{END}"
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: whole, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(picture() + "\n")
