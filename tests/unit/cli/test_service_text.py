"""Instants and changes, as `status` and `explain` print them."""

from __future__ import annotations

from typing import Any

import pytest

from anycastd.cli.commands.explain import format_explanation
from anycastd.cli.service_text import compute_instant


@pytest.mark.parametrize(
    ("at", "seconds", "text"),
    [
        ("2026-11-30T03:01:20Z", 5, "2026-11-30 03:01:15Z"),
        ("2026-11-30T03:01:20.900000Z", 5.5, "2026-11-30 03:01:15Z"),
        ("2026-11-30T03:01:20.900000Z", 5.95, "2026-11-30 03:01:14Z"),
        ("", 5, ""),
        ("2026-11-30T03:01:20.xZ", 5, ""),
        ("yesterday", 5, ""),
    ],
)
def test_when_something_began(at: str, seconds: float, text: str) -> None:
    """A fraction of a second counts, so that it is the second that the history has."""
    assert compute_instant(at, seconds) == text


@pytest.mark.parametrize(
    ("old", "new", "stages"),
    [
        ("preferred", "withdrawn", "decided +1.0 ms, sent +0.5 ms, confirmed +2.0 ms"),
        ("standby", "preferred", "sent +0.5 ms, confirmed +2.0 ms"),
    ],
)
def test_what_a_change_took(old: str, new: str, stages: str) -> None:
    """The words are those of the history; the age of the evidence says nothing of a wait's end."""
    reason = {"name": "serving", "sentence": "every rule is true", "detail": "", "remedy": ""}
    change = {"ago": 5.0, "old": old, "new": new, "reason": reason}
    change |= {"decided": 0.001, "sent": 0.0005, "acknowledged": 0.002}
    it: dict[str, Any] = {"vip": "203.0.113.10/32", "level": new, "since": 5.0, "reason": reason}
    it |= {"as_path": [65010], "prepend": 0, "prepends_steer": True, "failures": 0, "caps": []}
    it |= {"next": [], "rules": [], "changes": [change]}
    printed = " ".join(" ".join(format_explanation("web", it, "2026-11-30T03:01:20Z")).split())
    assert printed.endswith(f"03:01:15Z {old} -> {new}: every rule is true; {stages}")
