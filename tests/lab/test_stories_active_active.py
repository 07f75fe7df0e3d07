"""The active-active story, in its short form."""

from __future__ import annotations

import pytest

from support.lab_stories import play_story, read_best, read_paths

A, B, C = "10.20.0.10", "10.20.0.20", "10.20.0.30"
DEGRADED = "65010 65010 65010 65010"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_machines_share_the_vip() -> None:
    """All answer at once; one that fails, or has a maintenance file, gets nothing any more."""
    steps = play_story("active-active")
    assert list(steps) == [
        "baseline",
        "servers-killed",
        "servers-back",
        "maintenance",
        "maintenance-over",
    ]
    for name in ("baseline", "servers-back", "maintenance-over"):
        (table,) = steps[name]["tables"]
        assert read_paths(table) == dict.fromkeys((A, B, C), "65010")
        assert read_best(table) == {A, B, C}
    (table,) = steps["servers-killed"]["tables"]
    assert read_paths(table) == {B: "65010", C: "65010"}
    (table,) = steps["maintenance"]["tables"]
    assert read_paths(table) == {A: "65010", B: DEGRADED, C: "65010"}
    assert read_best(table) == {A, C}
