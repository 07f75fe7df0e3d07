"""The progress of a drain: its phase, the sessions left, and whether it is safe to reboot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anycastd.decision.drains import DrainEffect, DrainPhase
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot
from anycastd.profile.model import Profile, Service


@dataclass(frozen=True, slots=True)
class DrainStatus:
    """A drain of a service: what it covers (``what``), who began it (``by``), and why (``reason``).

    Durations in seconds: ``since`` its beginning, ``left`` of the wait at the longest path,
    ``until`` it ends by itself (None: an operator ends it).  ``phase``: ``longer path``,
    ``waiting`` or ``withdrawn``.  ``force``: no other region is asked.  ``stopping``: it is for a
    stop of the agent.  ``unreadable``: it stands for drains that could not be read.  The field
    names are JSON keys.
    """

    what: str
    reason: str
    by: str
    since: float
    until: float | None
    phase: str
    left: float
    force: bool
    stopping: bool
    unreadable: bool = False


def describe_drain(effect: DrainEffect, now: float) -> DrainStatus:
    """Describe the effect of a drain at ``now`` (own time)."""
    drain = effect.drain
    wait_ends_at = effect.cap.ends_at
    return DrainStatus(
        what=drain.scope,
        reason=drain.reason,
        by=drain.by,
        since=round(now - drain.began_at, 1),
        until=None if drain.ends_at is None else round(max(0.0, drain.ends_at - now), 1),
        phase=effect.phase.value,
        left=0.0 if wait_ends_at is None else round(max(0.0, wait_ends_at - now), 1),
        force=drain.force,
        stopping=drain.stopping,
        unreadable=drain.unreadable,
    )


def count_open_sessions(service: Service, looks: Mapping[str, Observation]) -> int | None:
    """Count the open sessions of the frontends that the service's rules name.

    ``looks``: name of the HAProxy -> its newest observation.  Returns None if the rules name no
    frontend, or if HAProxy did not show one of them.
    """
    total = None
    for instance, look in looks.items():
        for name in Query.from_services([service], instance).frontends:
            if isinstance(look, Gone):
                total = total or 0  # sessions end with their HAProxy
            elif isinstance(look, Snapshot) and name in look.frontends:
                total = (total or 0) + look.frontends[name].sessions
            else:
                return None
    return total


def is_drained(
    profile: Profile,
    service: Service,
    effects: Iterable[DrainEffect],
    sessions: int | None,
    now: float,
) -> bool:
    """Return whether a drained service is withdrawn and the wait for its sessions is over.

    That wait is over when no session is left, or `drain.linger` seconds after the withdrawal.
    ``sessions``: how many are open (None: not known).  ``now`` is own time.
    """
    withdrawn = [effect for effect in effects if effect.phase is DrainPhase.WITHDRAWN]
    if not withdrawn or now < min(effect.safe_from for effect in withdrawn):
        return False
    withdrawn_at = min(effect.drain.withdrawn_at[service.name] for effect in withdrawn)
    return sessions == 0 or now - withdrawn_at >= profile.drain.linger
