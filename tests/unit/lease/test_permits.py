"""The speaker's own list of routes: what is not on it is not announced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycastd.bgp.route import Route
from anycastd.lease.adj_rib_out import MAX_UNLISTED
from anycastd.lease.permits import PermittedRoutes, RouteList, group_routes
from support.lease_rig import PEERS, VIPS, LeaseRig, reports_in, route, want

LISTED = [route(vip, peer, asns) for vip in VIPS for peer in PEERS for asns in (1, 4)]


def build_rig(*listed: Route) -> LeaseRig:
    """Build a lease that has a list of routes."""
    rig = LeaseRig()
    set_list(rig, *listed)
    return rig


def set_list(rig: LeaseRig, *listed: Route) -> None:
    """Give a lease another list."""
    routes = RouteList(group_routes(listed), 65010)
    rig.lease.settings = replace(rig.lease.settings, routes=routes)


def test_a_list_permits_its_routes_and_no_other() -> None:
    """The form in the file is short, and nothing is lost in it."""
    rich = replace(route(), med=5, communities=("65010:1", "65010:1:2"))
    permitted = group_routes([*LISTED, rich])
    assert len(permitted) == 3
    assert tuple(PermittedRoutes.load(each.dump()) for each in permitted) == permitted
    one = RouteList(permitted, 65010)
    assert all(map(one.permits, [*LISTED, rich]))
    for other in (
        route(asns=5),
        replace(route(), next_hop="192.0.2.11"),
        replace(route(), med=5),
        replace(rich, communities=("65010:1",)),
        replace(route(), as_path=(64999,)),
        replace(route(asns=4), as_path=(65010, 65010, 64999, 65010)),
        route(neighbor="192.0.2.6"),
        route("198.51.100.0/24"),
    ):
        assert not one.permits(other)


def test_a_list_without_local_preferences_is_written_as_before() -> None:
    """Its hash tells whether a speaker of an older release runs the same profile."""
    (dumped,) = (each.dump() for each in group_routes([route(), route(asns=4)]))
    assert dumped["attributes"] == [{"shortest": 1, "longest": 4, "med": None, "communities": []}]


def test_a_route_for_ibgp_is_on_the_list_or_is_not_announced() -> None:
    """Its local preference counts, and an empty path is permitted nowhere else."""
    inside = [replace(route(), as_path=(), local_pref=value) for value in (100, 94)]
    permitted = group_routes(inside)
    assert tuple(PermittedRoutes.load(each.dump()) for each in permitted) == permitted
    rig = build_rig(*inside)
    for serial, wanted in enumerate(inside, 1):
        rig.send(1, want(serial, wanted))
        assert rig.exabgp.rib == {route().key: wanted}
    for serial, other in enumerate((replace(inside[0], local_pref=200), route()), 3):
        done = rig.send(1, want(serial, other))
        assert rig.exabgp.rib == {route().key: inside[1]}
        assert "no route with next hop" in reports_in(done)[-1].problems[0]
    rig = LeaseRig()
    assert rig.lease.settings.routes is None, "as with the file of an older release"
    rig.send(1, want(1, inside[0]))
    assert not rig.exabgp.rib


@pytest.mark.parametrize(("wanted", "stays"), [(50, False), (200, True)])
def test_a_route_for_ibgp_stays_only_if_it_attracts_no_more(*, wanted: int, stays: bool) -> None:
    """A higher local preference than the wanted one is withdrawn, as a shorter path is."""
    inside = replace(route(), as_path=(), local_pref=100)
    rig = build_rig(inside)
    rig.send(1, want(1, inside))
    serial = 1
    while rig.now < 100 + MAX_UNLISTED + 5:
        serial += 1
        rig.send(1, want(serial, replace(inside, local_pref=wanted)))
        rig.advance(1.0)
    assert bool(rig.exabgp.rib) is stays


def test_what_is_not_listed_is_left_out() -> None:
    """The others are announced; the report says what is wrong."""
    rig = build_rig(*LISTED)
    bad = replace(route(), next_hop="198.51.100.9")
    done = rig.send(1, want(1, bad, route(VIPS[1])))
    assert list(rig.exabgp.rib.values()) == [route(VIPS[1])]
    (problem,) = reports_in(done)[-1].problems
    assert "no route with next hop 198.51.100.9, 1 ASNs, no MED, 0 communities" in problem


def test_a_reload_is_one_change() -> None:
    """A new path is not on the list yet: the old one stays until the speaker has taken it over.

    A path between two that are on it needs no list.
    """
    rig = build_rig(*LISTED)
    rig.send(1, want(1, route()))
    rig.exabgp.received.clear()
    rig.send(1, want(2, route(asns=6)))
    assert not rig.exabgp.received
    set_list(rig, *LISTED, route(asns=6))
    rig.send(1, want(3, route(asns=6)))
    assert rig.exabgp.rib == {route().key: route(asns=6)}
    set_list(rig, *LISTED)
    rig.send(1, want(4, route(asns=3)))
    assert rig.exabgp.rib == {route().key: route(asns=3)}


@pytest.mark.parametrize(("asns", "stays"), [(1, True), (5, False)], ids=["shorter", "longer"])
def test_what_stays_is_bounded(*, asns: int, stays: bool) -> None:
    """After some time only a route stays that is no shorter than the one that is wanted."""
    rig = build_rig(*LISTED)
    rig.send(1, want(1, route(asns=4)))
    serial = 1
    while rig.now < 100 + MAX_UNLISTED + 5:
        serial += 1
        rig.send(1, want(serial, replace(route(asns=asns), med=7)))
        assert rig.exabgp.rib or rig.now > 100 + MAX_UNLISTED - 2
        rig.advance(1.0)
    assert bool(rig.exabgp.rib) is stays
    rig.send(1, want(serial + 1))
    assert not rig.exabgp.rib, "what nobody wants goes at once"


def test_the_lease_ends_what_stays() -> None:
    """It is renewed like any other route."""
    rig = build_rig(*LISTED)
    rig.send(1, want(1, route()))
    rig.send(1, want(2, replace(route(), med=7)))
    assert rig.exabgp.rib
    rig.advance(5.1)
    assert not rig.exabgp.rib


def test_two_profiles_are_one_list() -> None:
    """Both permit what they permit alone, also of one prefix."""
    one, other = route(asns=2), replace(route(asns=4), med=7)
    both = RouteList((*group_routes([one]), *group_routes([other, route(asns=3)])), 65010)
    assert all(both.permits(each) for each in (one, other, route(asns=3)))
    assert not both.permits(route(asns=4))
    assert not both.permits(replace(one, med=7))
