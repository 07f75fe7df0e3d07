"""Advance drains: what an operator's drain does to each service now (pure).

A drain covers one service, or all of them.  For each service that it covers it goes through these
phases::

    LONGER_PATH  the longest path, for `drain.wait` seconds, so that other regions take over first
    WAITING      the wait is over, but no other region is known to serve: stay at the longest path
    WITHDRAWN    not announced until the drain ends, whatever the other regions do

There is no wait for a service that is withdrawn already, nor where longer paths move no traffic
(``unsteered``).

**The guard** is asked before every withdrawal.  It wants a report of another agent, requested
after the drain began, which says that it serves and is not drained itself: another appliance of
this region, or one of another region.  An agent without such a report counts as not serving.  Two
that are drained at the same time would wait for each other for ever.  So an agent may also leave if
one that is listed after it in `regions` has stayed: it still served ``SETTLE_TIME`` after the drain
began.  The last of the list has none after it, so it never leaves in this way.  So both appliances
of a region leave at once only if another region serves.  With ``force``, and for a stop of the
agent, the guard is not asked.

A service may be covered by two drains: its own and that of all services.  The lower cap counts.

**What could not be read is a drain, too** (``Drain.unreadable``).  Where the file of an earlier
agent is damaged, nobody knows what an operator had drained.  So the services that it may have been
about stay at the longest path until `anycastd undrain`.  Where longer paths move no traffic, they
are withdrawn as by any drain there: as soon as the guard says yes.

All times are own time in seconds, the clock of ``now``.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import inf

from anycastd.decision.caps import Cap
from anycastd.decision.levels import CapSource, Level
from anycastd.decision.region_report import REPORT_MAX_AGE, RegionReport
from anycastd.profile.model import Profile, Service
from anycastd.reasons import Reason

ALL_SERVICES = "*"
"""Key of the drain of all services in the table of drains."""
AGENT_STOP = "*stop"
"""Key of the drain for a stop of the agent in the table of drains."""
UNREADABLE = "*unreadable"
"""Key of a drain that could not be read; that of a single service has its name after it."""
REPORT_LIFETIME = 5.0
"""Seconds (own time) after its request for which a report of another region counts."""
REPORT_MARGIN = REPORT_MAX_AGE + 0.05
"""Seconds after the beginning of a drain; a report that was requested before that does not count.

It is not 0: the other agent may answer with a report that it built before the request.
"""
SETTLE_TIME = 2 * REPORT_LIFETIME
"""Seconds after which no other region still acts on a report from before a drain began."""


class DrainPhase(Enum):
    """Phase of a drain for one service; the values are shown in the status."""

    LONGER_PATH = "longer path"
    WAITING = "waiting"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Drain:
    """One drain: of ``service``, or of all services (None).

    ``reason`` and ``by`` are an operator's texts.  ``began_at``, ``ends_at`` (None: it does not end
    by itself): own time.  ``wait``: seconds at the longest path.  ``force``: the guard is not
    asked.  ``stopping``: it is for a stop of the agent; the next agent does not continue it.
    ``unreadable``: it stands for drains that could not be read, and ``reason`` says why.
    ``withdrawn_at``: service name -> when this drain withdrew it (own time).
    """

    reason: str
    by: str
    began_at: float
    wait: float
    service: str | None = None
    ends_at: float | None = None
    force: bool = False
    stopping: bool = False
    unreadable: bool = False
    withdrawn_at: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Return the key in the table: one drain for each service, one of all, one for a stop."""
        if self.unreadable:
            return UNREADABLE if self.service is None else f"{UNREADABLE} {self.service}"
        return AGENT_STOP if self.stopping else self.service or ALL_SERVICES

    @property
    def scope(self) -> str:
        """Return what the drain covers, for messages: a service's name, or `all services`."""
        return "all services" if self.service is None else self.service

    def covers(self, service: str) -> bool:
        """Return whether the drain covers ``service`` (its name)."""
        return self.service in (None, service)


DrainTable = Mapping[str, Drain]
"""All drains: ``Drain.key`` -> Drain."""


@dataclass(frozen=True, slots=True)
class DrainEffect:
    """Effect of one drain on one service in this pass.

    ``cap`` is the cap on the service's level.  ``safe_from`` (own time): earliest moment at which
    the service may count as drained.
    """

    drain: Drain
    phase: DrainPhase
    cap: Cap
    safe_from: float


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """Answer of the guard: whether another agent serves the VIP.

    ``detail`` says which one serves, or why none does; it is a text for operators.
    """

    serves: bool
    detail: str


# The guard ---------------------------------------------------------------------------------------


def check_other_regions(
    profile: Profile,
    service: Service,
    reports: Mapping[str, RegionReport],
    began_at: float,
    now: float,
) -> GuardVerdict:
    """Decide whether another agent serves, and is not drained itself: of this region or another.

    ``reports``: agent's name -> its newest report.  Only reports count that were requested more
    than REPORT_MARGIN after ``began_at`` and are not older than REPORT_LIFETIME.  ``began_at``
    and ``now`` are own time in seconds.  Without `regions` in the profile the answer is yes.
    """
    if not profile.regions:
        return GuardVerdict(True, "no `regions` in the profile: no other region was asked")
    details = []
    # The other appliances of this region first: then no traffic leaves the region.
    for agent in sorted(profile.regions, key=lambda agent: agent.region != profile.region):
        name = agent.name
        if name == profile.agent_name:
            continue
        report = reports.get(name)
        if (
            report is None
            or report.asked_at <= began_at + REPORT_MARGIN
            or now - report.asked_at > REPORT_LIFETIME
        ):
            details.append(f"{name} has not answered yet")
            continue
        vip = report.vips.get(service.prefix)
        if report.detail:
            details.append(f"{name} {report.detail}")
        elif vip is None:
            details.append(f"{name} does not have {service.vip}")
        elif not vip.serves:
            details.append(f"{name} does not serve")
        elif not vip.draining:
            return GuardVerdict(True, f"{name} serves{_describe_move(profile, agent.region)}")
        else:
            details.append(f"{name} is being drained itself")
    return GuardVerdict(False, ", ".join(details) or "no other region is listed")


def _describe_move(profile: Profile, region: str) -> str:
    """Say that traffic leaves this region, where it has several appliances and none stays."""
    if profile.appliance is None or region == profile.region:
        return ""
    return f", no other appliance of {profile.region}"


def _is_outranked(
    profile: Profile,
    service: Service,
    reports: Mapping[str, RegionReport],
    began_at: float,
    now: float,
) -> bool:
    """Tell whether an agent that is listed after this one has stayed, drained or not.

    It could only leave if it had heard, before our drain began, that we serve.  After
    ``SETTLE_TIME`` it would have left.
    """
    names = [region.name for region in profile.regions]
    own = profile.agent_name
    later = names[names.index(own) + 1 :] if own in names else []
    for name in later:
        report = reports.get(name)
        if (
            report is None
            or now - report.asked_at > REPORT_LIFETIME
            or report.asked_at < began_at + SETTLE_TIME
        ):
            continue
        vip = report.vips.get(service.prefix)
        if vip is not None and vip.serves:
            return True
    return False


def needs_region_reports(profile: Profile, table: DrainTable) -> bool:
    """Return whether a drain needs reports of the other agents now.

    It does until it has withdrawn all services that it covers, unless the guard is not asked.
    """
    return bool(profile.regions) and any(
        not (drain.force or drain.stopping)
        and any(
            drain.covers(name)
            and name not in drain.withdrawn_at
            and not (drain.unreadable and service.prepends_steer)
            for name, service in profile.services.items()
        )
        for drain in table.values()
    )


# The pass ----------------------------------------------------------------------------------------


def advance_drains(
    profile: Profile,
    table: DrainTable,
    levels: Mapping[str, Level],
    reports: Mapping[str, RegionReport],
    now: float,
    *,
    unsteered: Container[str] = (),
) -> tuple[DrainTable, Mapping[str, tuple[DrainEffect, ...]]]:
    """Advance all drains in one pass at ``now`` (own time, seconds).

    ``levels``: service name -> its level before the pass, where known.  ``reports``: agent's name
    -> its newest report.  ``unsteered``: names of the services for which longer paths move no
    traffic.

    Returns the drains that go on, and service name -> the effects of the drains that cover it.  The
    first effect is the one that counts.
    """
    active = {key: d for key, d in table.items() if d.ends_at is None or now < d.ends_at}
    effects: dict[str, tuple[DrainEffect, ...]] = {}
    if not active:
        return active, effects
    for name, service in profile.services.items():
        found = []
        for key, drain in list(active.items()):
            if not drain.covers(name):
                continue
            steers = name not in unsteered
            if drain.unreadable and steers:
                found.append(_effect_of_unreadable(drain))
                continue
            waited = now >= drain.began_at + drain.wait or not steers
            ready = waited or levels.get(name) is Level.WITHDRAWN
            guard = _ask_guard(profile, service, drain, reports, now) if ready else None
            if name not in drain.withdrawn_at and guard is not None and guard.serves:
                active[key] = replace(drain, withdrawn_at={**drain.withdrawn_at, name: now})
            found.append(_effect_on(name, active[key], guard, steers=steers))
        if found:
            # Of two with the same level the one that ends first, so that a pass runs when it ends.
            found.sort(key=lambda effect: (effect.cap.level, effect.cap.ends_at or inf))
            effects[name] = tuple(found)
    return active, effects


def _ask_guard(
    profile: Profile,
    service: Service,
    drain: Drain,
    reports: Mapping[str, RegionReport],
    now: float,
) -> GuardVerdict:
    if drain.force or drain.stopping:
        return GuardVerdict(True, "forced: no other region was asked")
    verdict = check_other_regions(profile, service, reports, drain.began_at, now)
    if not verdict.serves and _is_outranked(profile, service, reports, drain.began_at, now):
        return GuardVerdict(True, f"{_name_kind(profile)} that is listed after this one stays")
    return verdict


def _name_kind(profile: Profile) -> str:
    return "a region" if profile.appliance is None else "an agent"


def _effect_on(name: str, drain: Drain, guard: GuardVerdict | None, *, steers: bool) -> DrainEffect:
    """Build the effect of a drain on service ``name``; ``guard``: None before the wait is over."""
    detail = f"{drain.reason}; by {drain.by}" if drain.by else drain.reason
    unreadable = Reason.DRAINS_UNREADABLE if drain.unreadable else None
    source = CapSource.DRAINS_FILE if drain.unreadable else CapSource.DRAIN
    if name in drain.withdrawn_at:
        cap = Cap(Level.WITHDRAWN, unreadable or Reason.DRAINED, detail, source=source)
        # Where longer paths move no traffic, it only begins to leave with the withdrawal.
        safe_from = drain.withdrawn_at[name] + (0.0 if steers else drain.wait)
        return DrainEffect(drain, DrainPhase.WITHDRAWN, cap, safe_from)
    if guard is not None:
        reason, text = unreadable or Reason.DRAIN_WAITS, f"{detail}; {guard.detail}"
        cap = Cap(Level.STANDBY, reason, text, source=source)
        return DrainEffect(drain, DrainPhase.WAITING, cap, drain.began_at)
    cap = Cap(Level.STANDBY, Reason.DRAINING, detail, drain.began_at + drain.wait, source)
    return DrainEffect(drain, DrainPhase.LONGER_PATH, cap, drain.began_at)


def _effect_of_unreadable(drain: Drain) -> DrainEffect:
    """Build the effect of drains that could not be read, where longer paths move traffic."""
    cap = Cap(Level.STANDBY, Reason.DRAINS_UNREADABLE, drain.reason, source=CapSource.DRAINS_FILE)
    return DrainEffect(drain, DrainPhase.WAITING, cap, drain.began_at)


def iter_end_times(table: DrainTable) -> Iterator[float]:
    """Yield the times (own time) at which drains end by themselves."""
    return (drain.ends_at for drain in table.values() if drain.ends_at is not None)
