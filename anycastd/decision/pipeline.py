"""Run one pass: ``advance``, the only composition of the files above (pure).

Each pass computes all wanted routes from the newest inputs.  An event only says that a pass is due;
what it tells is not used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from anycastd.bgp.negotiated import IPV4, IPV6
from anycastd.bgp.route import Route
from anycastd.decision import drains as draining
from anycastd.decision.caps import Context
from anycastd.decision.drains import DrainEffect, DrainTable
from anycastd.decision.kept_levels import find_adopted_level, read_levels
from anycastd.decision.levels import Level
from anycastd.decision.med import MedChoice, MedContext, choose_med
from anycastd.decision.memory import Memory
from anycastd.decision.next_hop import (
    HopChoice,
    HopContext,
    RouteChange,
    choose_next_hop,
    complete_verdict,
)
from anycastd.decision.policy import Decision, Transition, decide_level
from anycastd.decision.region_report import RegionReport
from anycastd.decision.routes import (
    Announced,
    build_wanted_routes,
    find_leased_choice,
    index_by_prefix,
)
from anycastd.decision.sessions import find_session
from anycastd.decision.verdict import Verdict, judge_next_hops, judge_service
from anycastd.evidence.checks.observation import CheckObservation
from anycastd.evidence.finding import Truth
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import Levels, Report
from anycastd.profile.checks import Check
from anycastd.profile.model import Profile, Service


@dataclass(frozen=True, slots=True)
class VipState:
    """State of a VIP on its interface.

    ``usable``: packets for it are accepted.  ``detail`` is for people.
    """

    usable: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LeaseView:
    """The lease, as far as the agent knows it.

    ``connected``: there is a connection to the lease process.  ``report`` is its newest report,
    ``leased`` are the routes on the lease, ``levels`` what the agent that wanted them said of their
    levels (None: nothing).  All are None before the first report, and stay when the connection is
    lost.
    """

    connected: bool = False
    report: Report | None = None
    leased: tuple[Route, ...] | None = None
    levels: Levels | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a pass depends on, besides the profile, its memory and the time.

    ``vips``: prefix -> VipState.  ``drains``: those that go on after the last pass.
    ``region_reports``: `RegionAgent.name` -> its newest answer.  ``returned_at``: name of the
    service -> when an operator last ran `anycastd return` (own time, seconds).  ``frozen_until``:
    this process did not run for a while before that (own time); evidence that was asked for before
    may be of any age.
    """

    evidence: Evidence = field(default_factory=Evidence)
    vips: Mapping[str, VipState] = field(default_factory=dict)
    lease: LeaseView = LeaseView()
    drains: DrainTable = field(default_factory=dict)
    region_reports: Mapping[str, RegionReport] = field(default_factory=dict)
    returned_at: Mapping[str, float] = field(default_factory=dict)
    frozen_until: float | None = None


@dataclass(frozen=True, slots=True)
class PassResult:
    """Result of a pass.

    ``memory``: name of the service -> its memory for the next pass.  ``wanted`` are all routes to
    announce.  It is None until there is an observation of every HAProxy and a report of the lease:
    the lease must be neither renewed nor withdrawn then.  ``decisions``: name of the service -> its
    decision.  ``wake_at`` is when time alone may change the result (None: never; own time,
    seconds).  ``drains`` are those that go on, ``drain_effects`` what they do to each service.
    """

    memory: Mapping[str, Memory]
    wanted: tuple[Route, ...] | None
    decisions: Mapping[str, Decision]
    wake_at: float | None
    drains: DrainTable = field(default_factory=dict)
    drain_effects: Mapping[str, tuple[DrainEffect, ...]] = field(default_factory=dict)

    @property
    def transitions(self) -> tuple[Transition, ...]:
        """Return the changes of levels and routes that this pass decided."""
        found: list[Transition] = []
        for each in self.decisions.values():
            if each.transition is not None:
                found.append(each.transition)
            if each.changes:
                found += each.changes
        return tuple(found)


def advance(
    profile: Profile, memory: Mapping[str, Memory], inputs: Inputs, now: float
) -> PassResult:
    """Run one pass at ``now`` (own time, seconds).

    ``memory``: name of the service -> its memory of the last pass; a new service has none.  Raises
    KeyError where a rule names a HAProxy that the profile does not have.
    """
    complete = all(name in inputs.evidence.haproxy for name in profile.haproxy)
    report = inputs.lease.report if inputs.lease.connected else None
    sessions = {family: find_session(profile.bgp, report, family) for family in (IPV4, IPV6)}
    adopting = _adopting(profile, memory, inputs.lease) if complete else {}
    going, effects = _advance_drains(profile, memory, inputs, now) if inputs.drains else ({}, {})
    evidence, vips, returned_at = inputs.evidence, inputs.vips, inputs.returned_at
    decisions: dict[str, Decision] = {}
    remembered: dict[str, Memory] = {}
    for name, service in profile.services.items():
        vip = vips.get(service.prefix)
        vip_usable = None if vip is None else vip.usable
        drain = effects[name][0].cap if name in effects else None
        leased = adopting.get(name)
        context = Context(
            sessions[service.family],
            vip_usable,
            None if leased is None else leased.level,
            drain,
            returned_at.get(name),
            inputs.frozen_until,
        )
        before = memory.get(name) or Memory(level_began_at=now)
        if service.has_choice:
            decided = _decide_with_choice(profile, service, evidence, context, leased, before, now)
        else:  # its route follows from its level alone
            verdict = judge_service(profile, service, evidence, now)
            decided = decide_level(service, verdict, context, before, now)
        decisions[name], remembered[name] = decided
    wake = [d.wake_at for d in decisions.values() if d.wake_at is not None]
    wake += draining.iter_end_times(going)
    ready = complete and inputs.lease.leased is not None
    return PassResult(
        memory=remembered,
        wanted=_build_wanted(profile, decisions, effects) if ready else None,
        decisions=decisions,
        wake_at=min(wake, default=None),
        drains=going,
        drain_effects=effects,
    )


def _advance_drains(
    profile: Profile, memory: Mapping[str, Memory], inputs: Inputs, now: float
) -> tuple[DrainTable, Mapping[str, tuple[DrainEffect, ...]]]:
    levels = {name: each.level for name, each in memory.items() if each.adopted}
    unsteered = {name for name, each in profile.services.items() if not each.prepends_steer}
    reports = inputs.region_reports
    return draining.advance_drains(
        profile, inputs.drains, levels, reports, now, unsteered=unsteered
    )


def _build_wanted(
    profile: Profile, decisions: Mapping[str, Decision], effects: Collection[str]
) -> tuple[Route, ...]:
    levels = tuple([each.level for each in decisions.values()])
    choices = tuple(
        [
            (each.service, each.next_hop, each.med)
            for each in decisions.values()
            if each.hop_choice is not None or each.med_choice is not None
        ]
    )
    return _build_routes(profile, levels, choices, frozenset(effects))


@lru_cache(maxsize=8)  # they are those of the pass before, nearly always
def _build_routes(
    profile: Profile,
    levels: tuple[Level, ...],
    choices: tuple[tuple[str, str | None, int | None], ...],
    draining: frozenset[str],
) -> tuple[Route, ...]:
    chosen = {name: (next_hop, med) for name, next_hop, med in choices}
    # The levels are in the profile's order.
    announced = [
        Announced(service, level, *chosen.get(name, (None, None)))
        for (name, service), level in zip(profile.services.items(), levels, strict=True)
    ]
    return build_wanted_routes(profile, announced, draining)


def _decide_with_choice(
    profile: Profile,
    service: Service,
    evidence: Evidence,
    context: Context,
    leased: _Leased | None,
    before: Memory,
    now: float,
) -> tuple[Decision, Memory]:
    """Decide the level of a service whose route has a next hop or a MED by choice."""
    choice: HopChoice | None = None
    if service.next_hops:
        verdicts = judge_next_hops(profile, service, evidence, now)
        if leased is not None and leased.next_hop is None and not _is_any_serving(verdicts):
            # The profile does not have the next hop of these routes any more.
            leased = leased._replace(level=Level.WITHDRAWN)
            context = context._replace(leased_level=Level.WITHDRAWN)
        hops = HopContext(
            (before.level if leased is None else leased.level) is not Level.WITHDRAWN,
            None if leased is None else leased.next_hop,
            context.returned_at,
            context.frozen_until,
        )
        choice, before = choose_next_hop(service, verdicts, hops, before, now)
    index = None if choice is None else choice.index
    verdict = judge_service(profile, service, evidence, now, index)
    if choice is not None:
        verdict = complete_verdict(service, verdict, choice)
    decision, after = decide_level(service, verdict, context, before, now)
    med: MedChoice | None = None
    if service.med_steps is not None:
        name = service.med_steps.check
        check = profile.checks[name], evidence.checks.get(name)
        leased_med = None if leased is None else leased.med
        med, after = _choose_med(service, check, context, decision, leased_med, after, now)
    chosen = [each for each in (choice, med) if each is not None]
    wakes = [decision.wake_at, *(each.wake_at for each in chosen)]
    changes = [each.change for each in chosen if each.change is not None]
    if decision.level is Level.WITHDRAWN:
        changes = []
    decision = decision._replace(
        wake_at=min((at for at in wakes if at is not None), default=None),
        hop_choice=choice,
        med_choice=med,
        changes=tuple(_to_transition(decision, each, now) for each in changes),
    )
    return decision, after


def _is_any_serving(verdicts: Iterable[Verdict]) -> bool:
    return any(each.serve.truth is Truth.TRUE for each in verdicts)


def _choose_med(
    service: Service,
    check: tuple[Check, CheckObservation | None],
    context: Context,
    decision: Decision,
    leased_med: int | None,
    memory: Memory,
    now: float,
) -> tuple[MedChoice, Memory]:
    """Choose the MED of a service with a MED by a check, after its level was decided."""
    # Where the level has changed, or nothing was announced, the MED goes with it.
    quiet = decision.transition is None and decision.level is not Level.WITHDRAWN
    meds = MedContext(quiet, leased_med, context.frozen_until)
    return choose_med(service, *check, meds, memory, now)


def _to_transition(decision: Decision, change: RouteChange, now: float) -> Transition:
    level = decision.level
    return Transition(
        decision.service, level, level, change.reason, change.detail, change.evidence_at, now
    )


def has_lost_routes(
    before: LeaseView,
    report: Report,
    leased: tuple[Route, ...] | None,
    *,
    answers_newest: bool,
) -> bool:
    """Tell whether a report says that no route is announced that this agent thought to be.

    ``before`` is what was known before this report, ``leased`` the routes on the lease now.
    ``answers_newest``: it answers the newest Want, and that had routes.
    """
    known = before.report
    if known is None:
        return False
    counts = known.lease_id == report.lease_id and report.expirations is not None
    if counts and report.expirations != known.expirations:
        return True
    if leased or report.expires_in is not None:
        return False
    if not before.connected:
        # Nothing that was decided meanwhile reached the wire, nor what was sent before: the lease
        # process is another one, or it closed the last connection before it read a Want.
        return True
    # Else this report was sent before the newest Want was read.
    return not counts and answers_newest


def restart_at_withdrawn(memory: Mapping[str, Memory], now: float) -> Mapping[str, Memory]:
    """Set the services that were announced to withdrawn: the lease has lost their routes.

    Nothing is announced any more, so they return step by step.  Returns name of the service -> its
    new memory, only for those services.  ``now`` is own time in seconds.
    """
    return {
        name: replace(each, level=Level.WITHDRAWN, level_began_at=now, changed_at=now)
        for name, each in memory.items()
        if each.level is not Level.WITHDRAWN
    }


class _Leased(NamedTuple):
    """What a new agent finds on the lease of one service; ``find_leased_choice`` explains two."""

    level: Level
    next_hop: str | None
    med: int | None


def _adopting(
    profile: Profile, memory: Mapping[str, Memory], lease: LeaseView
) -> dict[str, _Leased]:
    """Find how services are leased that have not adopted their level yet."""
    new = [
        s for name, s in profile.services.items() if name not in memory or not memory[name].adopted
    ]
    if lease.leased is None or not new:
        return {}
    routes, kept = index_by_prefix(lease.leased), read_levels(lease.levels)
    found = {}
    for each in new:
        its = routes.get(each.prefix, [])
        level = find_adopted_level(profile, each, its, kept)
        found[each.name] = _Leased(level, *find_leased_choice(profile, each, its))
    return found
