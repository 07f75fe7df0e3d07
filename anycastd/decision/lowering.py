"""Find the services that a new profile would lower, on the same evidence (pure).

Both profiles are run into the future from the routes that are on the lease now.  What both of them
lower is no fault of the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.forecast import ForecastStep, forecast_levels
from anycastd.decision.kept_levels import find_adopted_level, read_levels
from anycastd.decision.levels import Level
from anycastd.decision.pipeline import Inputs, LeaseView, VipState
from anycastd.decision.policy import Decision
from anycastd.decision.routes import index_by_prefix
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import Levels, NeighborReport, Report
from anycastd.profile.model import Profile

FORECAST_DURATION = 3600.0
"""Seconds of the forecast: longer than every usual timer of a profile."""


@dataclass(frozen=True, slots=True)
class Lowering:
    """A service that only the new profile would lower.

    ``vip`` is its prefix.  ``before`` is its level on the lease.  ``after`` is the level that the
    new profile leads to, after ``delay`` seconds, for the reason in ``decision``.
    """

    service: str
    vip: str
    before: Level
    after: Level
    delay: float
    decision: Decision


def find_lowerings(
    old: tuple[Profile, Evidence],
    new: tuple[Profile, Evidence],
    leased: Iterable[Route],
    levels: Levels | None = None,
) -> tuple[Lowering, ...]:
    """Find the services that ``new`` would lower and ``old`` would not.

    ``old``, ``new``: a profile, and the evidence for its rules, gathered at the same time.
    ``leased``: the routes on the lease now, with their ``levels``.  A service that the new profile
    does not have is not found: whoever removes it says so.  Raises KeyError where a rule names a
    HAProxy that its profile does not have.
    """
    return tuple(_iter_lowerings(old, new, tuple(leased), levels))


def _iter_lowerings(
    old: tuple[Profile, Evidence],
    new: tuple[Profile, Evidence],
    leased: tuple[Route, ...],
    levels: Levels | None,
) -> Iterator[Lowering]:
    before, after = (forecast_running(*each, leased, levels) for each in (old, new))
    by_vip = {service.prefix: name for name, service in old[0].services.items()}
    routes, kept = index_by_prefix(leased), read_levels(levels)
    for name, service in new[0].services.items():
        known = by_vip.get(service.prefix)
        if known is None:
            continue
        its = routes.get(service.prefix, ())
        now = find_adopted_level(old[0], old[0].services[known], its, kept)
        limit = min(now, *(step.decision.level for step in before[known]))
        for step in after[name]:
            if step.decision.level < limit:
                yield Lowering(
                    name, service.prefix, now, step.decision.level, step.after, step.decision
                )
                break


def forecast_running(
    profile: Profile, evidence: Evidence, leased: tuple[Route, ...], levels: Levels | None = None
) -> dict[str, tuple[ForecastStep, ...]]:
    """Forecast the levels of a profile that starts with the routes ``leased``, of ``levels``.

    All sessions are up and all VIPs are in place.  Returns service name -> its steps.
    """
    neighbors = {
        str(each.address): NeighborReport(Session.UP, 0.0) for each in profile.bgp.neighbors
    }
    lease = LeaseView(True, Report("", 0, 0, None, neighbors, ()), leased, levels)
    vips = {service.prefix: VipState(True) for service in profile.services.values()}
    return forecast_levels(profile, {}, Inputs(evidence, vips, lease), 0.0, FORECAST_DURATION)
