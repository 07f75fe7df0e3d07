"""How far a drain has got: its phase, the sessions that are left, whether it is safe to reboot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anycastd.decision.drains import DrainEffect, DrainPhase
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot
from anycastd.profile.model import Profile, Service


@dataclass(frozen=True, slots=True)
class DrainStatus:
    """A drain that covers a service; ``what`` it is of, who began it and why.

    Times in seconds: ``since`` it began, ``left`` until the longer path has stood long enough,
    ``until`` it ends by itself.  ``phase``: ``longer path``, ``waiting``, ``withdrawn``.
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


def describe_drain(hold: DrainEffect, now: float) -> DrainStatus:
    """Give what a drain does at ``now``."""
    drain = hold.drain
    ends = hold.cap.ends_at
    return DrainStatus(
        what=drain.scope,
        reason=drain.reason,
        by=drain.by,
        since=round(now - drain.began_at, 1),
        until=None if drain.ends_at is None else round(max(0.0, drain.ends_at - now), 1),
        phase=hold.phase.value,
        left=0.0 if ends is None else round(max(0.0, ends - now), 1),
        force=drain.force,
        stopping=drain.stopping,
    )


def count_open_sessions(service: Service, looks: Mapping[str, Observation]) -> int | None:
    """Count what is open at the frontends that the rules name; None where one cannot be seen."""
    found = None
    for instance, look in looks.items():
        for name in Query.of([service], instance).frontends:
            if isinstance(look, Gone):
                found = found or 0  # they ended with it
            elif isinstance(look, Snapshot) and name in look.frontends:
                found = (found or 0) + look.frontends[name].sessions
            else:
                return None
    return found


def is_drained(
    profile: Profile,
    service: Service,
    holds: Iterable[DrainEffect],
    sessions: int | None,
    now: float,
) -> bool:
    """Whether a drained service is as empty as it will get: nobody is left, or nobody leaves."""
    gone = [hold for hold in holds if hold.phase is DrainPhase.WITHDRAWN]
    if not gone or now < min(hold.safe_from for hold in gone):
        return False
    since = min(hold.drain.withdrawn_at[service.name] for hold in gone)
    return sessions == 0 or now - since >= profile.drain.linger
