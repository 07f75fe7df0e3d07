"""What each neighbor is to hear of a service at each level."""

from __future__ import annotations

import pytest

from anycastd.bgp.route import Route
from anycastd.decision.levels import Level
from anycastd.decision.routes import build_route, index_by_prefix, leased_level, wanted_routes
from support.profiles import profile


@pytest.mark.parametrize(
    ("level", "asns"), [(Level.PREFERRED, 1), (Level.DEGRADED, 4), (Level.STANDBY, 7)]
)
def test_a_path_is_our_own_asn_once_more_than_the_prepends(level: Level, asns: int) -> None:
    """ExaBGP's list replaces the path, so the whole path is written out."""
    its = profile()
    (first, second) = wanted_routes(its, [(its.services["web"], level)])
    assert first == Route("192.0.2.4", "203.0.113.10/32", "192.0.2.10", (65010,) * asns)
    assert second.neighbor == "192.0.2.5"


def test_withdrawn_is_nobody_s_route() -> None:
    """A withdrawn service is in no wanted set, and has no path to ask for."""
    its = profile()
    service = its.services["web"]
    assert wanted_routes(its, [(service, Level.WITHDRAWN)]) == ()
    with pytest.raises(ValueError, match="withdrawn"):
        build_route(its, service, Level.WITHDRAWN, its.bgp.neighbors[0])


def test_a_neighbor_s_own_settings_win() -> None:
    """Prepends are added, MED and communities replaced, for that neighbor alone."""
    its = profile(
        (
            "{address: 192.0.2.5, peer_as: 65515}",
            '{address: 192.0.2.5, peer_as: 65515, prepend: 1, med: 5, communities: ["65010:5"]}',
        ),
        ("prepend: 0", 'prepend: 0\n    med: 100\n    communities: ["65010:1"]'),
    )
    first, second = wanted_routes(its, [(its.services["web"], Level.PREFERRED)])
    assert (first.as_path, first.med, first.communities) == ((65010,), 100, ("65010:1",))
    assert second == Route(
        "192.0.2.5", "203.0.113.10/32", "192.0.2.10", (65010, 65010), 5, ("65010:5",)
    )


def test_degraded_may_say_it_with_med_and_communities_too() -> None:
    """Where the far side does not look at the path's length."""
    its = profile(
        ("degraded: {prepend: 3,", 'degraded: {prepend: 3, med: 900, communities: ["65010:9"],')
    )
    one = wanted_routes(its, [(its.services["web"], Level.DEGRADED)])[0]
    assert (one.med, one.communities) == (900, ("65010:9",))


def test_the_level_of_what_is_held_is_found_again() -> None:
    """Also where the profile's prepends were changed since: the nearest path."""
    its = profile()
    service = its.services["web"]
    for level in (Level.PREFERRED, Level.DEGRADED, Level.STANDBY):
        assert leased_level(its, service, wanted_routes(its, [(service, level)])) is level
    assert leased_level(its, service, ()) is Level.WITHDRAWN
    one_only = wanted_routes(its, [(service, Level.PREFERRED)])[:1]
    assert leased_level(its, service, one_only) is Level.PREFERRED, "the other one may be new"
    changed = profile(("prepend: 0", "prepend: 1"))
    before = wanted_routes(its, [(service, Level.PREFERRED)])
    assert leased_level(changed, changed.services["web"], before) is Level.PREFERRED


def test_routes_are_sorted_by_their_prefix() -> None:
    """So that with 1,000 services each looks at its own routes only."""
    its = profile()
    routes = wanted_routes(its, [(its.services["web"], Level.PREFERRED)])
    other = Route("192.0.2.4", "203.0.113.11/32", "192.0.2.10", (65010,))
    assert index_by_prefix((routes[0], other, routes[1])) == {
        "203.0.113.10/32": list(routes),
        "203.0.113.11/32": [other],
    }
