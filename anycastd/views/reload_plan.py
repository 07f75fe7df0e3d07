"""Compare two profiles: which sessions and routes a reload would change (pure)."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import Enum

from anycastd.bgp.route import Route
from anycastd.decision.kept_levels import find_adopted_level, read_levels
from anycastd.decision.levels import Level
from anycastd.decision.routes import (
    Announced,
    build_wanted_routes,
    find_leased_choice,
    index_by_prefix,
)
from anycastd.lease.messages import Levels
from anycastd.profile.model import Neighbor, Profile, Service


class SessionChange(Enum):
    """Change of a BGP session by a reload; the values are printed.

    RESETS: the session closes and is opened anew.
    """

    STAYS = "stays"
    ADDED = "added"
    REMOVED = "removed"
    RESETS = "resets"


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What a reload does with the session to ``neighbor`` (its address).

    ``detail`` says why the session resets, or is empty.
    """

    neighbor: str
    change: SessionChange
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What a reload does with a route of ``service`` (its name) for ``vip`` (its prefix).

    ``change`` is a text for operators.
    """

    service: str
    vip: str
    change: str


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """What a reload does.

    ``sessions`` has every neighbor, ``routes`` only what changes, ``notes`` further texts.
    """

    sessions: tuple[SessionPlan, ...]
    routes: tuple[RoutePlan, ...]
    notes: tuple[str, ...]


def plan_reload(
    old: Profile,
    new: Profile,
    leased: Iterable[Route],
    up: Iterable[str],
    draining: Container[str] = (),
    levels: Levels | None = None,
) -> ReloadPlan:
    """Compare the profile that runs with one that could run.

    ``leased``: the routes on the lease now, with their ``levels``.  ``up``: addresses of the
    neighbors whose sessions are up.  ``draining``: names of the services that a drain covers.
    """
    sessions = tuple(_plan_sessions(old, new))
    routes = tuple(_plan_routes(old, new, tuple(leased), draining, read_levels(levels)))
    return ReloadPlan(sessions, routes, tuple(_collect_notes(old, new, sessions, up)))


def _plan_sessions(old: Profile, new: Profile) -> Iterator[SessionPlan]:
    before = {str(neighbor.address): neighbor for neighbor in old.bgp.neighbors}
    after = {str(neighbor.address): neighbor for neighbor in new.bgp.neighbors}
    for address, neighbor in after.items():
        if address not in before:
            yield SessionPlan(address, SessionChange.ADDED)
            continue
        detail = ", ".join(_find_differences(old, before[address], new, neighbor))
        yield SessionPlan(address, SessionChange.RESETS if detail else SessionChange.STAYS, detail)
    for address in before:
        if address not in after:
            yield SessionPlan(address, SessionChange.REMOVED)


def _find_differences(
    old: Profile, before: Neighbor, new: Profile, after: Neighbor
) -> Iterator[str]:
    """Yield the parameters that differ and that cannot change while the session is up."""
    pairs = (
        ("local AS", old.bgp.local_as, new.bgp.local_as),
        ("router id", old.bgp.router_id, new.bgp.router_id),
        ("peer AS", before.peer_as, after.peer_as),
        ("local address", before.local_address, after.local_address),
        ("hold time", before.hold_time, after.hold_time),
        ("multihop", before.multihop, after.multihop),
        ("MD5 file", before.md5_file, after.md5_file),
        ("extended next hop", before.extended_next_hop, after.extended_next_hop),
    )
    for name, was, becomes in pairs:
        if was != becomes:
            yield f"{name} {_format_value(was)} -> {_format_value(becomes)}"
    for family, name in (("ipv4", "IPv4"), ("ipv6", "IPv6")):
        if (family in before.families) != (family in after.families):
            yield (
                f"{name} is offered"
                if family in after.families
                else f"{name} is not offered any more"
            )


def _format_value(value: object) -> str:
    return "none" if value is None else str(value)


def _plan_routes(
    old: Profile,
    new: Profile,
    leased: tuple[Route, ...],
    draining: Container[str],
    levels: Mapping[str, Level],
) -> Iterator[RoutePlan]:
    have = index_by_prefix(leased)
    kept = {service.prefix for service in new.services.values()}
    for name, service in old.services.items():
        vip = service.prefix
        other = new.services.get(name)
        if (other is None or other.vip != service.vip) and vip in have and vip not in kept:
            yield RoutePlan(name, vip, "withdrawn: the new profile does not have it")
    for service in new.services.values():
        its = have.get(service.prefix, [])
        level = find_adopted_level(new, service, its, levels)
        if level is not Level.WITHDRAWN:  # nothing is announced before it is proved
            yield from _plan_service(new, service, level, its, draining)


def _plan_service(
    new: Profile, service: Service, level: Level, leased: list[Route], draining: Container[str]
) -> Iterator[RoutePlan]:
    name, vip = service.name, service.prefix
    have = {route.neighbor: route for route in leased}
    announced = Announced(service, level, *find_leased_choice(new, service, leased))
    for route in build_wanted_routes(new, [announced], draining):
        was = have.get(route.neighbor)
        if was is None:
            what = f"announced once its session is up ({level.label}): {_format_path(route)}"
        elif was == route:
            continue
        else:
            what = f"replaced ({level.label}): {_describe_changes(was, route)}"
        yield RoutePlan(name, vip, f"{route.neighbor}: {what}")


def _describe_changes(was: Route, becomes: Route) -> str:
    found = []
    for field in fields(Route):
        one, other = getattr(was, field.name), getattr(becomes, field.name)
        if one != other:
            label = field.name.replace("_", " ")
            found.append(f"{label} {_format(one)} -> {_format(other)}")
    return ", ".join(found)


def _format(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return _format_value(value)


def _format_path(route: Route) -> str:
    return " ".join(map(str, route.as_path))


def _collect_notes(
    old: Profile, new: Profile, sessions: tuple[SessionPlan, ...], up: Iterable[str]
) -> Iterator[str]:
    planned = {session.neighbor: session.change for session in sessions}
    resets = [address for address, change in planned.items() if change is SessionChange.RESETS]
    if len(resets) > 1:
        yield "sessions reset one at a time: the next one when the one before is up again"
    now_up = set(up)
    if resets and len(planned) > 1 and len(now_up) == 1 and now_up <= set(resets):
        yield (
            f"{now_up.pop()} is the only session that is up: it is not reset before another is up"
        )
    if now_up and not any(planned.get(address) is not SessionChange.REMOVED for address in now_up):
        yield (
            "every session that is up is removed: to move to other peers without a gap, add the "
            "new ones first, reload, and then remove the old ones"
        )
    if any(neighbor.md5_file for neighbor in new.bgp.neighbors):
        yield "MD5 passwords are not compared here: a session whose password has changed resets"
    for name in new.services:
        if name not in old.services:
            yield f"service {name} is new: announced when it is proved"
        elif _decision_settings(old.services[name]) != _decision_settings(new.services[name]):
            yield f"service {name}: its rules or times differ; its level may change"
    if old.haproxy != new.haproxy:
        yield "HAProxy's sockets or times differ: levels may change after the first looks"
    for name in new.checks:
        if old.checks.get(name) != new.checks[name]:
            yield f"check {name} is new or differs: it counts after its `rise` or `fall`"


def _decision_settings(service: Service) -> tuple[object, ...]:
    return (
        service.conditions,
        service.failed,
        service.return_timers,
        service.degraded.fall,
        service.standby.after,
        service.maintenance,
        service.prepends_steer,
    )
