"""Search: maintenance, changes of address, slots and reloads, with a model of HAProxy."""

from __future__ import annotations

import pytest

from search.effort import LONG, SEARCH_TIMEOUT, InvariantError
from search.planting import SERVERS_SEARCH, plant_fault
from search.servers_world import (
    EVENTS,
    STORM_EVENTS,
    ServersWorld,
    build_starts,
    search_servers,
    try_random_servers,
    try_servers,
)

DEPTH = 3 if LONG else 2
RANDOM = 2_000 if LONG else 12


@pytest.mark.parametrize("start", ["serving", "dead", "fresh"])
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_every_short_sequence_of_servers(start: str) -> None:
    """A server counts if a check has passed since it is in service, and only then."""
    world = build_starts(ServersWorld)[start]
    assert try_servers(world, DEPTH, EVENTS) > len(EVENTS)
    assert try_servers(world, DEPTH, STORM_EVENTS) > len(STORM_EVENTS)


@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_random_sequences_of_servers() -> None:
    """Sequences that are too long to be enumerated."""
    try_random_servers(ServersWorld, RANDOM)


FAULTS = [  # key of planting.MODULES, name of the fault, text of the source, text of the fault
    (
        "servers",
        "back from maintenance it counts",
        'if check in _PASSED and going_down and going_down[0] not in "-0":',
        "if check in _NEVER and check in _PASSED:",
    ),
    (
        "check_results",
        "a changed address is not seen",
        "    if row.addr != last.addr and not",
        "    if row.addr > last.addr + last.addr and not",
    ),
    (
        "check_results",
        "with `fall 1` it counts when it is back",
        "return bool(row.check) and (is_full or not _has_passed(row))",
        "return bool(row.check) and not _has_passed(row)",
    ),
    (
        "check_results",
        "a short maintenance is not seen",
        'left = was == "MAINT" or parse_seen(row.chkdown) > parse_seen(last.chkdown)',
        'left = was == "MAINT"',
    ),
    (
        "check_results",
        "a dead server that is back is taken for one that begins to fail",
        "return bool(row.check) and (is_full or not _has_passed(row))",
        "return bool(row.check) and is_full",
    ),
    (
        "check_results",
        "a failed check ends the doubt",
        "    if mark is None or not _has_passed(row):\n        return mark\n",
        "    if mark is None:\n        return mark\n",
    ),
    (
        "check_results",
        "a doubt never ends",
        "asked_at - mark.since >= CHECK_WITHIN or",
        "asked_at < 0 or",
    ),
    (
        "stats",
        "looks are not compared",
        "        before.judged if is_same and before is not None else JudgedRows(),",
        "        JudgedRows(),",
    ),
    (
        "judged_rows",
        "a server is not judged again",
        "same = last is not None and row[LASTING] == last[LASTING] and key not in before.marks",
        "same = last is not None and key not in before.marks",
    ),
    (
        "judged_rows",
        "empty slots are in a share",
        "    if age >= uptime - margin and times_gone <= most:",
        "    if age >= uptime - margin and times_gone < 0:",
    ),
    (
        "judged_rows",
        "servers that left are in no share",
        "    if age >= uptime - margin and times_gone <= most:",
        "    if age or times_gone <= most:",
    ),
    (
        "conditions",
        "HAProxy's word soon overrules what checks have found",
        "patience = OVERRULE_AFTER if settled < needed else 0.0",
        "patience = 0.0",
    ),
    (
        "last_known",
        "what is unknown of one worker is counted for the next",
        "    elif last.unknown_began_at < finding.unknown_from:\n",
        "    elif last.unknown_began_at < 0:\n",
    ),
    (
        "finding",
        "a false verdict is kept no longer than a true one",
        "OVERRULE_AFTER = 600.0",
        "OVERRULE_AFTER = 60.0",
    ),
]


@pytest.mark.parametrize(
    ("module", "old", "new"), [(f[0], *f[2:]) for f in FAULTS], ids=[f[1] for f in FAULTS]
)
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_the_search_of_servers_finds_planted_faults(module: str, old: str, new: str) -> None:
    """Every sequence is tried, the short ones first, until an invariant does not hold."""
    worlds: type[ServersWorld] = plant_fault(module, old, new, SERVERS_SEARCH).ServersWorld
    with pytest.raises(InvariantError):
        search_servers(worlds)
