"""Build Status: everything that `anycastd status` shows (pure)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from anycastd.bgp.negotiated import name_family
from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.caps import Cap
from anycastd.decision.drains import DrainEffect
from anycastd.decision.last_known import believed_until
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, PassResult
from anycastd.decision.policy import Decision
from anycastd.decision.routes import build_wanted_path, count_prepends, find_wanted_local_pref
from anycastd.decision.sessions import is_family_negotiated
from anycastd.evidence.finding import Finding, Truth
from anycastd.evidence.haproxy.servers import Server
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot, Unreadable
from anycastd.lease.messages import Report
from anycastd.profile.model import Neighbor, Profile, Service
from anycastd.views.announcement import build_announcements, is_serving
from anycastd.views.check_status import list_checks
from anycastd.views.drain_progress import count_open_sessions, describe_drain, is_drained
from anycastd.views.problems import (
    describe_checks,
    describe_evidence,
    describe_sessions,
    describe_troubles,
)
from anycastd.views.reason_view import TimedReasonView, complete_remedy, view_timed_reason
from anycastd.views.route_choice import view_med, view_next_hops
from anycastd.views.session_detail import explain_session
from anycastd.views.status_values import (
    VERSION,
    HaproxyStatus,
    LeaseStatus,
    NeighborStatus,
    RuleStatus,
    ServerStatus,
    ServiceStatus,
    Status,
)


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What a status tells of the agent itself, and of this machine.

    ``polling``: the HAProxy instances that send no events and are polled, each with the reason.
    ``foreign``: local addresses of sessions, as text, that are no address of this machine.
    ``saving_drains``: what the drains have come to is not on disk yet.
    ``at``: the wall clock now, UTC, as RFC 3339 writes it (empty: not known).
    """

    pid: int
    version: str
    polling: Mapping[str, str] = field(default_factory=dict)
    foreign: Collection[str] = ()
    saving_drains: bool = False
    at: str = ""


def build_status(
    profile: Profile,
    inputs: Inputs,
    step: PassResult,
    now: float,
    agent: AgentFacts,
    *,
    with_servers: bool = True,
) -> Status:
    """Build the status after the pass ``step``, at ``now`` (own time).

    ``with_servers``: rules list the servers that they looked at, which may be 10,000.  No problem
    and no severity depends on these.
    """
    report = inputs.lease.report if inputs.lease.connected else None
    leased = {route.key: route for route in inputs.lease.leased or ()}
    services = _list_services(
        profile,
        inputs,
        step,
        now,
        leased,
        saving_drains=agent.saving_drains,
        with_servers=with_servers,
    )
    neighbors = {
        str(neighbor.address): _neighbor(profile, neighbor, services, leased, report, agent)
        for neighbor in profile.bgp.neighbors
    }
    polling = agent.polling
    haproxy = _list_haproxy(profile, inputs.evidence.haproxy, now, polling)
    checks = list_checks(profile, inputs.evidence.checks, now)
    return Status(
        v=VERSION,
        version=agent.version,
        region=profile.region,
        pid=agent.pid,
        services=services,
        neighbors=neighbors,
        haproxy=haproxy,
        lease=_lease(report, connected=inputs.lease.connected),
        problems=(
            *describe_troubles(inputs, services, neighbors, polling),
            *describe_sessions(profile, services, neighbors),
            *describe_evidence(profile, step),
            *describe_checks(checks, services),
        ),
        at=agent.at,
        appliance=profile.appliance,
        checks=checks,
    )


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What the status of a service is built from, besides its decision."""

    leased: Mapping[tuple[str, str], Route]
    report: Report | None
    haproxy: Mapping[str, Observation]
    drain_effects: tuple[DrainEffect, ...]
    memory: Memory | None
    saving_drains: bool
    with_servers: bool


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


def _list_services(
    profile: Profile,
    inputs: Inputs,
    step: PassResult,
    now: float,
    leased: Mapping[tuple[str, str], Route],
    *,
    saving_drains: bool,
    with_servers: bool,
) -> dict[str, ServiceStatus]:
    report = inputs.lease.report if inputs.lease.connected else None
    services = {}
    for name, decision in step.decisions.items():
        evidence = _Evidence(
            leased,
            report,
            inputs.evidence.haproxy,
            step.drain_effects.get(name, ()),
            step.memory.get(name),
            saving_drains=saving_drains,
            with_servers=with_servers,
        )
        services[name] = _service(profile, profile.services[name], decision, evidence, now)
    return services


def _service(
    profile: Profile,
    service: Service,
    decision: Decision,
    evidence: _Evidence,
    now: float,
) -> ServiceStatus:
    level = decision.level
    path = build_wanted_path(profile, service, level)
    neighbors = build_announcements(
        profile, decision, evidence.leased, evidence.report, leaving=bool(evidence.drain_effects)
    )
    in_sync = all(announcement.in_sync for announcement in neighbors.values())
    sessions = count_open_sessions(service, evidence.haproxy)
    caps = sorted(decision.caps, key=lambda cap: cap.level)
    return ServiceStatus(
        vip=service.prefix,
        level=level.label,
        reason=complete_remedy(_view_cap(decision.cap, now), profile, service),
        since=round(now - decision.level_began_at, 3),
        as_path=path,
        prepend=None if path is None else count_prepends(service, level),
        in_sync=in_sync,
        waits=tuple(complete_remedy(_view_cap(cap, now), profile, service) for cap in caps),
        rules=tuple(
            _rule(finding, with_servers=evidence.with_servers)
            for finding in decision.verdict.findings
        ),
        neighbors=neighbors,
        serves=is_serving(decision, path, neighbors),
        sessions=sessions,
        drains=tuple(describe_drain(effect, now) for effect in evidence.drain_effects),
        safe=in_sync
        and not evidence.saving_drains
        and is_drained(profile, service, evidence.drain_effects, sessions, now),
        prepends_steer=service.prepends_steer,
        local_pref=find_wanted_local_pref(profile, service, level),
        held=_find_held(decision, evidence.memory, now),
        next_hops=view_next_hops(decision.hop_choice, now),
        med=view_med(decision.med_choice, now),
    )


def _view_cap(cap: Cap, now: float) -> TimedReasonView:
    return view_timed_reason(cap.reason, cap.detail, cap.ends_at, now)


def _find_held(decision: Decision, memory: Memory | None, now: float) -> TimedReasonView | None:
    """Say why a service is announced although it is not known whether it serves; None: it is."""
    serve = decision.verdict.serve
    if serve.truth is not Truth.UNKNOWN or decision.level is Level.WITHDRAWN or memory is None:
        return None
    ends_at = believed_until(memory.serve, decision.verdict.believe_for)
    return view_timed_reason(serve.reason, serve.value, ends_at, now)


def _rule(finding: Finding, *, with_servers: bool) -> RuleStatus:
    truths = {Truth.TRUE: "true", Truth.FALSE: "false", Truth.UNKNOWN: "unknown"}
    return RuleStatus(
        rule=finding.rule.text,
        truth=truths[finding.truth],
        value=finding.value,
        servers=tuple(
            ServerStatus(row.name, row.usable.value, row.detail, row.status, row.check)
            for row in (finding.observed if with_servers else ())
            if isinstance(row, Server)
        ),
        needed=finding.needed,
    )


def _neighbor(
    profile: Profile,
    neighbor: Neighbor,
    services: Mapping[str, ServiceStatus],
    leased: Mapping[tuple[str, str], Route],
    report: Report | None,
    agent: AgentFacts,
) -> NeighborStatus:
    address = str(neighbor.address)
    peer = None if report is None else report.neighbors.get(address)
    up = peer is not None and peer.session is Session.UP
    prefixes = (
        prefix
        for other, prefix in leased
        if other == address and is_family_negotiated(peer, name_family(prefix)) is not False
    )
    why = "" if peer is None else peer.detail
    if not up:
        why = explain_session(
            profile,
            neighbor,
            why,
            routes=sum(each.neighbors[address].wanted is not None for each in services.values()),
            is_local=str(neighbor.local_address) not in agent.foreign,
        )
    return NeighborStatus(
        peer_as=neighbor.peer_as,
        session=Session.UNKNOWN.value if peer is None else peer.session.value,
        since=None if peer is None else round(peer.session_age, 3),
        why=why,
        announced=tuple(sorted(prefixes)) if up else (),
        negotiated=None if peer is None else peer.negotiated,
    )


def _list_haproxy(
    profile: Profile, looks: Mapping[str, Observation], now: float, polling: Mapping[str, str]
) -> dict[str, HaproxyStatus]:
    return {
        name: _haproxy(instance.socket, looks.get(name), now, events=name not in polling)
        for name, instance in profile.haproxy.items()
    }


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
