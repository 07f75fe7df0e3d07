"""Write docs/messages.md: ``PYTHONPATH=. python scripts/messages_page.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from anycastd.reasons import Reason
from anycastd.views.events import EventKind
from problem_catalogue import PROBLEMS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "messages.md"
HEAD = """\
# Every message

What status, log, history and page can say, and what to do about it. Search this page for the words
that you have read; words in capitals stand for a name, an address or a number.

This page is written by `scripts/messages_page.py` from the code. Messages about a profile are not
listed: each names the file, the line and the key, and says what to write.
"""
PRIORITIES = {3: "error", 4: "warning", 5: "notice", 6: "info"}
"""Names of the priorities of syslog(3)."""


def render_page() -> str:
    """Return the text of the page."""
    return "\n".join(_iter_lines()) + "\n"


def _iter_lines() -> Iterator[str]:
    yield HEAD
    yield "## Problems\n"
    yield "`anycastd status` lists these; the log says when one begins and when it ends.\n"
    yield "| message | what to do |"
    yield "|---|---|"
    for problem in sorted(PROBLEMS, key=lambda known: known.shown.lower()):
        yield f"| {problem.shown} | {problem.remedy} |"
    yield "\n## Reasons\n"
    yield "Why a service has its level, and why a rule is not true.\n"
    yield "| name | message | what to do |"
    yield "|---|---|---|"
    for reason in Reason:
        remedy = reason.remedy or "nothing to do"
        yield f"| `{reason.name.lower()}` | {reason.sentence} | {remedy} |"
    yield "\n## Events\n"
    yield (
        "What happens, one line each in the log and in the history. `journalctl MESSAGE_ID=...` "
        "finds all events of one kind.\n"
    )
    yield "| kind | priority | what has happened | what to do | `MESSAGE_ID` |"
    yield "|---|---|---|---|---|"
    for kind in EventKind:
        yield (
            f"| `{kind.value}` | {PRIORITIES[kind.priority]} | {kind.meaning} | {kind.remedy} "
            f"| `{kind.message_id}` |"
        )


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
