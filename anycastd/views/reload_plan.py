"""Two profiles and what is held -> what a reload changes: sessions and routes, in words."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, fields
from enum import Enum

from anycastd.bgp.route import Route
from anycastd.decision.levels import Level
from anycastd.decision.routes import index_by_prefix, leased_level, wanted_routes
from anycastd.profile.model import IPV6, Neighbor, Profile, Service


class SessionChange(Enum):
    """What becomes of a session."""

    STAYS = "stays"
    ADDED = "added"
    REMOVED = "removed"
    RESETS = "resets"


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What a reload does with the session to ``neighbor``; ``why`` in words."""

    neighbor: str
    change: SessionChange
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What a reload does with the routes of ``service``, in words, now and later."""

    service: str
    vip: str
    change: str


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """What a reload does; ``routes`` is only what changes, ``notes`` what else is to be known."""

    sessions: tuple[SessionPlan, ...]
    routes: tuple[RoutePlan, ...]
    notes: tuple[str, ...]


def plan_reload(
    old: Profile,
    new: Profile,
    held: Iterable[Route],
    up: Iterable[str],
    leaving: Container[str] = (),
) -> ReloadPlan:
    """Compare what runs with a profile that could run.

    ``held`` is what the lease holds now, ``up`` the neighbors whose sessions are up, ``leaving``
    the services that are being drained.
    """
    sessions = tuple(_sessions(old, new))
    routes = tuple(_routes(old, new, tuple(held), leaving))
    return ReloadPlan(sessions, routes, tuple(_notes(old, new, sessions, up)))


def _sessions(old: Profile, new: Profile) -> Iterator[SessionPlan]:
    before = {str(neighbor.address): neighbor for neighbor in old.bgp.neighbors}
    after = {str(neighbor.address): neighbor for neighbor in new.bgp.neighbors}
    for address, neighbor in after.items():
        if address not in before:
            yield SessionPlan(address, SessionChange.ADDED)
            continue
        why = ", ".join(_differences(old, before[address], new, neighbor))
        yield SessionPlan(address, SessionChange.RESETS if why else SessionChange.STAYS, why)
    for address in before:
        if address not in after:
            yield SessionPlan(address, SessionChange.REMOVED)


def _differences(old: Profile, before: Neighbor, new: Profile, after: Neighbor) -> Iterator[str]:
    """Name what a session is made of and what differs: none of it can change while it is up."""
    pairs = (
        ("local AS", old.bgp.local_as, new.bgp.local_as),
        ("router id", old.bgp.router_id, new.bgp.router_id),
        ("peer AS", before.peer_as, after.peer_as),
        ("local address", before.local_address, after.local_address),
        ("hold time", before.hold_time, after.hold_time),
        ("multihop", before.multihop, after.multihop),
        ("MD5 file", before.md5_file, after.md5_file),
    )
    for name, was, becomes in pairs:
        if was != becomes:
            yield f"{name} {_value(was)} -> {_value(becomes)}"
    if _has_ipv6(old) != _has_ipv6(new):
        yield "IPv6 is offered" if _has_ipv6(new) else "IPv6 is not offered any more"


def _value(value: object) -> str:
    return "none" if value is None else str(value)


def _has_ipv6(profile: Profile) -> bool:
    return any(service.vip.version == IPV6 for service in profile.services.values())


def _routes(
    old: Profile, new: Profile, held: tuple[Route, ...], leaving: Container[str]
) -> Iterator[RoutePlan]:
    have = index_by_prefix(held)
    kept = {service.prefix for service in new.services.values()}
    for name, service in old.services.items():
        vip = service.prefix
        other = new.services.get(name)
        if (other is None or other.vip != service.vip) and vip in have and vip not in kept:
            yield RoutePlan(name, vip, "withdrawn: the new profile does not have it")
    for service in new.services.values():
        yield from _service(new, service, have.get(service.prefix, []), leaving)


def _service(
    new: Profile, service: Service, held: list[Route], leaving: Container[str]
) -> Iterator[RoutePlan]:
    name, vip = service.name, service.prefix
    level = leased_level(new, service, held)
    have = {route.neighbor: route for route in held}
    if level is Level.WITHDRAWN:
        return  # as before, nothing is announced until it is proved; that is no change
    for route in wanted_routes(new, [(service, level)], leaving):
        was = have.get(route.neighbor)
        if was is None:
            what = f"announced once its session is up ({level.word}): {_path(route)}"
        elif was == route:
            continue
        else:
            what = f"replaced ({level.word}): {_changes(was, route)}"
        yield RoutePlan(name, vip, f"{route.neighbor}: {what}")


def _changes(was: Route, becomes: Route) -> str:
    found = []
    for field in fields(Route):
        one, other = getattr(was, field.name), getattr(becomes, field.name)
        if one != other:
            label = field.name.replace("_", " ")
            found.append(f"{label} {_written(one)} -> {_written(other)}")
    return ", ".join(found)


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return _value(value)


def _path(route: Route) -> str:
    return " ".join(map(str, route.as_path))


def _notes(
    old: Profile, new: Profile, sessions: tuple[SessionPlan, ...], up: Iterable[str]
) -> Iterator[str]:
    fates = {session.neighbor: session.change for session in sessions}
    resets = [address for address, fate in fates.items() if fate is SessionChange.RESETS]
    if len(resets) > 1:
        yield "sessions reset one at a time: the next one when the one before is up again"
    now_up = set(up)
    if resets and len(fates) > 1 and len(now_up) == 1 and now_up <= set(resets):
        yield (
            f"{now_up.pop()} is the only session that is up: it is not reset before another one is"
        )
    if now_up and not any(fates.get(address) is not SessionChange.REMOVED for address in now_up):
        yield (
            "every session that is up is removed: to move to other peers without a gap add the "
            "new ones first, reload, and take the old ones out then"
        )
    if any(neighbor.md5_file for neighbor in new.bgp.neighbors):
        yield "MD5 passwords are not compared here: a session whose password is another resets"
    for name in new.services:
        if name not in old.services:
            yield f"service {name} is new: announced when it is proved"
        elif _decides(old.services[name]) != _decides(new.services[name]):
            yield f"service {name}: its rules or times differ; what they decide may follow"
    if old.haproxy != new.haproxy:
        yield "HAProxy's sockets or times differ: the first looks decide"


def _decides(service: Service) -> tuple[object, ...]:
    return (
        service.serve,
        service.healthy,
        service.failed,
        service.return_timers,
        service.degraded.fall,
        service.standby.after,
        service.maintenance,
        service.prepends_steer,
    )
