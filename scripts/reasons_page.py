"""Write docs/reasons.md: ``PYTHONPATH=. python scripts/reasons_page.py``."""

from __future__ import annotations

from pathlib import Path

from anycastd.reasons import Reason

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reasons.md"
HEAD = """# Every reason

Each level has one reason, and so has each rule that is not true. `anycastd status` and `explain`
show its sentence, with the evidence and with what to do. Their JSON has its name, so that programs
can compare it: names never change, and new ones are added. [policy.md](policy.md) says what follows
from what.

This page is written by `scripts/reasons_page.py` from the code.

| name | what is the case | what to do |
|---|---|---|
"""
_NOTHING = "nothing to do"


def render_page() -> str:
    """Return the text of the page."""
    rows = (
        f"| `{each.name.lower()}` | {each.sentence} | {each.remedy or _NOTHING} |"
        for each in Reason
        if each is not Reason.SERVING
    )
    serving = f"| `serving` | {Reason.SERVING.sentence} | nothing to do |"
    return HEAD + "\n".join((serving, *rows)) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
