"""The database story, in its short form."""

from __future__ import annotations

import pytest

from support.lab_stories import play_story, read_best, read_paths

A, B, C = "10.20.0.10", "10.20.0.20", "10.20.0.30"
BEHIND = "65010 65010 65010 65010"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_reads_go_to_replicas_that_are_close() -> None:
    """A replica that is behind gets no reads; if all are behind they share them."""
    steps = play_story("database")
    assert list(steps) == ["baseline", "behind", "all-behind", "caught-up"]
    for name in ("baseline", "caught-up"):
        (table,) = steps[name]["tables"]
        assert read_paths(table) == dict.fromkeys((A, B, C), "65010")
        assert read_best(table) == {A, B, C}
    (table,) = steps["behind"]["tables"]
    assert read_paths(table) == {A: BEHIND, B: "65010", C: "65010"}
    assert read_best(table) == {B, C}
    (table,) = steps["all-behind"]["tables"]
    assert read_paths(table) == dict.fromkeys((A, B, C), BEHIND)
    assert read_best(table) == {A, B, C}
