"""Compute the monitoring code of a status (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anycastd.bgp.session import Session
from anycastd.decision.levels import Level


def compute_severity(status: Mapping[str, Any]) -> int:
    """Compute the monitoring code of ``status`` (as JSON): 0 ok, 1 warning, 2 critical.

    Critical: a service is withdrawn without a drain, or no session is up.  Warning: a service is
    below preferred, a session is down, a neighbor does not have the wanted route, or there is any
    other problem.  Raises KeyError where ``status`` is not a complete status.
    """
    lost = [
        service
        for service in status["services"].values()
        if service["level"] == Level.WITHDRAWN.label and not service.get("drains")
    ]
    levels = [service["level"] for service in status["services"].values()]
    sessions = [neighbor["session"] for neighbor in status["neighbors"].values()]
    if lost or Session.UP.value not in sessions:
        return 2
    preferred = all(level == Level.PREFERRED.label for level in levels)
    all_up = all(session == Session.UP.value for session in sessions)
    synced = all(service["in_sync"] for service in status["services"].values())
    return 0 if preferred and all_up and synced and not status["problems"] else 1
