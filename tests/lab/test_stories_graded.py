"""The stories of two regions in which one gives traffic away, step by step or at once."""

from __future__ import annotations

import pytest

from support.lab_stories import play_story, read_paths

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

NORTH = dict.fromkeys(("172.16.158.12", "172.16.158.13"), "65515 65010")
WEST = dict.fromkeys(("172.16.138.12", "172.16.138.13"), "65515 65010 65010 65010")
STANDBY = "65515" + " 65010" * 7


def test_the_graded_story() -> None:
    """Each rule of profiles/graded.yaml moves the traffic away and back; see the story's steps."""
    steps = play_story("graded")
    degraded = dict.fromkeys(NORTH, "65515" + " 65010" * 4)
    secondary_standby = dict.fromkeys(WEST, "65515" + " 65010" * 8)
    for name in ("weight-low", "crowd", "hung", "one-server-dead"):
        (table,) = steps[name]["tables"]
        assert read_paths(table) == degraded | WEST
        assert list(steps[name]["answers"])[-1] == "westeurope we-web2"
    (table,) = steps["nobody-better"]["tables"]
    assert read_paths(table) == degraded | secondary_standby
    assert steps["nobody-better"]["answers"]["northeurope ne-web2"] >= 50
    for name in ("maintenance", "waits-for-a-word"):
        (table,) = steps[name]["tables"]
        assert read_paths(table) == dict.fromkeys(NORTH, STANDBY) | WEST
        assert steps[name]["answers"]["westeurope we-web1"] > 20
    (table,) = steps["nobody-serves"]["tables"]
    assert read_paths(table) == secondary_standby
    assert steps["nobody-serves"]["failed"]["status 503"] >= 50
    for name in ("weight-back", "crowd-gone", "maintenance-over", "servers-back", "returned"):
        (table,) = steps[name]["tables"]
        assert read_paths(table) == NORTH | WEST
        assert steps[name]["answers"]["northeurope ne-web1"] > 20


def test_the_story_of_two_circuits() -> None:
    """Where a weight decides, the route is withdrawn instead of announced with a longer path."""
    steps = play_story("circuits")
    assert list(steps) == ["baseline", "less", "servers-back", "drained", "undrained"]
    west = dict.fromkeys(WEST, "65515 65010")
    for name, step in steps.items():
        (table,) = step["tables"]
        assert read_paths(table) == (west if name in ("less", "drained") else NORTH | west)
