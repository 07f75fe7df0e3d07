"""Why a service is announced as it is: rules, caps, timers, and what would happen next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from anycastd.decision.caps import Cap, hold_down
from anycastd.decision.forecast import forecast
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs
from anycastd.decision.policy import Decision, Transition
from anycastd.decision.routes import prepends
from anycastd.evidence.finding import Finding, Truth
from anycastd.evidence.haproxy.conditions import words
from anycastd.evidence.haproxy.query import leaves
from anycastd.profile.model import Profile, Service
from anycastd.reasons import Reason

VERSION = 1
"""Of the JSON; fields are only ever added."""
AHEAD = 7 * 24 * 3600.0
"""Seconds for which the core is run forward; the longest timer of a profile has a day."""
CHANGES = 5
"""Past changes that are shown."""


@dataclass(frozen=True, slots=True)
class Said:
    """A named reason and the evidence for it."""

    name: str
    sentence: str
    remedy: str
    detail: str


@dataclass(frozen=True, slots=True)
class RuleNow:
    """A rule, the conditions that it belongs to, its truth, its value and what it needs."""

    of: tuple[str, ...]
    rule: str
    truth: str
    value: str
    needed: str


@dataclass(frozen=True, slots=True)
class CapNow:
    """A cap: who sets it, fact or wait, its level; ``ends`` seconds from now, None: not by time."""

    source: str
    kind: str
    level: str
    reason: Said
    ends: float | None


@dataclass(frozen=True, slots=True)
class Next:
    """The level from ``after`` seconds on, if nothing changes."""

    after: float
    level: str
    reason: Said


@dataclass(frozen=True, slots=True)
class Change:
    """A past change, ``ago`` seconds; the others are seconds from stage to stage, None: not yet."""

    ago: float
    old: str
    new: str
    reason: Said
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
    reason: Said
    rules: tuple[RuleNow, ...]
    caps: tuple[CapNow, ...]
    failures: int
    hold_down: float
    next: tuple[Next, ...]
    changes: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values, ready for json.dumps."""
        return asdict(self)


def explain(
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
    count = None if level is Level.WITHDRAWN else prepends(service, level)
    failures = memory[name].failures if name in memory else 0
    return Explanation(
        vip=service.prefix,
        level=level.word,
        since=round(now - decision.since, 3),
        as_path=None if count is None else (profile.bgp.local_as,) * (1 + count),
        prepend=count,
        prepends_steer=service.prepends_steer,
        reason=_said(decision.cap.reason, decision.cap.detail),
        rules=tuple(_rules(service, decision.verdict.findings)),
        caps=tuple(_cap(cap, now) for cap in sorted(decision.caps, key=lambda cap: cap.level)),
        failures=failures,
        hold_down=hold_down(service, failures),
        next=tuple(_next(stage.after, stage.decision) for stage in later),
        changes=tuple(_change(each, now) for _, each in zip(range(CHANGES), changes, strict=False)),
    )


def _said(reason: Reason, detail: str) -> Said:
    return Said(reason.name.lower(), reason.sentence, reason.remedy, detail)


_TRUTHS = {Truth.TRUE: "true", Truth.FALSE: "false", Truth.UNKNOWN: "unknown"}


def _rules(service: Service, findings: Iterable[Finding]) -> Iterator[RuleNow]:
    conditions = {
        "serve": [words(rule) for rule in leaves(service.serve)],
        "healthy": [words(rule) for rule in leaves(service.healthy)] if service.healthy else [],
        "maintenance": [words(service.maintenance)] if service.maintenance else [],
    }
    for found in findings:
        of = tuple(key for key, texts in conditions.items() if found.rule in texts)
        truth = _TRUTHS[found.truth]
        yield RuleNow(of or ("self_test",), found.rule, truth, found.value, found.needed)


def _cap(cap: Cap, now: float) -> CapNow:
    return CapNow(
        source="" if cap.source is None else cap.source.word,
        kind="" if cap.source is None else cap.source.kind.value,
        level=cap.level.word,
        reason=_said(cap.reason, cap.detail),
        ends=None if cap.until is None else round(max(0.0, cap.until - now), 1),
    )


def _next(after: float, decision: Decision) -> Next:
    reason = _said(decision.cap.reason, decision.cap.detail)
    return Next(round(after, 1), decision.level.word, reason)


def _change(each: Transition, now: float) -> Change:
    def took(since: float | None, until: float | None) -> float | None:
        return None if since is None or until is None else round(max(0.0, until - since), 6)

    return Change(
        ago=round(now - each.decided_at, 1),
        old=each.old.word,
        new=each.new.word,
        reason=_said(each.reason, each.detail),
        decided=took(each.evidence_at, each.decided_at) or 0.0,
        sent=took(each.decided_at, each.sent_at),
        acknowledged=took(each.sent_at, each.acknowledged_at),
    )
