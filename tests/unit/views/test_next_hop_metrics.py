"""The metrics of next hops by choice."""

from __future__ import annotations

from anycastd.decision.pipeline import Inputs
from anycastd.evidence.sources import Evidence
from anycastd.views.metric_values import (
    Instants,
    MetricState,
    iter_service_facts,
    list_service_rows,
)
from support.watcher_world import FIRST, SECOND, THIRD, VIP, Watcher


def read(watcher: Watcher, name: str) -> dict[str, str]:
    """Return next hop -> its value, as text, since NaN is not equal to itself."""
    assert watcher.result is not None
    inputs = Inputs(Evidence(checks=dict(watcher.seen)))
    now = watcher.now
    state = MetricState(watcher.profile, inputs, watcher.result, now, now, Instants())
    rows = dict(list_service_rows(state, list(iter_service_facts(state))))[name]
    found = list(rows)
    assert {labels[:2] for labels, _ in found} == {("voip", VIP)}
    return {labels[2]: f"{value:g}" for labels, value in found}


def test_the_chosen_next_hop_is_1() -> None:
    """It moves to the one that serves, and none is chosen while the route is withdrawn."""
    watcher = Watcher().up()
    assert read(watcher, "service_next_hop") == {FIRST: "1", SECOND: "0", THIRD: "0"}
    watcher.set(c1=False)
    assert read(watcher, "service_next_hop") == {FIRST: "0", SECOND: "1", THIRD: "0"}
    watcher.set(c2=False, c3=False)
    assert read(watcher, "service_next_hop") == {FIRST: "0", SECOND: "0", THIRD: "0"}


def test_each_next_hop_says_whether_it_serves() -> None:
    """By what its own check finds now, whichever is chosen; NaN while that cannot be seen."""
    watcher = Watcher().up()
    watcher.set(c2=False, c3=None)
    assert read(watcher, "service_next_hop_serving") == {FIRST: "1", SECOND: "0", THIRD: "nan"}
