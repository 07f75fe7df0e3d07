"""Search: what may happen to a check on which a service rests, and faults that it finds."""

from __future__ import annotations

import pytest

from search.checks_world import (
    EVENTS,
    ChecksWorld,
    build_starts,
    search_checks,
    try_checks,
    try_random_checks,
)
from search.effort import LONG, SEARCH_TIMEOUT, InvariantError
from search.planting import CHECKS_SEARCH, plant_fault

DEPTH = 4 if LONG else 2
RANDOM = 5_000 if LONG else 100


@pytest.mark.parametrize("start", ["new", "serving", "failed"])
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_every_short_sequence_of_a_check(start: str) -> None:
    """It is announced by results that passed in a row, and by nothing else."""
    assert try_checks(build_starts(ChecksWorld)[start], DEPTH) > len(EVENTS)


@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_random_sequences_of_a_check() -> None:
    """Sequences that are too long to be enumerated."""
    try_random_checks(ChecksWorld, RANDOM)


COUNTS = "count >= (check.rise if result.passed else check.fall):"
FAULTS = [  # key of planting.MODULES, name of the fault, text of the source, text of the fault
    (
        "check_evaluate",
        "silence counts as the last result for ever",
        "    if now >= expires_at:\n        reason",
        "    if now >= 10 * expires_at:\n        reason",
    ),
    (
        "check_evaluate",
        "what cannot see promotes",
        "    elif seen.unseen:\n",
        "    elif not seen:\n",
    ),
    (
        "check_observation",
        "a run that cannot see makes the last result younger",
        "        return replace(last, unseen=detail)\n",
        "        return replace(last, unseen=detail, asked_at=asked_at)\n",
    ),
    (
        "check_observation",
        "one result brings back what it was before its deadline",
        ">= known.asked_at + check.deadline:",
        ">= known.asked_at + 10 * check.deadline:",
    ),
    ("check_observation", "`fall` is ignored", COUNTS, "count >= check.rise:"),
    ("check_observation", "`rise` is ignored", COUNTS, "result.passed or count >= check.fall:"),
    ("check_observation", "it never fails", COUNTS, "result.passed and count >= check.rise:"),
    (
        "check_observation",
        "results that are not in a row are added up",
        "    return min(known.count + 1, MAX_COUNT) if known.counted is counted else 1\n",
        "    return min(known.count + 1, MAX_COUNT)\n",
    ),
    (
        "check_evaluate",
        "a check that fails is not known",
        "        truth, reason = Truth.FALSE, Reason.CHECK_FAILED\n",
        "        truth, reason = Truth.UNKNOWN, Reason.CHECK_FAILED\n",
    ),
    (
        "caps",
        "what was asked before a freeze promotes",
        "context.frozen_until is not None and verdict.asked_at < context.frozen_until",
        "context.frozen_until is not None and verdict.asked_at < 0",
    ),
    (
        "policy",
        "waits end while it is unknown whether the service serves",
        "lowest.source is _WAITS_TO_KNOW or waits",
        "waits",
    ),
]


@pytest.mark.parametrize(
    ("module", "old", "new"), [(f[0], *f[2:]) for f in FAULTS], ids=[f[1] for f in FAULTS]
)
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_the_search_of_checks_finds_planted_faults(module: str, old: str, new: str) -> None:
    """Every sequence is tried, the short ones first, until an invariant does not hold."""
    worlds: type[ChecksWorld] = plant_fault(module, old, new, CHECKS_SEARCH).ChecksWorld
    with pytest.raises(InvariantError):
        search_checks(worlds)
