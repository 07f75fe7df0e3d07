"""Search: every short sequence of what may happen, and long random ones, against what must hold.

``make search`` searches longer and deeper; so that a run can be repeated, nothing is left to chance
here.  ``test_search_faults`` shows that the search would find faults.
"""

from __future__ import annotations

import pytest

from search.effort import LONG, PATIENCE
from search.random_days import LOSES, search
from search.sequences import (
    DRAINS,
    EVENTS,
    beginnings,
    every_interruption,
    every_sequence,
)
from search.surroundings import VARIANTS
from search.world import World

DEPTH = 4 if LONG else 3
EXAMPLES = 5_000 if LONG else 120
MORE = (
    *EVENTS,
    "see hung",
    "sessions half",
    "drain stop",
    "map on",
    "map off",
    "return",
    "restart late forgotten",
    "wait 4000",
)


@pytest.mark.parametrize("begin", ["fresh", "preferred", "degraded", "failed"])
@pytest.mark.timeout(PATIENCE)
def test_every_short_sequence(begin: str) -> None:
    """All of them keep every promise at every pass, and end at the level that fits."""
    assert every_sequence(beginnings(World)[begin], DEPTH, EVENTS) > len(EVENTS)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.timeout(PATIENCE)
def test_every_sequence_of_every_variant(variant: str) -> None:
    """With other profiles, and with more that may happen, all shorter sequences."""
    for begin in ("fresh", "preferred", "failed", "drained"):
        world = beginnings(World, variant)[begin]
        assert every_sequence(world, DEPTH - 1, MORE) > len(MORE)


@pytest.mark.parametrize("variant", ["first", "last"])
@pytest.mark.timeout(PATIENCE)
def test_every_sequence_of_drains(variant: str) -> None:
    """Operators, another region, restarts; ours is listed first or last."""
    for begin in ("preferred", "leaving", "drained"):
        world = beginnings(World, variant)[begin]
        assert every_sequence(world, DEPTH, DRAINS) > len(DRAINS)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.timeout(PATIENCE)
def test_every_interruption(variant: str) -> None:
    """The agent is another one at any point, inside its lease: it ends with the same routes."""
    happens = DRAINS if variant in {"first", "last"} else (*EVENTS, "return")
    events = tuple(event for event in happens if not event.endswith(LOSES))
    for begin in ("preferred", "failed", "drained"):
        world = beginnings(World, variant)[begin]
        assert every_interruption(world, DEPTH - 1, events) > len(events)


@pytest.mark.timeout(PATIENCE)
def test_random_days() -> None:
    """Longer stories than can be enumerated, made by rules, shrunk to the shortest that breaks."""
    search(World, EXAMPLES)
