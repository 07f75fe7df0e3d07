"""The active-passive story, in its short form."""

from __future__ import annotations

import pytest

from support.lab_stories import play_story, read_best, read_paths

A, B = "10.20.0.10", "10.20.0.20"


@pytest.mark.root
@pytest.mark.slow
def test_the_lower_med_answers() -> None:
    """The other machine takes over when the service dies, and when the load makes its MED lower."""
    steps = play_story("active-passive")
    assert list(steps) == ["baseline", "service-killed", "service-back", "loaded", "calm"]
    for name in ("baseline", "service-back", "loaded", "calm"):
        (table,) = steps[name]["tables"]
        assert read_paths(table) == dict.fromkeys((A, B), "65010")
        assert read_best(table) == ({B} if name == "loaded" else {A})
        meds = {row["next_hop"]: row["med"] for row in table["rows"]}
        assert meds == {A: 250 if name == "loaded" else 100, B: 200}
    (table,) = steps["service-killed"]["tables"]
    assert read_paths(table) == {B: "65010"}
