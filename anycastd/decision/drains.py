"""Drains: an operator's word that a service, or every one, is to leave gently -> a cap on it.

A drain's life, for each service that it covers::

    LONGER      the longest path, for `wait` seconds: the others take over before it goes
    WAITING     the wait is over, and no other region is known to serve: it stays where it is
    WITHDRAWN   not announced, until the drain ends, whatever happens elsewhere

What is withdrawn already, and what prepends do not steer (``unsteered``), does not wait; but
everybody asks the guard.  The guard wants to hear from another region, after this drain began,
that it serves and is not being drained itself; who does not answer does not serve.  Two regions
that are drained at once would wait for each other for ever, so the one that is listed before the
other goes, once it has seen the other stay: the last of the list never does.  ``force`` and a stop
ask nobody.

Two drains may cover a service, its own and that of everything; the lower cap counts.  All times
are seconds on the clock that ``now`` comes from, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import inf, isfinite
from typing import Any

from anycastd.decision.caps import Cap
from anycastd.decision.levels import Level
from anycastd.decision.region_report import REPORT_MAX_AGE, RegionReport, clean_text
from anycastd.profile.model import Profile, Service
from anycastd.reasons import Reason

ALL = "*"
STOP = "*stop"
REPORT_LIFETIME = 5.0
"""Seconds for which a report of another region counts, from the request."""
REPORT_MARGIN = REPORT_MAX_AGE + 0.05
"""A report counts only if it was requested so many seconds after the drain began: the other agent
may send a report that it built before the request."""
SETTLE_TIME = 2 * REPORT_LIFETIME
"""Seconds after which no other region can still act on a report from before our drain."""


class DrainPhase(Enum):
    """Where a drain is with a service."""

    LONGER_PATH = "longer path"
    WAITING = "waiting"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Drain:
    """One drain: of ``service``, or of everything (None).

    ``until`` is when it ends by itself.  ``force``: nobody is asked.  ``stopping``: for a stop of
    the agent, forgotten by the next one.  ``gone``: service -> since when this has it withdrawn.
    """

    reason: str
    by: str
    began_at: float
    wait: float
    service: str | None = None
    ends_at: float | None = None
    force: bool = False
    stopping: bool = False
    withdrawn_at: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name in the table: there is one drain of a kind."""
        return STOP if self.stopping else self.service or ALL

    @property
    def scope(self) -> str:
        """What it covers, in words."""
        return "all services" if self.service is None else self.service

    def covers(self, service: str) -> bool:
        """Whether it is about ``service``."""
        return self.service in (None, service)


Table = Mapping[str, Drain]


@dataclass(frozen=True, slots=True)
class DrainEffect:
    """What a drain does to a service now; ``safe_from``: not before that may it count as empty."""

    drain: Drain
    phase: DrainPhase
    cap: Cap
    safe_from: float


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """Whether the VIP is in good hands without us, and why in words."""

    serves: bool
    detail: str


# The guard ---------------------------------------------------------------------------------------


def another_region_serves(
    profile: Profile, service: Service, others: Mapping[str, RegionReport], since: float, now: float
) -> GuardVerdict:
    """Say whether another region serves, by answers to what was asked after ``since``."""
    names = [region.name for region in profile.regions]
    if not names:
        return GuardVerdict(True, "no `regions` in the profile: nobody was asked")
    whys = []
    for name in names:
        if name == profile.region:
            continue
        other = others.get(name)
        if (
            other is None
            or other.asked_at <= since + REPORT_MARGIN
            or now - other.asked_at > REPORT_LIFETIME
        ):
            whys.append(f"{name} has not answered yet")
            continue
        one = other.vips.get(service.prefix)
        if other.detail:
            whys.append(f"{name} {other.detail}")
        elif one is None:
            whys.append(f"{name} does not have {service.vip}")
        elif not one.serves:
            whys.append(f"{name} does not serve")
        elif not one.draining:
            return GuardVerdict(True, f"{name} serves")
        else:
            whys.append(f"{name} is being drained itself")
    return GuardVerdict(False, ", ".join(whys) or "no other region is listed")


def _outranked(
    profile: Profile, service: Service, others: Mapping[str, RegionReport], since: float, now: float
) -> bool:
    """Whether a region that is listed after this one serves and stays, being drained or not.

    Such a region could leave only if it had heard, before our drain began, that we serve; by
    ``SETTLE_TIME`` it would have done so.
    """
    names = [region.name for region in profile.regions]
    later = names[names.index(profile.region) + 1 :] if profile.region in names else []
    for name in later:
        other = others.get(name)
        if (
            other is None
            or now - other.asked_at > REPORT_LIFETIME
            or other.asked_at < since + SETTLE_TIME
        ):
            continue
        one = other.vips.get(service.prefix)
        if one is not None and one.serves:
            return True
    return False


def needs_region_reports(profile: Profile, table: Table) -> bool:
    """Whether some drain wants to hear from the other regions now."""
    return bool(profile.regions) and any(
        not (drain.force or drain.stopping)
        and any(drain.covers(name) and name not in drain.withdrawn_at for name in profile.services)
        for drain in table.values()
    )


# The pass ----------------------------------------------------------------------------------------


def advance_drains(
    profile: Profile,
    table: Table,
    levels: Mapping[str, Level],
    others: Mapping[str, RegionReport],
    now: float,
    *,
    unsteered: Container[str] = (),
) -> tuple[Table, Mapping[str, tuple[DrainEffect, ...]]]:
    """Run one pass at ``now``: the drains that go on, and what they do to each service.

    ``levels`` are those before the pass, where known.  ``unsteered`` names the services for which
    a longer path moves nobody.  The first hold is the one that counts.
    """
    going = {key: d for key, d in table.items() if d.ends_at is None or now < d.ends_at}
    holds: dict[str, tuple[DrainEffect, ...]] = {}
    if not going:
        return going, holds
    for name, service in profile.services.items():
        found = []
        for key, drain in list(going.items()):
            if not drain.covers(name):
                continue
            steers = name not in unsteered
            waited = now >= drain.began_at + drain.wait or not steers
            ready = waited or levels.get(name) is Level.WITHDRAWN
            guard = _guard(profile, service, drain, others, now) if ready else None
            if name not in drain.withdrawn_at and guard is not None and guard.serves:
                going[key] = replace(drain, withdrawn_at={**drain.withdrawn_at, name: now})
            found.append(_hold(going[key], name, guard, steers=steers))
        if found:
            # Of equal ones that which ends first, so that a pass is due when it does.
            found.sort(key=lambda hold: (hold.cap.level, hold.cap.ends_at or inf))
            holds[name] = tuple(found)
    return going, holds


def _guard(
    profile: Profile, service: Service, drain: Drain, others: Mapping[str, RegionReport], now: float
) -> GuardVerdict:
    if drain.force or drain.stopping:
        return GuardVerdict(True, "forced: nobody was asked")
    found = another_region_serves(profile, service, others, drain.began_at, now)
    if not found.serves and _outranked(profile, service, others, drain.began_at, now):
        return GuardVerdict(True, "a region that is listed after this one stays")
    return found


def _hold(drain: Drain, name: str, guard: GuardVerdict | None, *, steers: bool) -> DrainEffect:
    detail = f"{drain.reason}; by {drain.by}" if drain.by else drain.reason
    if name in drain.withdrawn_at:
        cap = Cap(Level.WITHDRAWN, Reason.DRAINED, detail)
        # Where the longer path moves nobody, only the withdrawal begins to.
        safe = drain.withdrawn_at[name] + (0.0 if steers else drain.wait)
        return DrainEffect(drain, DrainPhase.WITHDRAWN, cap, safe)
    if guard is not None:
        cap = Cap(Level.STANDBY, Reason.DRAIN_WAITS, f"{detail}; {guard.detail}")
        return DrainEffect(drain, DrainPhase.WAITING, cap, drain.began_at)
    cap = Cap(Level.STANDBY, Reason.DRAINING, detail, drain.began_at + drain.wait)
    return DrainEffect(drain, DrainPhase.LONGER_PATH, cap, drain.began_at)


def wake_times(table: Table) -> Iterator[float]:
    """Yield when time alone ends a drain."""
    return (drain.ends_at for drain in table.values() if drain.ends_at is not None)


# Across a restart --------------------------------------------------------------------------------


def dump_drains(table: Table, now: float) -> list[dict[str, Any]]:
    """Give the drains that outlive this agent as plain values, with ages instead of times."""
    return [
        {
            "service": drain.service,
            "reason": drain.reason,
            "by": drain.by,
            "age": now - drain.began_at,
            "wait": drain.wait,
            "left": None if drain.ends_at is None else drain.ends_at - now,
            "force": drain.force,
            "gone": {name: now - since for name, since in drain.withdrawn_at.items()},
        }
        for drain in table.values()
        if not drain.stopping
    ]


def load_drains(items: Iterable[Mapping[str, Any]], then: float) -> dict[str, Drain]:
    """Read what ``pack`` gave at ``then``; raises ValueError for anything else."""
    try:
        drains = [
            Drain(
                reason=clean_text(item["reason"]),
                by=clean_text(item["by"]),
                began_at=then - _seconds(item["age"]),
                wait=_seconds(item["wait"]),
                service=None if item["service"] is None else str(item["service"]),
                ends_at=None if item["left"] is None else then + _seconds(item["left"]),
                force=bool(item["force"]),
                withdrawn_at={
                    str(name): then - _seconds(age) for name, age in item["gone"].items()
                },
            )
            for item in items
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no list of drains: {error!r}") from None
    return {drain.key: drain for drain in drains}


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is no number of seconds")
    return float(value)


# Between regions ---------------------------------------------------------------------------------
