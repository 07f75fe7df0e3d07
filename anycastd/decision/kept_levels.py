"""The levels that an agent leaves on the lease for the next one, beside its routes (pure).

The next agent may have another profile, so the path of a route need not tell its level any more.
The lease process keeps both from the same message, so they cannot disagree.  An older agent or
lease process says no levels: then the nearest path counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from anycastd.bgp.route import Route
from anycastd.decision.levels import Level
from anycastd.decision.policy import Decision
from anycastd.decision.routes import find_leased_level
from anycastd.lease.messages import Levels
from anycastd.profile.model import Profile, Service

_BY_LABEL = {level.label: level for level in Level if level is not Level.WITHDRAWN}


def group_levels(profile: Profile, decisions: Mapping[str, Decision]) -> Levels:
    """Return what the lease is told of the levels: name of a level -> the prefixes at it.

    ``decisions``: name of the service -> its decision.
    """
    found: dict[str, list[str]] = {label: [] for label in _BY_LABEL}
    for name, decision in decisions.items():
        if decision.level is not Level.WITHDRAWN:
            found[decision.level.label].append(profile.services[name].prefix)
    return {label: tuple(prefixes) for label, prefixes in found.items() if prefixes}


def read_levels(levels: Levels | None) -> dict[str, Level]:
    """Return the level of each prefix, as the lease has them; empty where nobody said them.

    Of two levels for one prefix the lowest counts, and a level of a later release is left out.
    """
    found: dict[str, Level] = {}
    for label, prefixes in (levels or {}).items():
        level = _BY_LABEL.get(label)
        if level is not None:
            for prefix in prefixes:
                found[prefix] = min(level, found.get(prefix, level))
    return found


def find_adopted_level(
    profile: Profile, service: Service, leased: Iterable[Route], kept: Mapping[str, Level]
) -> Level:
    """Find the level at which a new agent begins with the leased routes of a service.

    ``kept``: prefix -> the level that the agent before said.  Without it the nearest path counts.
    Returns WITHDRAWN where none of the profile's neighbors has a route.
    """
    nearest = find_leased_level(profile, service, leased)
    return nearest if nearest is Level.WITHDRAWN else kept.get(service.prefix, nearest)
