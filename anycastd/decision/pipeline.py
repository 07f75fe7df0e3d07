"""advance(): the only composition of the stages.

Level, not edge: each pass derives the whole wanted set from what is known now; events only say
that a pass is due.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision import drains as draining
from anycastd.decision.caps import Context
from anycastd.decision.drains import DrainEffect, Table
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.policy import Decision, Transition, decide
from anycastd.decision.region_report import RegionReport
from anycastd.decision.routes import index_by_prefix, leased_level, wanted_routes
from anycastd.decision.verdict import judge_service
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import Report
from anycastd.profile.model import Profile


@dataclass(frozen=True, slots=True)
class VipState:
    """Whether a VIP stands usable on its interface; ``why`` in words."""

    usable: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LeaseView:
    """The lease as the agent sees it: connected or not, the newest report, and what is held.

    ``leased`` is None until the first report has come; it outlives a lost connection.
    """

    connected: bool = False
    report: Report | None = None
    leased: tuple[Route, ...] | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a pass sees: the newest value of every source, by name.

    ``vips``: prefix -> VipState.  ``drains``: as the last pass left them.
    ``others``: region name -> its newest answer.  ``returns``: service name -> when somebody last
    said `anycastd return`.
    """

    evidence: Evidence = field(default_factory=Evidence)
    vips: Mapping[str, VipState] = field(default_factory=dict)
    lease: LeaseView = LeaseView()
    drains: Table = field(default_factory=dict)
    region_reports: Mapping[str, RegionReport] = field(default_factory=dict)
    returns: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass gives.

    ``wanted`` is None while there is nothing to say yet: some HAProxy has not been looked at, so
    what the lease holds must be neither renewed nor withdrawn.  ``wake_at`` is when time alone
    may change the outcome (None: never).  ``drains`` are those that go on, ``holds`` what they do
    to each service.
    """

    memory: Mapping[str, Memory]
    wanted: tuple[Route, ...] | None
    decisions: Mapping[str, Decision]
    wake_at: float | None
    drains: Table = field(default_factory=dict)
    drain_effects: Mapping[str, tuple[DrainEffect, ...]] = field(default_factory=dict)

    @property
    def transitions(self) -> tuple[Transition, ...]:
        """The changes of level that this pass decided."""
        return tuple(d.transition for d in self.decisions.values() if d.transition is not None)


def advance(
    profile: Profile, memory: Mapping[str, Memory], inputs: Inputs, now: float
) -> PassResult:
    """Run one pass at ``now`` (seconds, own time) over everything known."""
    complete = all(name in inputs.evidence.haproxy for name in profile.haproxy)
    sessions = _sessions(inputs.lease)
    adopting = _adopting(profile, memory, inputs.lease.leased) if complete else {}
    levels_before = {name: each.level for name, each in memory.items() if each.adopted}
    unsteered = {name for name, each in profile.services.items() if not each.prepends_steer}
    going, holds = draining.advance_drains(
        profile, inputs.drains, levels_before, inputs.region_reports, now, unsteered=unsteered
    )
    decisions: dict[str, Decision] = {}
    remembered: dict[str, Memory] = {}
    for name, service in profile.services.items():
        verdict = judge_service(profile, service, inputs.evidence, now)
        held = adopting.get(name)
        vip = inputs.vips.get(service.prefix)
        there = None if vip is None else vip.usable
        drain = holds[name][0].cap if name in holds else None
        around = Context(sessions, there, held, drain, returned_at=inputs.returns.get(name))
        before = memory.get(name) or Memory(level_began_at=now)
        decisions[name], remembered[name] = decide(service, verdict, around, before, now)
    wake = [d.wake_at for d in decisions.values() if d.wake_at is not None]
    wake += draining.wake_times(going)
    levels = [(profile.services[name], d.level) for name, d in decisions.items()]
    ready = complete and inputs.lease.leased is not None
    return PassResult(
        memory=remembered,
        wanted=wanted_routes(profile, levels, holds) if ready else None,
        decisions=decisions,
        wake_at=min(wake, default=None),
        drains=going,
        drain_effects=holds,
    )


def restart_at_withdrawn(memory: Mapping[str, Memory], now: float) -> Mapping[str, Memory]:
    """Give other memories to those that think they are announced, once the lease ran out.

    Nothing is held any more, so they come back step by step.
    """
    return {
        name: replace(each, level=Level.WITHDRAWN, level_began_at=now, changed_at=now)
        for name, each in memory.items()
        if each.level is not Level.WITHDRAWN
    }


def _adopting(
    profile: Profile, memory: Mapping[str, Memory], held: tuple[Route, ...] | None
) -> dict[str, Level]:
    """Find the levels at which the lease holds the services that have not adopted theirs yet."""
    new = [
        s for name, s in profile.services.items() if name not in memory or not memory[name].adopted
    ]
    if held is None or not new:
        return {}
    found = index_by_prefix(held)
    return {each.name: leased_level(profile, each, found.get(each.prefix, ())) for each in new}


def _sessions(lease: LeaseView) -> bool | None:
    """Whether any session is up; None while the lease cannot tell."""
    if not lease.connected or lease.report is None:
        return None
    states = [peer.session for peer in lease.report.neighbors.values()]
    if Session.UP in states:
        return True
    return None if Session.UNKNOWN in states else False
