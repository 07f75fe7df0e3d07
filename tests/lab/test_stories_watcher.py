"""The watcher story, in its short form."""

from __future__ import annotations

import pytest

from support.lab_stories import play_story

WS1, WS2 = "10.10.0.4", "10.10.0.5"


@pytest.mark.root
@pytest.mark.slow
def test_watchers_move_a_vip_by_its_next_hop() -> None:
    """Both watchers name the same web server as next hop; the second one goes on alone."""
    steps = play_story("watcher")
    assert list(steps) == ["baseline", "ws1-killed", "ws1-back", "watcher-stopped"]
    found = {
        name: sorted((len(row["path"]), row["next_hop"]) for row in step["tables"][0]["rows"])
        for name, step in steps.items()
    }
    assert found == {
        "baseline": [(1, WS1), (3, WS1)],
        "ws1-killed": [(1, WS2), (3, WS2)],
        "ws1-back": [(1, WS1), (3, WS1)],
        "watcher-stopped": [(3, WS1)],
    }
    assert not steps["watcher-stopped"]["failed"]
