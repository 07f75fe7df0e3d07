"""Explain a service's level: its rules, caps, timers, past changes, and what comes next.

The field names are the keys of the JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from anycastd.decision.caps import Cap, compute_hold_down
from anycastd.decision.forecast import forecast_levels
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs
from anycastd.decision.policy import Decision, Transition, count_failures
from anycastd.decision.routes import build_wanted_path, count_prepends, find_wanted_local_pref
from anycastd.evidence.finding import Finding, Truth
from anycastd.profile.model import Profile
from anycastd.views.reason_view import ReasonView, complete_remedy, view_reason
from anycastd.views.route_choice import MedView, NextHopView, view_med, view_next_hops

VERSION = 1
"""Version of the JSON; keys are only ever added."""
FORECAST_DURATION = 7 * 24 * 3600.0
"""Length of the forecast in seconds; the longest timer of a profile is one day."""
MAX_CHANGES = 5
"""Maximum number of past changes that are shown."""


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule: the conditions that have it (``of``), its truth, what was found, what it needs."""

    of: tuple[str, ...]
    rule: str
    truth: str
    value: str
    needed: str


@dataclass(frozen=True, slots=True)
class CapView:
    """A cap on the level: its source, its ``kind`` (fact or wait), and the level at which it caps.

    ``ends``: seconds until time alone ends it; None: time does not end it.
    """

    source: str
    kind: str
    level: str
    reason: ReasonView
    ends: float | None


@dataclass(frozen=True, slots=True)
class ForecastView:
    """The level that begins in ``after`` seconds, if nothing changes."""

    after: float
    level: str
    reason: ReasonView


@dataclass(frozen=True, slots=True)
class TransitionView:
    """A past change of level, ``ago`` seconds before now.

    ``decided``, ``sent``, ``acknowledged``: seconds since the stage before (for ``decided``: since
    the evidence was asked for); None: not reached.
    """

    ago: float
    old: str
    new: str
    reason: ReasonView
    decided: float
    sent: float | None
    acknowledged: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of one service.

    ``since``: seconds at this level.  ``as_path``, ``prepend``, ``local_pref``: without a
    neighbor's own prepends (None: not announced; ``local_pref``: or no iBGP).  ``failures``: how
    often it failed in a row, the last time ``failed_ago`` seconds ago (None: never, or forgotten);
    ``hold_down``: seconds of the hold-down after them.  ``next``: what comes if nothing changes;
    ``changes``: past changes, newest first.
    """

    vip: str
    level: str
    since: float
    as_path: tuple[int, ...] | None
    prepend: int | None
    prepends_steer: bool
    reason: ReasonView
    rules: tuple[RuleView, ...]
    caps: tuple[CapView, ...]
    failures: int
    hold_down: float
    next: tuple[ForecastView, ...]
    changes: tuple[TransitionView, ...]
    failed_ago: float | None = None
    local_pref: int | None = None
    next_hops: tuple[NextHopView, ...] = ()
    med: MedView | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for json.dumps."""
        return asdict(self)


def explain_service(
    profile: Profile,
    name: str,
    memory: Mapping[str, Memory],
    inputs: Inputs,
    now: float,
    changes: Iterable[Transition] = (),
) -> Explanation:
    """Explain the service ``name`` from ``memory`` and ``inputs`` at ``now`` (own time).

    ``changes``: its past changes, newest first.  Raises KeyError where the profile does not have
    the service, or where one of its rules names a HAProxy that the profile does not have.
    """
    service = profile.services[name]
    alone = replace(profile, services={name: service})
    present, *later = forecast_levels(alone, memory, inputs, now, FORECAST_DURATION)[name]
    decision = present.decision
    level = decision.level
    path = build_wanted_path(profile, service, level)
    its_memory = memory.get(name, Memory())
    failed_at = its_memory.failed_at
    failures = count_failures(its_memory, now)
    return Explanation(
        vip=service.prefix,
        level=level.label,
        since=round(now - decision.level_began_at, 3),
        as_path=path,
        prepend=None if path is None else count_prepends(service, level),
        prepends_steer=service.prepends_steer,
        local_pref=find_wanted_local_pref(profile, service, level),
        next_hops=view_next_hops(decision.hop_choice, now),
        med=view_med(decision.med_choice, now),
        reason=complete_remedy(
            view_reason(decision.cap.reason, decision.cap.detail), profile, service
        ),
        rules=tuple(_rule(found) for found in decision.verdict.findings),
        caps=tuple(_cap(cap, now) for cap in sorted(decision.caps, key=lambda cap: cap.level)),
        failures=failures,
        hold_down=compute_hold_down(service, failures),
        failed_ago=None if failed_at is None or not failures else round(now - failed_at, 1),
        next=tuple(_next(stage.after, stage.decision) for stage in later),
        changes=tuple(
            _change(each, now) for _, each in zip(range(MAX_CHANGES), changes, strict=False)
        ),
    )


_TRUTHS = {Truth.TRUE: "true", Truth.FALSE: "false", Truth.UNKNOWN: "unknown"}


def _rule(found: Finding) -> RuleView:
    truth = _TRUTHS[found.truth]
    return RuleView(found.rule.conditions, found.rule.text, truth, found.value, found.needed)


def _cap(cap: Cap, now: float) -> CapView:
    return CapView(
        source="" if cap.source is None else cap.source.label,
        kind="" if cap.source is None else cap.source.kind.value,
        level=cap.level.label,
        reason=view_reason(cap.reason, cap.detail),
        ends=None if cap.ends_at is None else round(max(0.0, cap.ends_at - now), 1),
    )


def _next(after: float, decision: Decision) -> ForecastView:
    reason = view_reason(decision.cap.reason, decision.cap.detail)
    return ForecastView(round(after, 1), decision.level.label, reason)


def _change(each: Transition, now: float) -> TransitionView:
    def between(start: float | None, end: float | None) -> float | None:
        return None if start is None or end is None else round(max(0.0, end - start), 6)

    return TransitionView(
        ago=round(now - each.decided_at, 1),
        old=each.old.label,
        new=each.new.label,
        reason=view_reason(each.reason, each.detail),
        decided=between(each.evidence_at, each.decided_at) or 0.0,
        sent=between(each.decided_at, each.sent_at),
        acknowledged=between(each.sent_at, each.acknowledged_at),
    )
