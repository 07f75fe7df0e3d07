"""A verdict by one answer is the verdict of the plain way, whatever the evidence."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycastd.decision.verdict import JoinedVerdict, TrueVerdict, judge_service
from anycastd.evidence.haproxy.servers import Override, Usable
from anycastd.evidence.haproxy.snapshot import (
    Backend,
    Frontend,
    Gone,
    Observation,
    Snapshot,
    Unreadable,
    Worker,
)
from anycastd.evidence.servers.refusals import ReachReport
from anycastd.evidence.sources import Evidence
from anycastd.profile.model import Profile
from support.profiles import profile
from support.snapshots import NO, UNPROVED, YES, server, snapshot

FAST, PLAIN = "anycastd.decision.verdict._find_true", "anycastd.decision.verdict._judge"
SERVE = "serve: {all: [{backend: web, usable: 1}, {frontend: web}]}"
HEALTHY = "healthy: {backend: web, usable: 50%}"
MAINTENANCE = (f"{HEALTHY}\n", f"{HEALTHY}\n    maintenance: {{map: /etc/m.map, key: web}}\n")
PROFILES = [
    profile(),
    profile(MAINTENANCE),
    profile(("ring: anycastd}", "ring: anycastd, deadline: 0.5}")),
    profile((HEALTHY, "")),
    profile((SERVE, "serve: {any: [{backend: web, usable: 2}, {frontend: web}]}")),
    profile(
        (SERVE, "serve: {any: [{all: [{frontend: web}, {backend: web, usable: 1}]}]}"),
        (HEALTHY, "healthy: {any: [{backend: b, usable: 1}, {backend: web, usable: 80%}]}"),
    ),
    profile((HEALTHY, "healthy: {backend: web, usable: 50%, by: weight}")),
    profile((SERVE, "serve: {backend: web, usable: 1, count_unchecked: true}")),
    profile((HEALTHY, "healthy: {frontend: web, sessions_below: 5}")),
    profile((HEALTHY, f"{HEALTHY}\n    self_test: {{tcp: 80}}")),
]


@st.composite
def looks(draw: st.DrawFn) -> Observation | None:
    """Draw what a look has found, or that there was none yet."""
    asked_at = draw(st.sampled_from((0.0, 1.0, 2.5, 3.0)))
    kind = draw(st.sampled_from(("answer",) * 6 + ("gone", "unreadable", "none")))
    if kind == "gone":
        return Gone(asked_at, "refused")
    if kind == "unreadable":
        return Unreadable(asked_at, asked_at - 1.0, draw(st.integers(1, 3)), "timed out")
    if kind == "none":
        return None
    usable = st.lists(st.sampled_from((YES, YES, YES, NO, UNPROVED)), max_size=4)
    frontend = Frontend("web", draw(st.integers(0, 4)) > 0, "OPEN", draw(st.integers(0, 6)))
    return Snapshot(
        asked_at,
        Worker(1, 9.0, stopping=False, version="2.6.12"),
        {name: make_backend(name, draw(usable)) for name in draw(st.sampled_from(BACKENDS))},
        {"web": frontend} if draw(st.integers(0, 4)) else {},
        entries=draw(st.sampled_from(ENTRIES)),
    )


ENTRIES: tuple[dict[tuple[str, str], str | None], ...] = (
    {},
    {("/etc/m.map", "web"): None},
    {("/etc/m.map", "web"): "on"},
)
BACKENDS = (("web",), ("web", "b"), ("web", "b"), ())


def make_backend(name: str, usable: list[Usable]) -> Backend:
    """Make a backend whose servers count so; every second one is not checked where unproved."""
    rows = [
        server(f"s{n}", each, checked=each is not UNPROVED or n % 2 == 0)
        for n, each in enumerate(usable)
    ]
    return Backend(name, "UP", tuple(rows))


REACHED = [
    {},
    {"main": ReachReport()},
    {"main": ReachReport({"web": {"s0": Override(NO, "refuses")}})},
    {"main": ReachReport({"b": {"s0": Override(NO, "refuses")}})},
]


@given(
    st.sampled_from(PROFILES),
    looks(),
    st.sampled_from(REACHED),
    st.sampled_from((3.0, 3.1, 3.499, 3.5, 4.0, 5.5, 5.999, 6.0, 6.001, 60.0)),
)
@settings(max_examples=400, deadline=None)
def test_both_ways_find_the_same(
    its: Profile, look: Observation | None, reached: dict[str, ReachReport], now: float
) -> None:
    """All fields are equal, also where an answer is as old as its deadline."""
    evidence = Evidence({} if look is None else {"main": look}, reached=reached)
    found = judge_service(its, its.services["web"], evidence, now)
    with patch(FAST, return_value=None):
        plain = judge_service(its, its.services["web"], evidence, now)
    assert isinstance(plain, JoinedVerdict)
    assert plain == (found.join() if isinstance(found, TrueVerdict) else found)


def test_a_usual_pass_takes_the_fast_way() -> None:
    """Where all rules are true nothing else is called; so the property above is about it."""
    evidence = Evidence({"main": snapshot(YES, YES, asked_at=0.0)})
    for its in PROFILES[:2]:
        with patch(PLAIN, side_effect=AssertionError("the plain way")):
            found = judge_service(its, its.services["web"], evidence, 2.9)
            assert found.serve.truth
            assert found.changes_at == 3.0
            with pytest.raises(AssertionError, match="the plain way"):
                judge_service(its, its.services["web"], evidence, 3.0)
