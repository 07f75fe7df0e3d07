"""Build Status: everything that `anycastd status` shows.  The field names are the keys of the JSON.

"Announced" is four separate facts for each neighbor, and each is shown: the route is wanted, ExaBGP
has acknowledged it, it is in ExaBGP's adj-rib-out, and the session is up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.drains import DrainEffect
from anycastd.decision.levels import Level
from anycastd.decision.pipeline import Inputs, PassResult
from anycastd.decision.policy import Decision
from anycastd.decision.routes import build_wanted_path, build_wanted_routes, count_prepends
from anycastd.evidence.finding import Finding, Truth
from anycastd.evidence.haproxy.servers import Server
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot, Unreadable
from anycastd.lease.messages import Report
from anycastd.profile.model import Profile, Service
from anycastd.reasons import Reason
from anycastd.views.drain_progress import (
    DrainStatus,
    count_open_sessions,
    describe_drain,
    is_drained,
)
from anycastd.views.reason_view import TimedReasonView, view_timed_reason

VERSION = 1
"""Version of the JSON; keys are only ever added."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A server of a rule's backend; ``status`` and ``check`` are HAProxy's own words.

    ``usable``: ``yes``, ``no`` or ``unproved``; ``why`` says why.
    """

    name: str
    usable: str
    why: str
    status: str
    check: str


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """A rule of the profile; ``truth``: ``true``, ``false`` or ``unknown``.

    ``value`` is what was found, ``needed`` what the rule asks for, both as text.
    """

    rule: str
    truth: str
    value: str
    servers: tuple[ServerStatus, ...]
    needed: str = ""


@dataclass(frozen=True, slots=True)
class Announcement:
    """The route of one service at one neighbor.

    ``wanted``, ``acknowledged`` (by ExaBGP): AS paths, None: no route.  ``rib``: ``agrees``,
    ``differs`` or ``unread``.  ``in_sync``: wanted, acknowledged, rib and session all agree.
    """

    wanted: tuple[int, ...] | None
    acknowledged: tuple[int, ...] | None
    rib: str
    session: str
    in_sync: bool


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service.

    ``since``: seconds at this level.  ``as_path``, ``prepend``: without a neighbor's own prepends;
    None: not announced.  ``waits``: its caps, the lowest first.  ``serves``: it is announced to a
    neighbor, and `serve` is not false.  ``sessions``: open at the frontends that its rules name;
    None: not known.  ``safe``: it is drained, and this machine may be rebooted.
    """

    vip: str
    level: str
    reason: TimedReasonView
    since: float
    as_path: tuple[int, ...] | None
    prepend: int | None
    in_sync: bool
    waits: tuple[TimedReasonView, ...]
    rules: tuple[RuleStatus, ...]
    neighbors: Mapping[str, Announcement]
    serves: bool
    sessions: int | None
    drains: tuple[DrainStatus, ...]
    safe: bool
    prepends_steer: bool = True


@dataclass(frozen=True, slots=True)
class NeighborStatus:
    """One neighbor; ``session``: ``up``, ``down`` or ``unknown``, and ``why`` (text).

    ``since``: seconds in this state (None: not known).  ``announced``: prefixes.
    """

    peer_as: int
    session: str
    since: float | None
    why: str
    announced: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HaproxyStatus:
    """One HAProxy; ``state``: ``answers``, ``gone``, ``silent`` or ``unseen``, and ``why`` (text).

    ``age``: seconds since the newest look was asked (None: no look).  ``uptime``: seconds.
    ``events``: its events arrive, so that it is not polled.
    """

    socket: str
    state: str
    why: str
    age: float | None
    version: str | None
    pid: int | None
    uptime: float | None
    events: bool


@dataclass(frozen=True, slots=True)
class LeaseStatus:
    """The lease, with the fields of Report; ``expires_in``: seconds, None if nothing is leased."""

    connected: bool
    expires_in: float | None
    serial: int
    acked: int
    repairs: int
    exabgp: str


@dataclass(frozen=True, slots=True)
class Status:
    """The whole status at one moment.

    ``v`` is the version of this format, ``version`` that of anycastd.  The keys of ``neighbors``
    are addresses.  ``problems`` are sentences for operators.
    """

    v: int
    version: str
    region: str
    pid: int
    services: Mapping[str, ServiceStatus]
    neighbors: Mapping[str, NeighborStatus]
    haproxy: Mapping[str, HaproxyStatus]
    lease: LeaseStatus
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for json.dumps."""
        return asdict(self)


def build_status(
    profile: Profile,
    inputs: Inputs,
    step: PassResult,
    now: float,
    *,
    pid: int,
    version: str,
    polling: Mapping[str, str],
) -> Status:
    """Build the status after the pass ``step``, at ``now`` (own time).

    ``polling``: the HAProxy instances that send no events and are polled, each with the reason.
    """
    report = inputs.lease.report if inputs.lease.connected else None
    leased = {route.key: route for route in inputs.lease.leased or ()}
    services = {
        name: _service(
            profile,
            profile.services[name],
            decision,
            _Evidence(leased, report, inputs.evidence.haproxy, step.drain_effects.get(name, ())),
            now,
        )
        for name, decision in step.decisions.items()
    }
    neighbors = {
        str(neighbor.address): _neighbor(str(neighbor.address), neighbor.peer_as, leased, report)
        for neighbor in profile.bgp.neighbors
    }
    haproxy = {
        name: _haproxy(
            instance.socket, inputs.evidence.haproxy.get(name), now, events=name not in polling
        )
        for name, instance in profile.haproxy.items()
    }
    return Status(
        v=VERSION,
        version=version,
        region=profile.region,
        pid=pid,
        services=services,
        neighbors=neighbors,
        haproxy=haproxy,
        lease=_lease(report, connected=inputs.lease.connected),
        problems=(
            *_problems(inputs, report, services, neighbors, polling),
            *_untested(profile, step),
            *_unmapped(step),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What the status of a service is built from, besides its decision."""

    leased: Mapping[tuple[str, str], Route]
    report: Report | None
    haproxy: Mapping[str, Observation]
    drain_effects: tuple[DrainEffect, ...]


def _lease(report: Report | None, *, connected: bool) -> LeaseStatus:
    if report is None:
        return LeaseStatus(connected, None, serial=0, acked=0, repairs=0, exabgp="")
    return LeaseStatus(
        connected,
        expires_in=report.expires_in,
        serial=report.serial,
        acked=report.acked,
        repairs=report.repairs,
        exabgp=report.exabgp,
    )


def _service(
    profile: Profile, service: Service, decision: Decision, evidence: _Evidence, now: float
) -> ServiceStatus:
    level = decision.level
    path = build_wanted_path(profile, service, level)
    leaving = (service.name,) if evidence.drain_effects else ()
    wanted = {
        route.neighbor: route for route in build_wanted_routes(profile, [(service, level)], leaving)
    }
    neighbors = {}
    for neighbor in profile.bgp.neighbors:
        address = str(neighbor.address)
        neighbors[address] = _announcement(
            wanted.get(address),
            evidence.leased.get((address, service.prefix)),
            evidence.report,
            address,
        )
    in_sync = all(announcement.in_sync for announcement in neighbors.values())
    sessions = count_open_sessions(service, evidence.haproxy)
    caps = sorted(decision.caps, key=lambda cap: cap.level)
    return ServiceStatus(
        vip=service.prefix,
        level=level.label,
        reason=view_timed_reason(
            decision.cap.reason, decision.cap.detail, decision.cap.ends_at, now
        ),
        since=round(now - decision.level_began_at, 3),
        as_path=path,
        prepend=None if path is None else count_prepends(service, level),
        in_sync=in_sync,
        waits=tuple(view_timed_reason(cap.reason, cap.detail, cap.ends_at, now) for cap in caps),
        rules=tuple(_rule(finding) for finding in decision.verdict.findings),
        neighbors=neighbors,
        serves=path is not None
        and decision.verdict.serve.truth is not Truth.FALSE
        and any(announcement.in_sync for announcement in neighbors.values()),
        sessions=sessions,
        drains=tuple(describe_drain(effect, now) for effect in evidence.drain_effects),
        safe=in_sync and is_drained(profile, service, evidence.drain_effects, sessions, now),
        prepends_steer=service.prepends_steer,
    )


def _announcement(
    wanted: Route | None, leased: Route | None, report: Report | None, address: str
) -> Announcement:
    peer = None if report is None else report.neighbors.get(address)
    session = Session.UNKNOWN if peer is None else peer.session
    rib = "unread" if peer is None else peer.rib
    confirmed = wanted == leased and peer is not None and peer.unconfirmed == 0
    return Announcement(
        wanted=None if wanted is None else wanted.as_path,
        acknowledged=None if leased is None or (peer and peer.unconfirmed) else leased.as_path,
        rib=rib,
        session=session.value,
        in_sync=confirmed and rib != "differs" and (wanted is None or session is Session.UP),
    )


def _rule(finding: Finding) -> RuleStatus:
    truths = {Truth.TRUE: "true", Truth.FALSE: "false", Truth.UNKNOWN: "unknown"}
    return RuleStatus(
        rule=finding.rule.text,
        truth=truths[finding.truth],
        value=finding.value,
        servers=tuple(
            ServerStatus(row.name, row.usable.value, row.detail, row.status, row.check)
            for row in finding.observed
            if isinstance(row, Server)
        ),
        needed=finding.needed,
    )


def _neighbor(
    address: str, peer_as: int, leased: Mapping[tuple[str, str], Route], report: Report | None
) -> NeighborStatus:
    peer = None if report is None else report.neighbors.get(address)
    up = peer is not None and peer.session is Session.UP
    prefixes = (prefix for neighbor, prefix in leased if neighbor == address)
    return NeighborStatus(
        peer_as=peer_as,
        session=Session.UNKNOWN.value if peer is None else peer.session.value,
        since=None if peer is None else round(peer.session_age, 3),
        why="" if peer is None else peer.detail,
        announced=tuple(sorted(prefixes)) if up else (),
    )


def _haproxy(socket: str, look: Observation | None, now: float, *, events: bool) -> HaproxyStatus:
    state, why, version, pid, uptime = "unseen", "", None, None, None
    match look:
        case Snapshot(worker=worker):
            state, version, pid, uptime = "answers", worker.version, worker.pid, worker.uptime
        case Gone(detail=text):
            state, why = "gone", text
        case Unreadable(detail=text):
            state, why = "silent", text
    age = None if look is None else round(now - look.asked_at, 3)
    return HaproxyStatus(socket, state, why, age, version, pid, uptime, events)


def _problems(
    inputs: Inputs,
    report: Report | None,
    services: Mapping[str, ServiceStatus],
    neighbors: Mapping[str, NeighborStatus],
    polling: Mapping[str, str],
) -> Iterator[str]:
    """Describe everything that is not as wanted, in one sentence each."""
    if report is None:
        yield f"{Reason.NO_SPEAKER.sentence}: {Reason.NO_SPEAKER.remedy}"
    else:
        for error in report.errors:
            yield f"ExaBGP refused to {error}"
        for address, neighbor in neighbors.items():
            if neighbor.session != Session.UP.value:
                why = f" ({neighbor.why})" if neighbor.why else ""
                yield f"neighbor {address}: the session is {neighbor.session}{why}"
        for name, service in services.items():
            for address, one in service.neighbors.items():
                if one.session == Session.UP.value and not one.in_sync:
                    yield f"service {name}: neighbor {address} does not have the wanted route yet"
    for prefix, vip in inputs.vips.items():
        if not vip.usable:
            yield f"VIP {prefix}: {vip.detail}"
    for name, why in polling.items():
        yield f"haproxy {name}: polled, not event-driven: {why}"


def _untested(profile: Profile, step: PassResult) -> Iterator[str]:
    """Describe failed self-tests of services whose level does not show them."""
    for name, decision in step.decisions.items():
        test = profile.services[name].self_test
        if test is None or decision.level is not Level.PREFERRED:
            continue
        for finding in decision.verdict.findings:
            if "self_test.answers" in finding.rule.paths and finding.truth is not Truth.TRUE:
                yield f"service {name}: {finding.reason.sentence} ({finding.value})"


def _unmapped(step: PassResult) -> Iterator[str]:
    """Describe maintenance maps that HAProxy lacks: they could not take the service out."""
    for name, decision in step.decisions.items():
        planned = decision.verdict.maintenance
        if planned is not None and planned.reason is Reason.MAP_MISSING:
            yield f"service {name}: {planned.reason.sentence}: {planned.reason.remedy}"
