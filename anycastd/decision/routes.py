"""Build the wanted routes from the levels, and find the level of leased routes (pure).

ExaBGP announces the AS path exactly as it is written here.  So over eBGP a path with N prepends is
our own ASN N+1 times.  It must never be empty or begin with another ASN: RFC 4271 section 5.1.2
wants the speaker's own ASN first.

Over iBGP the path is empty (the same section), and a router drops a path with its own ASN as a loop
(section 9.1.2).  So there the level is a local preference, and N prepends lower it by N.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from functools import lru_cache
from typing import NamedTuple

from anycastd.bgp.negotiated import name_family
from anycastd.bgp.route import USUAL_LOCAL_PREF, Route, canonicalize_route
from anycastd.decision.levels import Level
from anycastd.profile.model import Bgp, Neighbor, Profile, Service

_WITHDRAWN = Level.WITHDRAWN  # looking up a member is slow in Python 3.11

GRACEFUL_SHUTDOWN = "65535:0"
"""The community of a route that is about to be withdrawn (GRACEFUL_SHUTDOWN, RFC 8326)."""


class Announced(NamedTuple):
    """A service at its level, with what its route has by choice.

    ``next_hop`` (an address) and ``med`` are None where the profile alone says them.
    """

    service: Service
    level: Level
    next_hop: str | None = None
    med: int | None = None


def build_wanted_routes(
    profile: Profile, announced: Iterable[Announced], draining: Container[str] = ()
) -> tuple[Route, ...]:
    """Build all wanted routes: each announced service's VIP for each neighbor, in this order.

    A neighbor gets the VIPs of its address families only.  ``draining``: the names of the services
    that a drain covers.  Raises ValueError where the profile has a value that is not valid in a
    route; a validated profile has none.
    """
    found: list[Route] = []
    for one in announced:
        if one.level is not _WITHDRAWN:
            found += _routes(profile.bgp, one, one.service.name in draining)
    return tuple(found)


# By the part of the profile that they need: two whole profiles that are alike, as in a reload,
# would be compared with each other for each service.
@lru_cache(maxsize=8192)
def _routes(bgp: Bgp, announced: Announced, draining: bool) -> tuple[Route, ...]:
    family = name_family(announced.service.prefix)
    return tuple(
        build_route(bgp, announced, neighbor, draining=draining)
        for neighbor in bgp.neighbors
        if family in neighbor.families
    )


def build_route(
    bgp: Bgp, announced: Announced, neighbor: Neighbor, *, draining: bool = False
) -> Route:
    """Build the route of a service at a level for one neighbor.

    A next hop by choice comes before that of the neighbor.  A MED by choice is that of the service:
    the one of the level degraded, and the one of the neighbor, come before it.  ``draining``: a
    drain covers the service, so a neighbor with `graceful_shutdown` gets the community of RFC 8326,
    too.  Raises ValueError for the level WITHDRAWN, and where the profile has a value that is not
    valid in a route.
    """
    service, level, chosen, med = announced
    med, communities = service.med if med is None else med, service.communities
    if level is Level.DEGRADED:
        med = service.degraded.med if service.degraded.med is not None else med
        communities = service.degraded.communities or communities
    if neighbor.med is not None:
        med = neighbor.med
    if neighbor.communities is not None:
        communities = neighbor.communities
    if draining and neighbor.graceful_shutdown:
        communities = (*communities, GRACEFUL_SHUTDOWN)
    next_hop = chosen or neighbor.next_hop or service.next_hop or neighbor.local_address
    path = (bgp.local_as,) * compute_path_length(service, level, neighbor)
    local_pref = compute_local_pref(service, level, neighbor)
    written = Route(
        str(neighbor.address), service.prefix, str(next_hop), path, med, communities, local_pref
    )
    return canonicalize_route(written)  # so that it can be compared with what ExaBGP reports


def build_wanted_path(profile: Profile, service: Service, level: Level) -> tuple[int, ...] | None:
    """Build the AS path of ``service`` at ``level``, without the prepends of a neighbor.

    It is empty where all neighbors are iBGP ones.  Returns None for the level WITHDRAWN.
    """
    if level is Level.WITHDRAWN:
        return None
    if all(neighbor.internal for neighbor in profile.bgp.neighbors):
        return ()
    return (profile.bgp.local_as,) * (1 + count_prepends(service, level))


def find_wanted_local_pref(profile: Profile, service: Service, level: Level) -> int | None:
    """Find the local preference of ``service`` at ``level``, without the prepends of a neighbor.

    Returns None for the level WITHDRAWN, and where no neighbor is an iBGP one.
    """
    inside = any(neighbor.internal for neighbor in profile.bgp.neighbors)
    return _local_pref(service, level) if inside and level is not Level.WITHDRAWN else None


def compute_path_length(service: Service, level: Level, neighbor: Neighbor) -> int:
    """Compute the length (ASNs) of the AS path of ``service`` at ``level`` for one neighbor.

    Over iBGP it is 0.  Raises ValueError for the level WITHDRAWN.
    """
    if neighbor.internal:
        return 0
    return 1 + count_prepends(service, level) + neighbor.prepend


def compute_local_pref(service: Service, level: Level, neighbor: Neighbor) -> int | None:
    """Compute the local preference of ``service`` at ``level`` for one neighbor; None over eBGP.

    It is the profile's where it has one for the level.  Otherwise it is that of the level
    preferred, less one for each prepend more; by default that is 100 less its prepends.  A
    neighbor's own prepends are taken off.  Raises ValueError for the level WITHDRAWN.
    """
    return _lower(_local_pref(service, level), neighbor) if neighbor.internal else None


def _lower(local_pref: int, neighbor: Neighbor) -> int:
    return max(0, local_pref - neighbor.prepend)


def _local_pref(service: Service, level: Level) -> int:
    own = {
        Level.PREFERRED: service.local_pref,
        Level.DEGRADED: service.degraded.local_pref,
        Level.STANDBY: service.standby.local_pref,
    }.get(level)
    if own is not None:
        return own
    top = service.local_pref
    if top is None:
        top = USUAL_LOCAL_PREF - service.prepend
    return max(0, top - (count_prepends(service, level) - service.prepend))


def count_prepends(service: Service, level: Level) -> int:
    """Return the number of prepends of ``service`` at ``level``, without those of a neighbor.

    Raises ValueError for the level WITHDRAWN.
    """
    match level:
        case Level.PREFERRED:
            return service.prepend
        case Level.DEGRADED:
            return service.degraded.prepend
        case Level.STANDBY:
            return service.standby.prepend
        case Level.WITHDRAWN:
            raise ValueError("a withdrawn service has no path")


def index_by_prefix(leased: Iterable[Route]) -> dict[str, list[Route]]:
    """Group leased routes by prefix: prefix -> its routes.

    So `find_leased_level` has to search the routes of one service only.
    """
    found: dict[str, list[Route]] = {}
    for one in leased:
        found.setdefault(one.prefix, []).append(one)
    return found


def find_leased_level(profile: Profile, service: Service, leased: Iterable[Route]) -> Level:
    """Find the level of a service's leased routes: the lowest of all neighbors.

    Returns WITHDRAWN where it has none.  A neighbor without a route does not count, because it may
    be new in this profile.  If a path has the length of no level, because the profile was changed,
    the level with the nearest length counts (over iBGP, with the nearest local preference): so a
    reload replaces the route and does not withdraw it first.
    """
    # Not named `route` here: Python 3.12.3 takes that for another variable.
    by_key = {each.key: each for each in leased}
    levels: list[Level] = []
    for neighbor in profile.bgp.neighbors:
        found = by_key.get((str(neighbor.address), service.prefix))
        if found is None:
            continue
        announced = (Level.STANDBY, Level.DEGRADED, Level.PREFERRED)
        off = {level: _measure_distance(service, level, neighbor, found) for level in announced}
        levels.append(min(announced, key=lambda level: off[level]))
    return min(levels, default=Level.WITHDRAWN)


def _measure_distance(service: Service, level: Level, neighbor: Neighbor, found: Route) -> int:
    """Return how far a leased route is from that of ``level``: in ASNs, or in local preference."""
    if found.local_pref is not None:
        return abs(_lower(_local_pref(service, level), neighbor) - found.local_pref)
    length = 1 + count_prepends(service, level) + neighbor.prepend
    return abs(length - len(found.as_path))


def find_leased_choice(
    profile: Profile, service: Service, leased: Iterable[Route]
) -> tuple[str | None, int | None]:
    """Find the next hop and the MED by choice of a service's leased routes; None for none.

    Neighbors that differ are in the middle of a change: the first one counts.
    """
    hops = {str(each.address) for each in service.next_hops}
    steps = () if service.med_steps is None else service.med_steps.steps
    own_med = {str(each.address) for each in profile.bgp.neighbors if each.med is not None}
    next_hop = next((each.next_hop for each in leased if each.next_hop in hops), None)
    med = next(
        (each.med for each in leased if each.med in steps and each.neighbor not in own_med), None
    )
    return next_hop, med
