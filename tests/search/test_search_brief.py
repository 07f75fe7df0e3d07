"""Search: brief looks at a large backend, with a model of HAProxy."""

from __future__ import annotations

import pytest

from search.brief_world import BriefWorld, Silent, search_brief_looks
from search.effort import LONG, SEARCH_TIMEOUT, InvariantError
from search.planting import BRIEF_SEARCH, plant_fault

DEPTH = 3 if LONG else 2


@pytest.mark.parametrize("worlds", [BriefWorld, Silent], ids=["announced", "silent"])
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_every_short_sequence_of_brief_looks(worlds: type[BriefWorld]) -> None:
    """What is concluded from HAProxy's count and single servers is what all rows would say."""
    search_brief_looks(worlds, DEPTH)


FAULTS = [  # world, key of planting.MODULES, name of the fault, text of the source, of the fault
    (
        "BriefWorld",
        "brief_look",
        "servers that events name are not asked for",
        "single = {*named.get(name, ()), *_list_waiting(last, backend)}",
        "single = {*_list_waiting(last, backend)}",
    ),
    (
        "BriefWorld",
        "brief_look",
        "servers that wait for a check are not asked for",
        "single = {*named.get(name, ()), *_list_waiting(last, backend)}",
        "single = {*named.get(name, ())}",
    ),
    (
        "Silent",
        "brief_look",
        "a count that differs is believed to be the rows'",
        "        if not expected.agrees(read_line(heads[name]), by_weight=name in query.weights):",
        "        if False:",
    ),
    (
        "Silent",
        "brief_look",
        "all rows are never asked for again",
        "if name not in query.backends or now - backend.asked_at >= every:",
        "if name not in query.backends or every == 0.0:",
    ),
    (
        "Silent",
        "backend_line",
        "the count is not compared",
        "same = self.active == other.active and self.backups == other.backups",
        "same = self.backups == other.backups",
    ),
    (
        "BriefWorld",
        "brief_look",
        "rows that were asked for are not kept",
        "name: {**before.rows[name], **new} if new else before.rows[name]",
        "name: before.rows[name]",
    ),
    (
        "BriefWorld",
        "brief_look",
        "servers that were asked for are not taken over",
        "name: {**before.servers[name], **found.servers[name]} if new else before.servers[name]",
        "name: before.servers[name]",
    ),
]


@pytest.mark.parametrize(
    ("world", "module", "old", "new"),
    [(f[0], f[1], *f[3:]) for f in FAULTS],
    ids=[f[2] for f in FAULTS],
)
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_the_search_of_brief_looks_finds_planted_faults(
    world: str, module: str, old: str, new: str
) -> None:
    """Every sequence is tried, the short ones first, until an invariant does not hold."""
    copy = plant_fault(module, old, new, BRIEF_SEARCH)
    with pytest.raises(InvariantError):
        copy.search_brief_looks(getattr(copy, world))


def test_the_search_looks_briefly() -> None:
    """Looks are brief where nothing happens: a search of whole looks would show nothing."""
    world = BriefWorld.begin().apply("wait 9").apply("wait 2.5")
    assert world.seen is not None
    assert world.seen.backends["web"].asked_at < world.now
