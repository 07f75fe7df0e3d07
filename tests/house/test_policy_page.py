"""docs/policy.md says what the code does."""

from __future__ import annotations

import re

import pytest

import policy_picture
from anycastd.decision.levels import CapSource, Level


def test_the_picture_is_drawn_from_the_table() -> None:
    """`PYTHONPATH=. python scripts/policy_picture.py` draws it anew."""
    page = policy_picture.PAGE.read_text(encoding="utf-8")
    assert page == policy_picture.insert_picture(page)
    assert page.count(policy_picture.BEGIN) == 1


@pytest.mark.parametrize("source", CapSource)
def test_every_source_is_in_the_picture_once(source: CapSource) -> None:
    """Whatever can cap a level has its place, and its words."""
    rows = [line for line in policy_picture.draw_picture().splitlines() if source.condition in line]
    assert len(rows) == 1
    assert re.search(rf" {source.label} ", rows[0])


def test_levels_stand_best_first() -> None:
    """From preferred down to withdrawn."""
    boxes = re.findall(r"^\[(\w+)\]$", policy_picture.draw_picture(), re.MULTILINE)
    assert boxes == [level.label.upper() for level in sorted(Level, reverse=True)]
