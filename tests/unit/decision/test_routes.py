"""The route that each neighbor gets for a service at each level."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from anycastd.bgp.route import Route
from anycastd.decision.levels import Level
from anycastd.decision.routes import (
    Announced,
    build_route,
    build_wanted_routes,
    find_leased_level,
    index_by_prefix,
)
from anycastd.profile.model import Profile
from support.profiles import profile


@pytest.mark.parametrize(
    ("level", "asns"), [(Level.PREFERRED, 1), (Level.DEGRADED, 4), (Level.STANDBY, 7)]
)
def test_a_path_is_our_own_asn_once_more_than_the_prepends(level: Level, asns: int) -> None:
    """ExaBGP announces the path as it is given, so the whole path is written."""
    web_profile = profile()
    (first, second) = build_wanted_routes(
        web_profile, [Announced(web_profile.services["web"], level)]
    )
    assert first == Route("192.0.2.4", "203.0.113.10/32", "192.0.2.10", (65010,) * asns)
    assert second.neighbor == "192.0.2.5"


IBGP = ("{address: 192.0.2.4, peer_as: 65515}", "{address: 192.0.2.4, peer_as: 65010}")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((), (100, 97, 94)),
        ((("prepend: 0", "prepend: 1"),), (99, 97, 94)),
        ((("prepend: 0", "prepend: 0\n    local_pref: 200"),), (200, 197, 194)),
        ((("{prepend: 6,", "{local_pref: 10, prepend: 6,"),), (100, 97, 10)),
        ((("peer_as: 65010}", "peer_as: 65010, prepend: 2}"),), (98, 95, 92)),
    ],
    ids=["usual", "prepended", "service", "standby", "neighbor"],
)
def test_over_ibgp_a_level_is_a_local_preference(
    changes: tuple[tuple[str, str], ...], expected: tuple[int, ...]
) -> None:
    """The path is empty; without a value of its own each prepend of the level takes off one.

    The other neighbor, an eBGP one, gets what it got before.
    """
    web_profile = profile(IBGP, *changes)
    service = web_profile.services["web"]
    for level, local_pref in zip(
        (Level.PREFERRED, Level.DEGRADED, Level.STANDBY), expected, strict=True
    ):
        first, second = routes = build_wanted_routes(web_profile, [Announced(service, level)])
        assert (first.as_path, first.local_pref) == ((), local_pref)
        assert second.as_path
        assert second.local_pref is None
        assert find_leased_level(web_profile, service, routes[:1]) is level


def test_a_neighbor_that_becomes_an_ebgp_one_keeps_its_level() -> None:
    """The local preference of what is leased still tells the level, and so does a path after it."""
    inside, outside = profile(IBGP), profile()
    for level in (Level.PREFERRED, Level.DEGRADED, Level.STANDBY):
        for before, after in ((inside, outside), (outside, inside)):
            leased = build_wanted_routes(before, [Announced(before.services["web"], level)])[:1]
            assert find_leased_level(after, after.services["web"], leased) is level


def test_withdrawn_is_nobody_s_route() -> None:
    """A withdrawn service is not among the wanted routes, and has no path."""
    web_profile = profile()
    service, bgp = web_profile.services["web"], web_profile.bgp
    assert build_wanted_routes(web_profile, [Announced(service, Level.WITHDRAWN)]) == ()
    with pytest.raises(ValueError, match="withdrawn"):
        build_route(bgp, Announced(service, Level.WITHDRAWN), bgp.neighbors[0])


def test_a_neighbor_s_own_settings_win() -> None:
    """Prepends are added, MED and communities replaced, for that neighbor only."""
    web_profile = profile(
        (
            "{address: 192.0.2.5, peer_as: 65515}",
            '{address: 192.0.2.5, peer_as: 65515, prepend: 1, med: 5, communities: ["65010:5"]}',
        ),
        ("prepend: 0", 'prepend: 0\n    med: 100\n    communities: ["65010:1"]'),
    )
    first, second = build_wanted_routes(
        web_profile, [Announced(web_profile.services["web"], Level.PREFERRED)]
    )
    assert (first.as_path, first.med, first.communities) == ((65010,), 100, ("65010:1",))
    assert second == Route(
        "192.0.2.5", "203.0.113.10/32", "192.0.2.10", (65010, 65010), 5, ("65010:5",)
    )


def test_degraded_may_say_it_with_med_and_communities_too() -> None:
    """For networks that ignore the length of the path."""
    web_profile = profile(
        ("degraded: {prepend: 3,", 'degraded: {prepend: 3, med: 900, communities: ["65010:9"],')
    )
    one = build_wanted_routes(
        web_profile, [Announced(web_profile.services["web"], Level.DEGRADED)]
    )[0]
    assert (one.med, one.communities) == (900, ("65010:9",))


def test_the_level_of_what_is_held_is_found_again() -> None:
    """Also if the profile's prepends have changed since: the level with the nearest length."""
    web_profile = profile()
    service = web_profile.services["web"]
    for level in (Level.PREFERRED, Level.DEGRADED, Level.STANDBY):
        assert (
            find_leased_level(
                web_profile, service, build_wanted_routes(web_profile, [Announced(service, level)])
            )
            is level
        )
    assert find_leased_level(web_profile, service, ()) is Level.WITHDRAWN
    one_only = build_wanted_routes(web_profile, [Announced(service, Level.PREFERRED)])[:1]
    assert find_leased_level(web_profile, service, one_only) is Level.PREFERRED, (
        "the other one may be new"
    )
    changed = profile(("prepend: 0", "prepend: 1"))
    before = build_wanted_routes(web_profile, [Announced(service, Level.PREFERRED)])
    assert find_leased_level(changed, changed.services["web"], before) is Level.PREFERRED


def test_routes_are_sorted_by_their_prefix() -> None:
    """So that with 1,000 services each search covers the routes of one service."""
    web_profile = profile()
    routes = build_wanted_routes(
        web_profile, [Announced(web_profile.services["web"], Level.PREFERRED)]
    )
    other = Route("192.0.2.4", "203.0.113.11/32", "192.0.2.10", (65010,))
    assert index_by_prefix((routes[0], other, routes[1])) == {
        "203.0.113.10/32": list(routes),
        "203.0.113.11/32": [other],
    }


def test_profiles_that_are_alike_are_not_compared_for_each_route() -> None:
    """Comparing two of 1,000 services takes milliseconds, and a pass asks for 1,000 routes."""
    old, new = profile(), profile(("after: 1}", "after: 2}"))
    with patch.object(Profile, "__eq__", side_effect=AssertionError("two profiles are compared")):
        for its in (old, new, old, new):
            announced = [Announced(its.services["web"], Level.PREFERRED)]
            assert len(build_wanted_routes(its, announced)) == len(its.bgp.neighbors)
