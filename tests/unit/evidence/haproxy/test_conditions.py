from __future__ import annotations

import math
from dataclasses import replace

import pytest

from anycastd.evidence.finding import RuleRef, Truth
from anycastd.evidence.haproxy.conditions import BELIEVE_WITNESS_FOR, evaluate_rule
from anycastd.evidence.haproxy.snapshot import Unreadable
from anycastd.profile.conditions import FrontendRule
from anycastd.profile.model import Instance
from anycastd.reasons import Reason
from support.snapshots import snapshot

DEADLINE = 3.0
INSTANCE = Instance("main", "/run/haproxy/anycastd.sock", "anycastd", DEADLINE, 0.25)
REF = RuleRef("web", ("serve",), "main", "frontend web is open")
RULE = FrontendRule("main", "web")


def truth_at(now: float, *, heard_at: float | None, missed: int = 9) -> Truth:
    """Evaluate a rule at ``now`` on a HAProxy that has not answered since 100 s of own time."""
    look = Unreadable(now - 0.1, 100.0, missed, "no answer", Reason.HAPROXY_LIMIT, heard_at)
    found = evaluate_rule(REF, RULE, INSTANCE, look, now)
    assert found.reason is Reason.HAPROXY_LIMIT
    if found.truth is Truth.UNKNOWN:
        assert found.changes_at is None or found.changes_at > now
    return found.truth


@pytest.mark.parametrize(
    ("heard_at", "false_from"),
    [
        (None, 103.0),
        (-math.inf, 103.0),
        (99.9, 103.0),
        (101.0, 104.0),
        (130.0, 133.0),
        (156.5, 159.5),
        (157.5, 100.0 + BELIEVE_WITNESS_FOR),
        (500.0, 100.0 + BELIEVE_WITNESS_FOR),
    ],
)
def test_a_witness_is_believed_for_a_bounded_time(
    heard_at: float | None, false_from: float
) -> None:
    """Silence is false `deadline` after HAProxy's last word, and after 60 s whatever it says."""
    assert truth_at(false_from - 0.01, heard_at=heard_at) is Truth.UNKNOWN
    assert truth_at(false_from, heard_at=heard_at) is Truth.FALSE


def test_one_missed_look_is_never_enough() -> None:
    """The deadline counts together with a second miss only."""
    assert truth_at(200.0, heard_at=None, missed=1) is Truth.UNKNOWN


@pytest.mark.parametrize(("deadline", "counts_for"), [(0.3, 1.0), (1.0, 1.0), (1.5, 1.5)])
def test_an_answer_counts_for_a_second_at_least(deadline: float, counts_for: float) -> None:
    """A look that the agent is late with is no silence of HAProxy's; silence has the deadline."""
    instance = replace(INSTANCE, deadline=deadline)
    for late, reason in ((-0.01, Reason.SERVING), (0.0, Reason.EVIDENCE_STALE)):
        look, now = snapshot(asked_at=100.0), 100.0 + counts_for + late
        assert evaluate_rule(REF, RULE, instance, look, now).reason is reason
    silent = Unreadable(100.0, 100.0, 2, "no answer", Reason.HAPROXY_SILENT)
    found = evaluate_rule(REF, RULE, instance, silent, 100.0 + deadline - 0.01)
    assert found.truth is Truth.UNKNOWN
    found = evaluate_rule(REF, RULE, instance, silent, 100.0 + deadline)
    assert found.truth is Truth.FALSE
