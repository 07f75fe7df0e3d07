"""Search: a pass by its short ways is the pass by the plain one, and faults that this finds."""

from __future__ import annotations

import pytest

from search.effort import LONG, SEARCH_TIMEOUT, InvariantError
from search.passes_world import try_passes
from search.planting import PASSES_SEARCH, plant_fault

SEQUENCES = 4_000 if LONG else 100


@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_both_ways_of_a_pass_have_the_same_result() -> None:
    """Whatever happens: looks, silence, time, sessions, drains, restarts, other profiles."""
    assert try_passes(SEQUENCES) > 0.15, "the short ways were hardly taken"


FAULTS = [  # key of planting.MODULES, name of the fault, text of the source, text of the fault
    ("caps", "another level stays, too", "        memory.level is _PREFERRED\n", "        True\n"),
    ("caps", "what is not adopted stays", "        and memory.adopted\n", ""),
    ("caps", "lost sessions are not seen", "        and context.session_up is not False\n", ""),
    ("caps", "sessions are not noted", "        and memory.sessions.value is True\n", ""),
    ("caps", "a lost VIP is not seen", "        and context.vip_present is not False\n", ""),
    ("caps", "a drain is not seen", "        and context.drain is None\n", ""),
    ("caps", "`serve` is not noted", "        and serve.value is True\n", ""),
    ("caps", "an end of doubt", "        and serve.unknown_began_at is None\n", ""),
    ("caps", "`healthy` is not noted", "        and healthy.value is True\n", ""),
    ("caps", "an end of doubt of `healthy`", "        and healthy.unknown_began_at is None\n", ""),
    ("caps", "maintenance is not noted", "        and memory.maintenance.value is False\n", ""),
    (
        "caps",
        "maintenance is not seen",
        "        and (planned is None or planned.truth is Truth.TRUE)\n",
        "",
    ),
    (
        "caps",
        "a return by hand is not noted",
        "        and (context.returned_at is None or context.returned_at == memory.returned_at)\n",
        "",
    ),
    (
        "caps",
        "a return is not noted",
        "        and not (memory.failed_at is not None and has_failed(memory))\n",
        "",
    ),
    (
        "policy",
        "no pass is due when an answer ends",
        "ends_at = memory.level_began_at, verdict.changes_at\n",
        "ends_at = memory.level_began_at, None\n",
    ),
    (
        "policy",
        "a level begins with each pass",
        "ends_at = memory.level_began_at, verdict.changes_at\n",
        "ends_at = now, verdict.changes_at\n",
    ),
    (
        "verdict",
        "an answer counts for ever",
        "    if now >= changes_at or (",
        "    if (",
    ),
    (
        "verdict",
        "an answer counts at its end",
        "    if now >= changes_at or (",
        "    if now > changes_at or (",
    ),
    (
        "verdict",
        "what servers refuse is not seen",
        " or (reached is not None and reached.refused):\n",
        ":\n",
    ),
    (
        "verdict",
        "the map of maintenance is not asked",
        "    return TrueVerdict(plan, look, changes_at, planned)\n",
        "    return TrueVerdict(plan, look, changes_at, None)\n",
    ),
    (
        "verdict",
        "one rule that is true is enough",
        "        if not ANSWER_TESTS[type(rule)](rule, look):\n            return None\n",
        "        if ANSWER_TESTS[type(rule)](rule, look):\n            break\n",
    ),
    (
        "conditions",
        "a frontend that is there is open",
        "    return frontend is not None and frontend.is_open\n",
        "    return frontend is not None\n",
    ),
    (
        "conditions",
        "what is unknown is true",
        "    return _compare_with(rule, backend)[0] is _TRUE\n",
        "    return _compare_with(rule, backend)[0] is not _FALSE\n",
    ),
    (
        "conditions",
        "weights that HAProxy does not say count",
        "    if backend is None or (rule.by_weight and backend.weights_refused):\n",
        "    if backend is None:\n",
    ),
    (
        "conditions",
        "no limit is asked",
        "    return _evaluate_limit(_NO_RULE, rule, look, 0.0).truth is _TRUE\n",
        "    return rule is not None\n",
    ),
    (
        "pipeline",
        "the routes of another choice",
        "    return _build_routes(profile, levels, choices, ",
        "    return _build_routes(profile, levels, (), ",
    ),
]


@pytest.mark.parametrize(
    ("module", "old", "new"), [(f[0], *f[2:]) for f in FAULTS], ids=[f[1] for f in FAULTS]
)
@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_a_fault_in_a_short_way_is_found(module: str, old: str, new: str) -> None:
    """Each condition of a short way is needed."""
    search = plant_fault(module, old, new, PASSES_SEARCH)
    with pytest.raises(InvariantError):
        search.try_passes(4 * SEQUENCES)
