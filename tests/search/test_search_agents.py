"""Search: whatever is drained, an appliance stays; faults that are planted are found."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycastd.decision.levels import Level
from search import agents_world
from search.effort import LONG, SEARCH_TIMEOUT, InvariantError, search_settings
from search.planting import plant_fault

EXAMPLES = 5_000 if LONG else 300
NUMBERS = st.sampled_from(range(len(agents_world.NAMES)))
TURNS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.3, 1.7, 12.0]),
        NUMBERS,
        NUMBERS,
        st.sampled_from(["ask", "ask", "ask", "drain", "undrain"]),
        st.sampled_from([0.0, 1.9]),
    ),
    min_size=4,
    max_size=14,
)
FAILED = st.sampled_from([(), (0,), (1,), (2,)])
FEW_REACH: list[agents_world.Turn] = [
    (0.3, 0, 0, "drain", 0.0),
    (0.3, 0, 1, "ask", 1.9),
    (1.7, 0, 0, "ask", 1.9),
    (1.7, 0, 2, "ask", 1.9),
    (0.3, 2, 0, "ask", 1.9),
    (0.0, 2, 1, "ask", 0.0),
    (1.7, 2, 2, "drain", 1.9),
    (12.0, 2, 1, "ask", 0.0),
]
"""Turns that random ones seldom are: one region fails, the two others leave in turn."""
SEARCH = "search.agents_world"
FAULTS = [
    (
        "another one may be drained itself",
        "        elif not vip.draining:\n            return",
        "        elif vip.serves:\n            return",
    ),
    (
        "one that does not serve counts",
        "        elif not vip.serves:\n            details.append",
        "        elif not vip.serves and vip.draining:\n            details.append",
    ),
    (
        "any other one that stays is enough",
        "    later = names[names.index(own) + 1 :] if own in names else []",
        "    later = [name for name in names if name != own]",
    ),
    (
        "an appliance counts itself",
        "        if name == profile.agent_name:\n            continue",
        "        if name == profile.agent_name:\n            return GuardVerdict(True, name)",
    ),
]


def search_world(world: ModuleType, examples: int) -> None:
    """Search a copy of the world."""
    for failed in ((), (0,), (1,), (2,)):
        world.drain_all_at_once(failed)
    world.run_turns(FEW_REACH, (1,))

    @search_settings(examples, shrink=False)
    @given(TURNS, FAILED)
    def search(turns: list[agents_world.Turn], failed: tuple[int, ...]) -> None:
        world.run_turns(turns, failed)

    search()


@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_whoever_is_drained_an_appliance_stays() -> None:
    """No order of drains, requests and slow answers withdraws the VIP everywhere."""
    search_world(agents_world, EXAMPLES)


@pytest.mark.parametrize(
    ("failed", "left"),
    [((), 2), ((2,), 1), ((1,), 2), ((0,), 2), ((0, 2), 1), ((1, 2), 0)],
    ids=["none failed", "westeurope", "ne-2", "ne-1", "ne-1 and west", "ne-2 and west"],
)
def test_the_last_of_the_list_that_serves_stays(failed: tuple[int, ...], left: int) -> None:
    """Both appliances of a region leave at once only where another region serves."""
    levels = agents_world.drain_all_at_once(failed)
    stayed = [number for number, level in enumerate(levels) if level is not Level.WITHDRAWN]
    assert [number for number in stayed if number not in failed] == [left]


@pytest.mark.parametrize(
    ("old", "new"), [texts for _, *texts in FAULTS], ids=[name for name, *_ in FAULTS]
)
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_a_fault_in_the_guard_is_found(old: str, new: str) -> None:
    """Each of these takes the last one out."""
    with pytest.raises(InvariantError):
        search_world(plant_fault("drains", old, new, SEARCH), 2_000)
