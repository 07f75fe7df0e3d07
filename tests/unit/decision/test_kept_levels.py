"""A new agent with another profile begins at the level that the agent before it had."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycastd.decision.kept_levels import group_levels, read_levels
from anycastd.decision.levels import Level
from anycastd.decision.lowering import find_lowerings
from anycastd.decision.pipeline import Inputs, LeaseView, PassResult, VipState, advance
from anycastd.decision.routes import Announced, build_wanted_routes
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import Levels, Report, Want
from anycastd.profile.model import Profile
from anycastd.views.reload_plan import plan_reload
from support.lease_rig import LeaseRig, reports_in
from support.policy_driver import view
from support.profiles import profile
from support.snapshots import NO, YES, snapshot

VIP = "203.0.113.10/32"
PREFERRED, DEGRADED, STANDBY = Level.PREFERRED, Level.DEGRADED, Level.STANDBY
LEVELS = (PREFERRED, DEGRADED, STANDBY)


def build_profile(
    prepends: tuple[int, int, int], own: int = 0, med: int = 0, community: int = 1, hop: int = 10
) -> Profile:
    """Build a profile with these prepends (preferred, degraded, standby).

    ``own``: those of the first neighbor.  ``med``, ``community`` and ``hop`` (the last number of
    the next hop's address) are those of the service.
    """
    first, degraded, standby = prepends
    communities = f'    communities: ["65010:{community}"]'
    neighbor = "{address: 192.0.2.4, peer_as: 65515"
    return profile(
        (
            "    prepend: 0",
            f"    prepend: {first}\n    med: {med}\n    next_hop: 192.0.2.{hop}\n{communities}",
        ),
        ("degraded: {prepend: 3", f"degraded: {{prepend: {degraded}"),
        ("standby: {prepend: 6", f"standby: {{prepend: {standby}"),
        (neighbor, f"{neighbor}, prepend: {own}"),
    )


def announce(its: Profile, level: Level) -> LeaseView:
    """Return what a real lease reports of an agent that has the profile ``its`` at ``level``."""
    rig = LeaseRig()
    routes = build_wanted_routes(its, [Announced(its.services["web"], level)])
    line = Want(1, 5.0, routes, 1, 7, levels={level.label: (VIP,)}).dump()
    last = next(it for it in reports_in(rig.send(1, line)) if it.leased)
    report = Report.load(last.dump())
    assert report.leased is not None
    return replace(view(*report.leased), levels=report.levels)


def gather(level: Level) -> Evidence:
    """Return evidence that agrees with a level."""
    servers = (YES, NO, NO) if level is DEGRADED else (YES, YES)
    return Evidence({"main": snapshot(*servers, asked_at=0.0)})


def take_over(its: Profile, level: Level, lease: LeaseView) -> PassResult:
    """Run the first pass of a new agent."""
    return advance(its, {}, Inputs(gather(level), {VIP: VipState(True)}, lease), 0.0)


def test_lower_prepends_are_no_lower_level() -> None:
    """Of 2, 3 and 6 prepends to 0, 3 and 6: the route with 2 is not taken for the one with 3."""
    old, new = build_profile((2, 3, 6)), build_profile((0, 3, 6))
    lease, looks = announce(old, PREFERRED), gather(PREFERRED)
    assert lease.leased is not None
    step = take_over(new, PREFERRED, lease)
    assert step.transitions == ()
    assert [len(route.as_path) for route in step.wanted or ()] == [1, 1]
    assert find_lowerings((old, looks), (new, looks), lease.leased, lease.levels) == ()
    plan = plan_reload(old, new, lease.leased, (), (), lease.levels)
    assert [route.change.partition(" (")[2].partition(")")[0] for route in plan.routes] == [
        "preferred",
        "preferred",
    ]


def test_without_levels_the_nearest_path_counts() -> None:
    """An older lease process or agent says none: so it is, and the check of a reload says so."""
    old, new = build_profile((2, 3, 6)), build_profile((0, 3, 6))
    looks = gather(PREFERRED)
    silent = replace(announce(old, PREFERRED), levels=None)
    assert silent.leased is not None
    assert take_over(new, PREFERRED, silent).decisions["web"].level is DEGRADED
    (found,) = find_lowerings((old, looks), (new, looks), silent.leased)
    assert (found.before, found.after) == (PREFERRED, DEGRADED)


PREPENDS = st.lists(st.integers(0, 9), min_size=3, max_size=3, unique=True).map(sorted)
PROFILES = st.builds(
    build_profile,
    PREPENDS.map(tuple),
    own=st.integers(0, 3),
    med=st.integers(0, 2),
    community=st.integers(1, 3),
    hop=st.sampled_from((10, 11)),
)


@settings(max_examples=80, deadline=None)
@given(PROFILES, PROFILES, st.sampled_from(LEVELS))
def test_whatever_a_profile_changes_the_level_stays(
    old: Profile, new: Profile, level: Level
) -> None:
    """Other prepends, MEDs, communities and next hops: one new route for each neighbor."""
    lease = announce(old, level)
    step = take_over(new, level, lease)
    assert (step.decisions["web"].level, step.transitions) == (level, ())
    assert step.wanted == build_wanted_routes(new, [Announced(new.services["web"], level)])
    assert group_levels(new, step.decisions) == {level.label: (VIP,)}
    looks = gather(level)
    assert not find_lowerings((old, looks), (new, looks), lease.leased or (), lease.levels)


@pytest.mark.parametrize("level", LEVELS)
def test_levels_alone_announce_nothing(level: Level) -> None:
    """Without a route on the lease there is nothing to adopt, whatever is said."""
    step = take_over(build_profile((0, 3, 6)), level, replace(view(), levels={level.label: (VIP,)}))
    assert step.decisions["web"].level is Level.WITHDRAWN
    assert step.wanted == ()


@pytest.mark.parametrize("level", LEVELS)
def test_levels_are_no_proof(level: Level) -> None:
    """What the evidence disproves is withdrawn in the first pass."""
    its = build_profile((0, 3, 6))
    inputs = Inputs(
        Evidence({"main": snapshot(NO, NO, asked_at=0.0)}),
        {VIP: VipState(True)},
        announce(its, level),
    )
    assert advance(its, {}, inputs, 0.0).wanted == ()


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"standby": (VIP,), "preferred": (VIP,)}, {VIP: STANDBY}),
        ({"preferred": (VIP,), "standby": (VIP,)}, {VIP: STANDBY}),
        ({"of a later release": (VIP,)}, {}),
        ({"withdrawn": (VIP,)}, {}),
    ],
    ids=["nothing", "none", "lowest-first", "lowest-last", "unknown", "withdrawn"],
)
def test_what_cannot_be_known_is_not_raised(
    levels: Levels | None, expected: dict[str, Level]
) -> None:
    """Of two levels the lowest counts, and a name that is not known says nothing."""
    assert read_levels(levels) == expected
