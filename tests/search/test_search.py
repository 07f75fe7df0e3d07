"""Search: every short sequence of events, and long random ones, checked against the invariants.

`make search` searches longer and deeper.  Without it nothing is random, so that a run can be
repeated.  ``test_search_faults`` shows that the search finds faults.
"""

from __future__ import annotations

import pytest

from search.effort import LONG, SEARCH_TIMEOUT
from search.random_search import LOST_BY_RESTART, search_randomly
from search.sequences import DRAIN_EVENTS, EVENTS, build_starts, try_restarts, try_sequences
from search.surroundings import VARIANTS
from search.world import World

DEPTH = 4 if LONG else 3
EXAMPLES = 5_000 if LONG else 120
MORE_EVENTS = (
    *EVENTS,
    "haproxy missed",
    "sessions half",
    "sessions foreign",
    "sessions carried",
    "drain stop",
    "maintenance on",
    "maintenance off",
    "return",
    "restart late forgotten",
    "wait 4000",
)


@pytest.mark.parametrize("start", ["fresh", "preferred", "degraded", "failed"])
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_every_short_sequence(start: str) -> None:
    """Every invariant holds after every pass, and each sequence ends at the level that fits."""
    assert try_sequences(build_starts(World)[start], DEPTH, EVENTS) > len(EVENTS)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_every_sequence_of_every_variant(variant: str) -> None:
    """The same with other profiles and more events, and shorter sequences."""
    for start in ("fresh", "preferred", "failed", "drained"):
        world = build_starts(World, variant)[start]
        assert try_sequences(world, DEPTH - 1, MORE_EVENTS) > len(MORE_EVENTS)


@pytest.mark.parametrize("variant", ["first", "last"])
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_every_sequence_of_drains(variant: str) -> None:
    """Drains, another region and restarts; our region is listed first or last."""
    for start in ("preferred", "draining", "drained"):
        world = build_starts(World, variant)[start]
        assert try_sequences(world, DEPTH, DRAIN_EVENTS) > len(DRAIN_EVENTS)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_every_restart(variant: str) -> None:
    """A restart of the agent before the lease expires changes no routes in the end."""
    candidates = DRAIN_EVENTS if variant in {"first", "last"} else (*EVENTS, "return")
    events = tuple(event for event in candidates if not event.endswith(LOST_BY_RESTART))
    for start in ("preferred", "failed", "drained"):
        world = build_starts(World, variant)[start]
        assert try_restarts(world, DEPTH - 1, events) > len(events)


@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_random_sequences() -> None:
    """Sequences that are too long to be enumerated."""
    search_randomly(World, EXAMPLES)
