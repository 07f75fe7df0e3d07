"""The values of the metrics that follow from the newest state, as rows (pure).

A row is the values of a metric's labels, in the order of ``metric_table``, and its value.  Instants
are Unix time; what is not known is left out, or NaN where the table says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from anycastd.bgp.negotiated import name_family
from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.levels import CapSource, Level
from anycastd.decision.pipeline import Inputs, PassResult
from anycastd.decision.policy import Decision
from anycastd.decision.routes import (
    build_wanted_path,
    count_prepends,
    find_leased_level,
    index_by_prefix,
)
from anycastd.decision.sessions import is_family_negotiated
from anycastd.evidence.finding import Finding, Truth
from anycastd.evidence.haproxy.servers import Server, Usable
from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.lease.messages import Report
from anycastd.profile.model import Profile, Service
from anycastd.views.announcement import build_announcements, is_serving
from anycastd.views.check_status import list_checks
from anycastd.views.drain_progress import count_open_sessions, is_drained

Row = tuple[tuple[str, ...], float]
"""The values of the labels, and the value."""
Rows = tuple[str, Iterable[Row]]
"""The name of a metric without its prefix, and its rows, to be read before the next ones."""

MIN_STEP = 1.0
"""Seconds by which an instant must move to be shown as another one."""
_LEVELS = sorted(Level, reverse=True)
_TRUTHS = {Truth.TRUE: 1.0, Truth.FALSE: 0.0, Truth.UNKNOWN: math.nan}


class Instants:
    """Own time -> Unix time, so that an instant that does not move has one value.

    ``MIN_STEP`` hides that the two clocks do not run alike.
    """

    def __init__(self) -> None:
        self._offset = 0.0
        self._known: dict[tuple[str, ...], float] = {}

    def align(self, unix: float, own: float) -> None:
        """Set what both clocks show now, in seconds."""
        self._offset = unix - own

    def convert(self, key: tuple[str, ...], own: float) -> float:
        """Return the instant ``own`` (own time) as Unix time; ``key`` names what happened then."""
        at, known = round(own + self._offset, 3), self._known.get(key)
        if known is None or abs(at - known) >= MIN_STEP:
            self._known[key] = known = at
        return known


@dataclass(frozen=True, slots=True)
class MetricState:
    """The state that is shown: the newest pass, its inputs, and own time (s) when both were taken.

    ``reported_at`` is when the newest report of the lease came (own time).
    """

    profile: Profile
    inputs: Inputs
    result: PassResult
    now: float
    reported_at: float
    instants: Instants

    @property
    def report(self) -> Report | None:
        """Return the report of the lease, None while there is no connection to it."""
        return self.inputs.lease.report if self.inputs.lease.connected else None


class ServiceFacts(NamedTuple):
    """What the metrics show of a service; ``level`` is None while it is not known."""

    service: Service
    decision: Decision
    findings: tuple[Finding, ...]
    level: Level | None
    serving: bool
    in_sync: bool
    prepends: int | None
    drain_began_at: float | None
    safe: bool
    sessions: int | None
    failures: int


def iter_service_facts(state: MetricState) -> Iterator[ServiceFacts]:
    """Yield the facts of each service, one at a time, since a profile may have a thousand."""
    leased = {route.key: route for route in state.inputs.lease.leased or ()}
    by_prefix = index_by_prefix(leased.values())
    for name, decision in state.result.decisions.items():
        yield _find_facts(state, state.profile.services[name], decision, leased, by_prefix)


def _find_facts(
    state: MetricState,
    service: Service,
    decision: Decision,
    leased: Mapping[tuple[str, str], Route],
    by_prefix: Mapping[str, list[Route]],
) -> ServiceFacts:
    profile, effects = state.profile, state.result.drain_effects.get(service.name, ())
    announcements = build_announcements(
        profile, decision, leased, state.report, leaving=bool(effects)
    )
    path = build_wanted_path(profile, service, decision.level)
    in_sync = all(each.in_sync for each in announcements.values())
    sessions = count_open_sessions(service, state.inputs.evidence.haproxy)
    memory = state.result.memory.get(service.name)
    return ServiceFacts(
        service,
        decision,
        decision.verdict.findings,
        _find_level(state, service, by_prefix.get(service.prefix, [])),
        is_serving(decision, path, announcements),
        in_sync,
        None if path is None else count_prepends(service, decision.level),
        min((effect.drain.began_at for effect in effects), default=None),
        in_sync and is_drained(profile, service, effects, sessions, state.now),
        sessions,
        0 if memory is None else memory.failures,
    )


def _find_level(state: MetricState, service: Service, routes: Iterable[Route]) -> Level | None:
    """Find the level that the neighbors know: of the routes on sessions that carry them."""
    report = state.report
    if report is None:
        return None
    family = name_family(service.prefix)
    carrying = {
        address
        for address, peer in report.neighbors.items()
        if peer.session is Session.UP and is_family_negotiated(peer, family) is not False
    }
    heard = [route for route in routes if route.neighbor in carrying]
    return find_leased_level(state.profile, service, heard)


def list_service_rows(state: MetricState, facts: Sequence[ServiceFacts]) -> Iterator[Rows]:
    """Yield the rows about services, except of their rules."""
    yield "service_level", _iter_levels(facts, lambda each: each.level)
    yield "service_wanted_level", _iter_levels(facts, lambda each: each.decision.level)
    for name, value in _NUMBERS.items():
        yield name, _iter_numbers(facts, value)
    for name, instant in _INSTANTS.items():
        yield name, _iter_instants(state, facts, name, instant)
    yield "service_vip_present", _iter_vips(state, facts)
    yield "service_capped", _iter_caps(facts)
    yield "service_next_hop", _iter_next_hops(facts)
    yield "service_next_hop_serving", _iter_serving_hops(facts)


def _label(facts: ServiceFacts) -> tuple[str, str]:
    return facts.service.name, facts.service.prefix


def _iter_levels(
    facts: Iterable[ServiceFacts], choose: Callable[[ServiceFacts], Level | None]
) -> Iterator[Row]:
    for each in facts:
        chosen = choose(each)
        for level in _LEVELS:
            yield (*_label(each), level.label), float(chosen is level)


def _iter_numbers(
    facts: Iterable[ServiceFacts], value: Callable[[ServiceFacts], float | None]
) -> Iterator[Row]:
    for each in facts:
        if (number := value(each)) is not None:
            yield _label(each), float(number)


def _iter_instants(
    state: MetricState,
    facts: Iterable[ServiceFacts],
    name: str,
    instant: Callable[[ServiceFacts], float | None],
) -> Iterator[Row]:
    for each in facts:
        if (own := instant(each)) is not None:
            yield _label(each), state.instants.convert((name, each.service.name), own)


def _iter_vips(state: MetricState, facts: Iterable[ServiceFacts]) -> Iterator[Row]:
    for each in facts:
        if (vip := state.inputs.vips.get(each.service.prefix)) is not None:
            yield _label(each), float(vip.usable)


def _iter_caps(facts: Iterable[ServiceFacts]) -> Iterator[Row]:
    """Yield a row for each service and source of a cap."""
    for each in facts:
        active = {cap.source for cap in each.decision.caps}
        for source in CapSource:
            yield (each.service.name, source.label), float(source in active)


def _iter_next_hops(facts: Iterable[ServiceFacts]) -> Iterator[Row]:
    """Yield a row for each next hop by choice: whether the wanted route has it."""
    for each in facts:
        if (choice := each.decision.hop_choice) is not None:
            chosen = None if each.decision.level is Level.WITHDRAWN else choice.address
            for hop in choice.candidates:
                yield (*_label(each), hop.address), float(hop.address == chosen)


def _iter_serving_hops(facts: Iterable[ServiceFacts]) -> Iterator[Row]:
    for each in facts:
        if (choice := each.decision.hop_choice) is not None:
            for hop in choice.candidates:
                yield (*_label(each), hop.address), _TRUTHS[hop.verdict.serve.truth]


_NUMBERS: dict[str, Callable[[ServiceFacts], float | None]] = {
    "service_serving": lambda each: each.serving,
    "service_in_sync": lambda each: each.in_sync,
    "service_prepends": lambda each: each.prepends,
    "service_failures": lambda each: each.failures,
    "service_drained": lambda each: each.drain_began_at is not None,
    "service_safe_to_reboot": lambda each: each.safe,
    "service_sessions": lambda each: each.sessions,
}
_INSTANTS: dict[str, Callable[[ServiceFacts], float | None]] = {
    "service_level_since_timestamp_seconds": lambda each: each.decision.level_began_at,
    "service_capped_until_timestamp_seconds": lambda each: each.decision.cap.ends_at,
    "service_drain_since_timestamp_seconds": lambda each: each.drain_began_at,
}


def list_rule_rows(facts: Sequence[ServiceFacts]) -> Iterator[Rows]:
    """Yield the rows about rules: what is true, and how many servers count."""
    yield "rule_true", _iter_rules(facts, lambda finding: _TRUTHS[finding.truth])
    yield "rule_servers_usable", _iter_rules(facts, _count_usable)
    yield "rule_servers", _iter_rules(facts, _count_all)
    yield "rule_servers_needed", _iter_rules(facts, _find_needed)


def _iter_rules(
    facts: Iterable[ServiceFacts], value: Callable[[Finding], float | None]
) -> Iterator[Row]:
    for each in facts:
        for finding in each.findings:
            if (number := value(finding)) is not None:
                for path in finding.rule.paths:
                    yield (each.service.name, path), float(number)


def _list_servers(finding: Finding) -> list[Server]:
    return [row for row in finding.observed if isinstance(row, Server)]


def _count_usable(finding: Finding) -> float | None:
    servers, yes = _list_servers(finding), Usable.YES
    return [server.usable for server in servers].count(yes) if servers else None


def _count_all(finding: Finding) -> float | None:
    servers = _list_servers(finding)
    return sum(server.in_share for server in servers) if servers else None


def _find_needed(finding: Finding) -> float | None:
    # A number, or a share with the number that it comes to: `50 % (1 of 2)`.
    count = finding.needed.rpartition("(")[2].partition(" of ")[0]
    return float(count) if count.isdecimal() and _list_servers(finding) else None


def list_neighbor_rows(state: MetricState) -> Iterator[Rows]:
    """Yield the rows about neighbors and their routes."""
    report = state.report
    peers = {} if report is None else report.neighbors
    neighbors = [(str(each.address), str(each.peer_as)) for each in state.profile.bgp.neighbors]
    known = [(address, peers[address]) for address, _ in neighbors if address in peers]
    up = {address for address, peer in known if peer.session is Session.UP}
    wanted = [route.neighbor for route in state.result.wanted or ()]
    leased = [route.neighbor for route in state.inputs.lease.leased or ()]
    yield "neighbor_up", [(labels, float(labels[0] in up)) for labels in neighbors]
    yield (
        "neighbor_since_timestamp_seconds",
        [
            (
                (address,),
                state.instants.convert(
                    ("session", address, peer.session.value), state.reported_at - peer.session_age
                ),
            )
            for address, peer in known
        ],
    )
    yield (
        "neighbor_hold_time_seconds",
        [
            ((address,), float(peer.negotiated.hold_time))
            for address, peer in known
            if address in up and peer.negotiated is not None
        ],
    )
    yield (
        "neighbor_routes_wanted",
        [((address,), float(wanted.count(address))) for address, _ in neighbors],
    )
    acknowledged = [
        (address, peer, max(0, leased.count(address) - peer.unconfirmed)) for address, peer in known
    ]
    yield (
        "neighbor_routes_acknowledged",
        [((address,), float(count)) for address, _, count in acknowledged],
    )
    yield (
        "neighbor_routes_in_rib",
        [
            ((address,), float(count) if peer.rib == "agrees" else math.nan)
            for address, peer, count in acknowledged
        ],
    )


def list_check_rows(state: MetricState) -> Iterator[Rows]:
    """Yield the rows about checks."""
    checks = list_checks(state.profile, state.inputs.evidence.checks, state.now)
    yield (
        "check_passing",
        [((name,), _PASSING.get(each.state, math.nan)) for name, each in checks.items()],
    )
    steps = [(name, each.step) for name, each in checks.items()]
    yield "check_step", [((name,), float(step)) for name, step in steps if step is not None]
    yield (
        "check_evidence_timestamp_seconds",
        [
            ((name,), state.instants.convert(("check", name), state.now - each.age))
            for name, each in checks.items()
            if each.age is not None
        ],
    )


_PASSING = {"passes": 1.0, "fails": 0.0, "stale": 0.0}


def list_haproxy_rows(
    state: MetricState, polled: Iterable[str], answered_at: Mapping[str, float | None]
) -> Iterator[Rows]:
    """Yield the rows about each HAProxy.

    ``polled``: names of those that send no events.  ``answered_at``: name -> when its newest
    complete answer was asked for (own time; None: there was none).
    """
    names, looks = list(state.profile.haproxy), state.inputs.evidence.haproxy
    yield "haproxy_up", [((name,), float(isinstance(looks.get(name), Snapshot))) for name in names]
    yield "haproxy_event_driven", [((name,), float(name not in polled)) for name in names]
    yield (
        "haproxy_evidence_timestamp_seconds",
        [
            ((name,), state.instants.convert(("evidence", name), at))
            for name, at in answered_at.items()
            if at is not None
        ],
    )
