"""Run one pass: ``advance``, the only composition of the files above (pure).

Each pass computes all wanted routes from the newest inputs.  An event only says that a pass is due;
what it tells is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from anycastd.bgp.negotiated import IPV4, IPV6, name_family
from anycastd.bgp.route import Route
from anycastd.decision import drains as draining
from anycastd.decision.caps import Context
from anycastd.decision.drains import DrainEffect, DrainTable
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.policy import Decision, Transition, decide_level
from anycastd.decision.region_report import RegionReport
from anycastd.decision.routes import build_wanted_routes, find_leased_level, index_by_prefix
from anycastd.decision.sessions import find_session
from anycastd.decision.verdict import judge_service
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import Report
from anycastd.profile.model import Profile


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
    ``leased`` are the routes on the lease.  Both are None before the first report, and stay when
    the connection is lost.
    """

    connected: bool = False
    report: Report | None = None
    leased: tuple[Route, ...] | None = None


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
        """Return the changes of level that this pass decided."""
        return tuple(d.transition for d in self.decisions.values() if d.transition is not None)


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
    adopting = _adopting(profile, memory, inputs.lease.leased) if complete else {}
    levels_before = {name: each.level for name, each in memory.items() if each.adopted}
    unsteered = {name for name, each in profile.services.items() if not each.prepends_steer}
    going, effects = draining.advance_drains(
        profile, inputs.drains, levels_before, inputs.region_reports, now, unsteered=unsteered
    )
    evidence, vips, returned_at = inputs.evidence, inputs.vips, inputs.returned_at
    decisions: dict[str, Decision] = {}
    remembered: dict[str, Memory] = {}
    for name, service in profile.services.items():
        verdict = judge_service(profile, service, evidence, now)
        vip = vips.get(service.prefix)
        vip_usable = None if vip is None else vip.usable
        drain = effects[name][0].cap if name in effects else None
        context = Context(
            sessions[name_family(service.prefix)],
            vip_usable,
            adopting.get(name),
            drain,
            returned_at.get(name),
            inputs.frozen_until,
        )
        before = memory.get(name) or Memory(level_began_at=now)
        decisions[name], remembered[name] = decide_level(service, verdict, context, before, now)
    wake = [d.wake_at for d in decisions.values() if d.wake_at is not None]
    wake += draining.iter_end_times(going)
    levels = [(profile.services[name], d.level) for name, d in decisions.items()]
    ready = complete and inputs.lease.leased is not None
    return PassResult(
        memory=remembered,
        wanted=build_wanted_routes(profile, levels, effects) if ready else None,
        decisions=decisions,
        wake_at=min(wake, default=None),
        drains=going,
        drain_effects=effects,
    )


def restart_at_withdrawn(memory: Mapping[str, Memory], now: float) -> Mapping[str, Memory]:
    """Set the services that were announced to withdrawn, after an expiry of the lease.

    Nothing is announced any more, so they return step by step.  Returns name of the service -> its
    new memory, only for those services.  ``now`` is own time in seconds.
    """
    return {
        name: replace(each, level=Level.WITHDRAWN, level_began_at=now, changed_at=now)
        for name, each in memory.items()
        if each.level is not Level.WITHDRAWN
    }


def _adopting(
    profile: Profile, memory: Mapping[str, Memory], leased: tuple[Route, ...] | None
) -> dict[str, Level]:
    """Find the levels at which services are leased that have not adopted their level yet."""
    new = [
        s for name, s in profile.services.items() if name not in memory or not memory[name].adopted
    ]
    if leased is None or not new:
        return {}
    routes = index_by_prefix(leased)
    return {
        each.name: find_leased_level(profile, each, routes.get(each.prefix, ())) for each in new
    }
