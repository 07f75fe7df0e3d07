"""Search: next hops and a MED by choice keep their promises; planted faults are found."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from search import next_hops_world
from search.effort import LONG, SEARCH_TIMEOUT, search_settings
from search.planting import plant_fault

EXAMPLES = 1_500 if LONG else 40
EVENTS = st.lists(
    st.sampled_from(
        [
            *(f"{check} {what}" for check in ("c1", "c2", "c3") for what in ("up", "down")),
            "c1 unseen",
            "c2 unseen",
            "load 0",
            "load 1",
            "load 2",
            "load unseen",
            "wait 1",
            "wait 3",
            "wait 12",
            "wait 40",
            "wait 70",
            "expire",
            "restart kept",
            "restart forgotten",
            "restart late",
        ]
    ),
    min_size=2,
    max_size=14,
)
SEARCH = "search.next_hops_world"
FAULTS = [  # key of planting.MODULES, name of the fault, text of the source, text of the fault
    (
        "next_hop",
        "one that is not known to serve is chosen",
        "    return candidate.verdict.serve.truth is Truth.TRUE",
        "    return candidate.serves is not False",
    ),
    (
        "next_hop",
        "back without the hold-down",
        "        elif now < ends_at:\n",
        "        elif now < failed_at:\n",
    ),
    (
        "next_hop",
        "the hold-down does not double",
        "failures=1 if calm else hop.failures + 1",
        "failures=1",
    ),
    (
        "next_hop",
        "back without the rise",
        "    if now < (risen := hop.serve.began_at + timers.rise):",
        "    if now < (risen := hop.serve.began_at):",
    ),
    (
        "next_hop",
        "back without the spacing",
        "now < (spaced := memory.changed_at + timers.spacing):",
        "now < (spaced := memory.changed_at):",
    ),
    (
        "next_hop",
        "one that does not serve stays",
        "candidates[chosen].serves is not False:",
        "candidates[chosen].waits is not False:",
    ),
    (
        "next_hop",
        "a change is no change for the spacing",
        "return replace(memory, next_hop=taken.address, changed_at=now)",
        "return replace(memory, next_hop=taken.address)",
    ),
    (
        "next_hop",
        "a new agent begins with the first one",
        "    if context.leased in addresses:\n        memory = replace(memory, next_hop=",
        "    if context.leased in addresses[:1]:\n        memory = replace(memory, next_hop=",
    ),
    (
        "med",
        "the MED has no spacing",
        "        if now >= ends_at and not",
        "        if now and not",
    ),
    (
        "med",
        "the MED stays for ever",
        "        if now >= ends_at and not",
        "        if not ends_at and not",
    ),
]
KNOWN = [
    ["c1 down", "wait 3", "c1 up", "wait 12", "c2 down", "wait 70", "c1 down", "c1 up", "wait 70"],
    ["load 1", "wait 40", "load 2", "wait 1", "load 0", "wait 12", "c1 down", "load 1", "wait 3"],
    ["c1 down", "wait 1", "c1 up", "restart kept", "wait 3", "restart forgotten", "wait 12"],
    ["c1 down", "wait 70", "c1 up", "wait 3", "wait 12", "c1 unseen", "wait 12"],
    ["load 2", "expire", "wait 3", "wait 70"],
    ["c2 unseen", "c1 down", "wait 3", "c3 down", "wait 3"],
    ["c1 down", "wait 70", "c2 down", "wait 3", "c1 up", "wait 12", "c2 up", "wait 40"],
]
"""Orders that each say something; the search tries them first."""


def search_world(world: ModuleType, examples: int) -> None:
    """Search a copy of the world."""
    for events in KNOWN:
        world.run_events(events)

    @search_settings(examples, shrink=False)
    @given(EVENTS)
    @example(["expire", "c1 down", "wait 3", "c1 up", "expire", "wait 3"])
    def search(events: list[str]) -> None:
        world.run_events(events)

    search()


@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_next_hops_in_any_order_of_events() -> None:
    """What is announced serves, and comes back by the timers; all ends well."""
    search_world(next_hops_world, EXAMPLES)


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [(key, old, new) for key, _, old, new in FAULTS],
    ids=[name for _, name, *_ in FAULTS],
)
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_a_fault_of_a_choice_is_found(key: str, old: str, new: str) -> None:
    """Each of these announces the wrong thing, or at the wrong time."""
    with pytest.raises(AssertionError):
        search_world(plant_fault(key, old, new, SEARCH), 60)
