"""The story of two appliances in each region, in its short form."""

from __future__ import annotations

import pytest

from support.lab_stories import play_story, read_best, read_paths

NORTH = {"172.16.158.12", "172.16.158.13"}
WEST = {"172.16.138.12", "172.16.138.13"}
NEAR, FAR = "65515 65010", "65515 65010 65010 65010"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_appliance_of_two_then_a_region() -> None:
    """The twin takes over, then the other region; after a drain of one the twin serves."""
    steps = play_story("two-nvas")
    assert list(steps) == [
        "baseline",
        "appliance-killed",
        "appliance-back",
        "region-dead",
        "region-back",
        "drained",
    ]
    for name in ("baseline", "appliance-killed", "appliance-back", "region-back", "drained"):
        (table,) = steps[name]["tables"]
        assert read_paths(table) == dict.fromkeys(NORTH, NEAR) | dict.fromkeys(WEST, FAR)
        assert read_best(table) <= NORTH
    (table,) = steps["region-dead"]["tables"]
    assert read_paths(table) == dict.fromkeys(WEST, FAR)
    served = {name: {each.split()[0] for each in step["answers"]} for name, step in steps.items()}
    assert served["baseline"] == {"ne-1", "ne-2"}
    assert served["appliance-killed"] == {"ne-2"}
    assert {"we-1", "we-2"} <= served["region-dead"]
