"""Why a service is announced as it is: rules, caps, timers, and what would happen next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from anycastd.decision.caps import Cap, hold_down_time
from anycastd.decision.forecast import forecast
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs
from anycastd.decision.policy import Decision, Transition
from anycastd.decision.routes import count_prepends, wanted_path
from anycastd.evidence.finding import Finding, Truth
from anycastd.evidence.haproxy.conditions import describe
from anycastd.evidence.haproxy.query import iter_rules
from anycastd.profile.model import Profile, Service
from anycastd.views.reason_view import ReasonView, view_reason

VERSION = 1
"""Of the JSON; fields are only ever added."""
AHEAD = 7 * 24 * 3600.0
"""Seconds for which the core is run forward; the longest timer of a profile has a day."""
CHANGES = 5
"""Past changes that are shown."""


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule, the conditions that it belongs to, its truth, its value and what it needs."""

    of: tuple[str, ...]
    rule: str
    truth: str
    value: str
    needed: str


@dataclass(frozen=True, slots=True)
class CapView:
    """A cap: who sets it, fact or wait, its level; ``ends`` seconds from now, None: not by time."""

    source: str
    kind: str
    level: str
    reason: ReasonView
    ends: float | None


@dataclass(frozen=True, slots=True)
class ForecastView:
    """The level from ``after`` seconds on, if nothing changes."""

    after: float
    level: str
    reason: ReasonView


@dataclass(frozen=True, slots=True)
class TransitionView:
    """A past change, ``ago`` seconds; the others are seconds from stage to stage, None: not yet."""

    ago: float
    old: str
    new: str
    reason: ReasonView
    decided: float
    sent: float | None
    acknowledged: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """All of it for one service; ``since`` in seconds, ``as_path`` without a neighbor's own.

    ``failures`` in a row cost a hold-down of ``hold_down`` seconds.
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

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values, ready for json.dumps."""
        return asdict(self)


def explain_service(
    profile: Profile,
    name: str,
    memory: Mapping[str, Memory],
    inputs: Inputs,
    now: float,
    changes: Iterable[Transition] = (),
) -> Explanation:
    """Explain service ``name`` as ``memory`` and ``inputs`` have it at ``now``, seconds.

    ``changes`` are its past ones, newest first.
    """
    service = profile.services[name]
    alone = replace(profile, services={name: service})
    present, *later = forecast(alone, memory, inputs, now, AHEAD)[name]
    decision = present.decision
    level = decision.level
    path = wanted_path(profile, service, level)
    failures = memory[name].failures if name in memory else 0
    return Explanation(
        vip=service.prefix,
        level=level.word,
        since=round(now - decision.level_began_at, 3),
        as_path=path,
        prepend=None if path is None else count_prepends(service, level),
        prepends_steer=service.prepends_steer,
        reason=view_reason(decision.cap.reason, decision.cap.detail),
        rules=tuple(_rules(service, decision.verdict.findings)),
        caps=tuple(_cap(cap, now) for cap in sorted(decision.caps, key=lambda cap: cap.level)),
        failures=failures,
        hold_down=hold_down_time(service, failures),
        next=tuple(_next(stage.after, stage.decision) for stage in later),
        changes=tuple(_change(each, now) for _, each in zip(range(CHANGES), changes, strict=False)),
    )


_TRUTHS = {Truth.TRUE: "true", Truth.FALSE: "false", Truth.UNKNOWN: "unknown"}


def _rules(service: Service, findings: Iterable[Finding]) -> Iterator[RuleView]:
    conditions = {
        "serve": [describe(rule) for rule in iter_rules(service.serve)],
        "healthy": [describe(rule) for rule in iter_rules(service.healthy)]
        if service.healthy
        else [],
        "maintenance": [describe(service.maintenance)] if service.maintenance else [],
    }
    for found in findings:
        of = tuple(key for key, texts in conditions.items() if found.text in texts)
        truth = _TRUTHS[found.truth]
        yield RuleView(of or ("self_test",), found.text, truth, found.value, found.needed)


def _cap(cap: Cap, now: float) -> CapView:
    return CapView(
        source="" if cap.source is None else cap.source.word,
        kind="" if cap.source is None else cap.source.kind.value,
        level=cap.level.word,
        reason=view_reason(cap.reason, cap.detail),
        ends=None if cap.ends_at is None else round(max(0.0, cap.ends_at - now), 1),
    )


def _next(after: float, decision: Decision) -> ForecastView:
    reason = view_reason(decision.cap.reason, decision.cap.detail)
    return ForecastView(round(after, 1), decision.level.word, reason)


def _change(each: Transition, now: float) -> TransitionView:
    def took(since: float | None, until: float | None) -> float | None:
        return None if since is None or until is None else round(max(0.0, until - since), 6)

    return TransitionView(
        ago=round(now - each.decided_at, 1),
        old=each.old.word,
        new=each.new.word,
        reason=view_reason(each.reason, each.detail),
        decided=took(each.evidence_at, each.decided_at) or 0.0,
        sent=took(each.decided_at, each.sent_at),
        acknowledged=took(each.sent_at, each.acknowledged_at),
    )
