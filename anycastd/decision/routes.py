"""Decision -> wanted routes per neighbor.

N prepends are our own ASN N+1 times: ExaBGP's path list replaces the path, so an empty or foreign
path must never leave here (RFC 4271 section 5.1.2: the first AS is ours).
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from functools import lru_cache

from anycastd.bgp.route import Route, canonicalize
from anycastd.decision.levels import Level
from anycastd.profile.model import Neighbor, Profile, Service

GRACEFUL_SHUTDOWN = "65535:0"
"""The community that says that a route is about to go (RFC 8326)."""


def wanted_routes(
    profile: Profile, levels: Iterable[tuple[Service, Level]], leaving: Container[str] = ()
) -> tuple[Route, ...]:
    """Give the whole wanted set: each announced service's VIP for each neighbor, in order.

    ``leaving`` names the services that are being drained.
    """
    return tuple(
        each
        for service, level in levels
        if level is not Level.WITHDRAWN
        for each in _routes(profile, service, level, leaving=service.name in leaving)
    )


@lru_cache(maxsize=8192)  # each pass asks for all of them again
def _routes(
    profile: Profile, service: Service, level: Level, *, leaving: bool
) -> tuple[Route, ...]:
    return tuple(
        build_route(profile, service, level, neighbor, leaving=leaving)
        for neighbor in profile.bgp.neighbors
    )


def build_route(
    profile: Profile, service: Service, level: Level, neighbor: Neighbor, *, leaving: bool = False
) -> Route:
    """Give the route of ``service`` at ``level`` as ``neighbor`` is to hear it.

    ``leaving``: it is being drained, and a neighbor that honours RFC 8326 hears that too.
    Raises ValueError for a level that is not announced.
    """
    med, communities = service.med, service.communities
    if level is Level.DEGRADED:
        med = service.degraded.med if service.degraded.med is not None else med
        communities = service.degraded.communities or communities
    if neighbor.med is not None:
        med = neighbor.med
    if neighbor.communities is not None:
        communities = neighbor.communities
    if leaving and neighbor.graceful_shutdown:
        communities = (*communities, GRACEFUL_SHUTDOWN)
    next_hop = neighbor.next_hop or service.next_hop or neighbor.local_address
    path = (profile.bgp.local_as,) * path_length(service, level, neighbor)
    written = Route(str(neighbor.address), service.prefix, str(next_hop), path, med, communities)
    return canonicalize(written)  # so that it can be compared with what ExaBGP gives back


def wanted_path(profile: Profile, service: Service, level: Level) -> tuple[int, ...] | None:
    """Give the AS path of ``service`` at ``level``, without a neighbor's own prepends.

    Returns None where the level is not announced.
    """
    if level is Level.WITHDRAWN:
        return None
    return (profile.bgp.local_as,) * (1 + count_prepends(service, level))


def path_length(service: Service, level: Level, neighbor: Neighbor) -> int:
    """Give the length of the path of ``service`` at ``level`` as ``neighbor`` is to hear it."""
    return 1 + count_prepends(service, level) + neighbor.prepend


def count_prepends(service: Service, level: Level) -> int:
    """Give the number of prepends of ``service`` at ``level``, without a neighbor's own."""
    match level:
        case Level.PREFERRED:
            return service.prepend
        case Level.DEGRADED:
            return service.degraded.prepend
        case Level.STANDBY:
            return service.standby.prepend
        case Level.WITHDRAWN:
            raise ValueError("a withdrawn service has no path")


def index_by_prefix(held: Iterable[Route]) -> dict[str, list[Route]]:
    """Sort routes by their prefix, so that ``held_level`` need not look at all for each service."""
    found: dict[str, list[Route]] = {}
    for one in held:
        found.setdefault(one.prefix, []).append(one)
    return found


def leased_level(profile: Profile, service: Service, held: Iterable[Route]) -> Level:
    """Find the level at which ``held`` has the service: the lowest that any neighbor was told.

    A neighbor that was told nothing does not count: it may be new in this profile.  A path that is
    none of ours any more (the profile was changed) counts as the level whose path is nearest in
    length, so that a reload replaces it instead of withdrawing it first.
    """
    by_key = {each.key: each for each in held}  # not `route`: Python 3.12.3 takes it for the other
    levels: list[Level] = []
    for neighbor in profile.bgp.neighbors:
        found = by_key.get((str(neighbor.address), service.prefix))
        if found is None:
            continue
        announced = (Level.STANDBY, Level.DEGRADED, Level.PREFERRED)
        lengths = {level: path_length(service, level, neighbor) for level in announced}
        off = {level: abs(length - len(found.as_path)) for level, length in lengths.items()}
        levels.append(min(announced, key=lambda level: off[level]))
    return min(levels, default=Level.WITHDRAWN)
