"""Tell what is announced in fact, and compute the monitoring code of a status (pure).

All of it works on a status as JSON, also on that of an older agent.  Commands import this, so it
imports little.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anycastd.bgp.session import Session
from anycastd.decision.levels import Level

NOT_ANNOUNCED = "not announced"
"""State of a service that is to be announced, and no session carries its routes."""
NOT_KNOWN = "not known"
"""State of a service that is to be announced, while the speaker reports nothing."""
SEVERITIES = ("ok", "warning", "critical")
"""Names of the monitoring codes 0 to 2."""

_UP = Session.UP.value
_WITHDRAWN, _PREFERRED = Level.WITHDRAWN.label, Level.PREFERRED.label


def find_state(service: Mapping[str, Any]) -> str:
    """Return the level of a service as it is in fact.

    The level is what the agent wants; without a session nothing of it is announced.  Returns
    the level, ``NOT_ANNOUNCED`` or ``NOT_KNOWN``.
    """
    level: str = service["level"]
    if level == _WITHDRAWN:
        return level
    wanted = [one for one in service["neighbors"].values() if one["wanted"] is not None]
    if not wanted or any(is_carried(one) for one in wanted):
        return level
    unknown = all(one["session"] == Session.UNKNOWN.value for one in wanted)
    return NOT_KNOWN if unknown else NOT_ANNOUNCED


def is_carried(one: Mapping[str, Any]) -> bool:
    """Tell whether a session is up for the announcement of a service at a neighbor."""
    return one["session"] == _UP and one.get("negotiated") is not False


def count_announced(service: Mapping[str, Any]) -> tuple[int, int]:
    """Count the neighbors that have the wanted route, and those that are to have one.

    Of a service that is withdrawn: the neighbors that still have a route, and all neighbors.
    """
    ones = list(service["neighbors"].values())
    if service["level"] == _WITHDRAWN:
        return sum(is_carried(one) and one["acknowledged"] is not None for one in ones), len(ones)
    wanted = [one for one in ones if one["wanted"] is not None]
    return sum(one["in_sync"] is True for one in wanted), len(wanted)


def compute_service_severity(service: Mapping[str, Any]) -> int:
    """Compute the monitoring code of one service; ``compute_severity`` explains the codes."""
    state = find_state(service)
    if state == NOT_ANNOUNCED or (state == _WITHDRAWN and not service.get("drains")):
        return 2
    well = state == _PREFERRED and service["in_sync"] and not service.get("held")
    return 0 if well else 1


def compute_severity(status: Mapping[str, Any]) -> int:
    """Compute the monitoring code of ``status`` (as JSON): 0 ok, 1 warning, 2 critical.

    Critical: a service is withdrawn without a drain, no session carries a service, or no session is
    up.  Warning: a service is below preferred, or stays only while HAProxy does not answer; a
    session is down, a neighbor does not have the wanted route, or there is any other problem.
    Raises KeyError where ``status`` is not a complete status.
    """
    codes = [compute_service_severity(service) for service in status["services"].values()]
    sessions = [neighbor["session"] for neighbor in status["neighbors"].values()]
    if _UP not in sessions:
        return 2
    all_up = all(session == _UP for session in sessions)
    return max((*codes, 0 if all_up and not status["problems"] else 1))
