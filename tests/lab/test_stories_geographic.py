"""The geographic story, in its short form."""

from __future__ import annotations

import pytest

from support.lab_stories import play_story, read_best, read_paths

A, B = "10.21.0.10", "10.22.0.10"
FAR_A, FAR_B = "192.0.2.1", "192.0.2.2"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_region_near_a_client_serves_it() -> None:
    """Each router prefers its own region; the other one takes over, and nobody else notices."""
    steps = play_story("geographic")
    assert list(steps) == ["baseline", "servers-killed", "servers-back"]
    near_a, near_b = steps["baseline"]["tables"]
    assert read_paths(near_a) == {A: "65010", FAR_B: "65002 65010"}
    assert read_paths(near_b) == {B: "65010", FAR_A: "65001 65010"}
    assert (read_best(near_a), read_best(near_b)) == ({A}, {B})
    (table,) = steps["servers-killed"]["tables"]
    assert read_paths(table) == {FAR_B: "65002 65010"}
    (table,) = steps["servers-back"]["tables"]
    assert read_best(table) == {A}
