"""Observations and a service's rules -> Verdict.

`all` is the minimum of what its rules found, `any` the maximum (``findings`` has the three values).

Unknown is not decided here: a Verdict says for how long the last known value may be held
(``hold``) and what to believe when that has run out (``then``).  Policy keeps the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from anycastd.findings import (
    UNPROVED_HOLD,
    Finding,
    Rule,
    Truth,
    find,
)
from anycastd.haproxy import More, Observation
from anycastd.profile import (
    AllOf,
    AnyOf,
    BackendRule,
    Condition,
    FrontendRule,
    Instance,
    LimitRule,
    Maintenance,
    Profile,
    SelfTest,
    Service,
)
from anycastd.reasons import Reason
from anycastd.selftest import Outcome as Tested
from anycastd.selftest import Probe, lifetime, where

_UNKNOWN = Truth.UNKNOWN


class Verdict(NamedTuple):
    """What the evidence says of one service.

    ``serve`` and ``healthy`` are what decides the two conditions of the profile.  ``alive``: each
    HAProxy that a rule names answered.  ``asked`` is when the oldest evidence was asked for,
    ``until`` when time alone changes the verdict (None: never), both on the clock that ``now``
    comes from.  ``maintenance`` is the finding of its map, false while it is in maintenance; None
    without one.
    """

    serve: Finding
    healthy: Finding
    alive: bool
    asked: float
    hold: float
    until: float | None
    findings: tuple[Finding, ...]
    maintenance: Finding | None = None


def judge(
    profile: Profile,
    service: Service,
    looks: Mapping[str, Observation],
    now: float,
    probe: Probe | None = None,
) -> Verdict:
    """Judge ``service`` by ``looks`` (instance name -> newest observation) at ``now``, seconds.

    ``probe`` is the newest self-test, where the service has one.
    """
    findings: list[Finding] = []
    serve = _evaluate(service.serve, profile.haproxy, looks, now, findings)
    answers = None
    if service.self_test is not None:
        listens, answers = _tested(service.self_test, probe, now)
        findings.append(listens)
        serve = _joined((serve, listens), every=True)
    healthy = serve
    if service.healthy is not None:
        more: list[Finding] = []
        healthy = _evaluate(service.healthy, profile.haproxy, looks, now, more)
        findings += [found for found in more if found not in findings]
    if answers is not None:
        findings.append(answers)
        # Slow is no reason to withdraw: where a longer path moves nobody it is only seen.
        if service.healthy is not None and service.prepends_steer:
            healthy = _joined((healthy, answers), every=True)
    alive, hold, until, asked = True, None, None, findings[0].asked
    for found in findings:
        if not found.alive:
            alive = False
        asked = min(asked, found.asked)
        if found.truth is _UNKNOWN and (hold is None or found.hold < hold):
            hold = found.hold
        if found.until is not None and (until is None or found.until < until):
            until = found.until
    planned = None
    if service.maintenance is not None:
        rule = service.maintenance
        planned = find(rule, profile.haproxy[rule.instance], looks, now)
        if not planned.alive:  # one that is dead or hangs has not switched anything
            planned = planned._replace(truth=_UNKNOWN)
        findings.append(planned)
    return Verdict(serve, healthy, alive, asked, hold or 0.0, until, tuple(findings), planned)


def named(service: Service, instance: str) -> tuple[frozenset[str], frozenset[str]]:
    """Give the (backends, frontends) of one HAProxy instance that the rules of ``service`` name."""
    backends: set[str] = set()
    frontends: set[str] = set()
    for rule in _rules(service):
        if rule.instance == instance:
            match rule:
                case BackendRule(backend=name) | LimitRule(proxy=name, frontend=False):
                    backends.add(name)
                case FrontendRule(frontend=name) | LimitRule(proxy=name, frontend=True):
                    frontends.add(name)
    return frozenset(backends), frozenset(frontends)


def more(services: Mapping[str, Service], instance: str) -> More:
    """Give what the rules of ``services`` ask one HAProxy instance for besides rows."""
    rules = [rule for service in services.values() for rule in _rules(service)]
    mine = [rule for rule in rules if rule.instance == instance]
    return More(
        frozenset(r.backend for r in mine if isinstance(r, BackendRule) and r.by_weight),
        frozenset((r.map, r.key) for r in mine if isinstance(r, Maintenance)),
    )


def leaves(condition: Condition) -> Iterator[BackendRule | FrontendRule | LimitRule]:
    """Give the rules that a condition is made of."""
    match condition:
        case AllOf(rules) | AnyOf(rules):
            for rule in rules:
                yield from leaves(rule)
        case _:
            yield condition


def _rules(service: Service) -> Iterator[Rule]:
    yield from leaves(service.serve)
    if service.healthy is not None:
        yield from leaves(service.healthy)
    if service.maintenance is not None:
        yield service.maintenance


_SEVERAL = (AllOf, AnyOf)


def _evaluate(
    condition: Condition,
    instances: Mapping[str, Instance],
    looks: Mapping[str, Observation],
    now: float,
    findings: list[Finding],
) -> Finding:
    """Judge a condition: give what decides it; each rule's finding is added to ``findings``."""
    if isinstance(condition, _SEVERAL):
        parts = [_evaluate(rule, instances, looks, now, findings) for rule in condition.rules]
        return _joined(parts, every=isinstance(condition, AllOf))
    found = find(condition, instances[condition.instance], looks, now)
    findings.append(found)
    return found


def _joined(parts: Sequence[Finding], *, every: bool) -> Finding:
    """Join findings: the minimum for `all`, the maximum for `any`; the first of equals decides."""
    decisive = parts[0]
    for part in parts:
        if part.truth < decisive.truth if every else part.truth > decisive.truth:
            decisive = part
    if decisive.truth is not _UNKNOWN:
        return decisive
    then = (min if every else max)(part.believed for part in parts)
    return decisive if then is decisive.then else decisive._replace(then=then)


# An outcome of the self-test -> somebody listens, somebody answers well, the reason if not.
_TESTED = {
    Tested.PASSED: (Truth.TRUE, Truth.TRUE, Reason.SERVING),
    Tested.REFUSED: (Truth.FALSE, Truth.FALSE, Reason.VIP_REFUSES),
    Tested.FAILED: (Truth.TRUE, Truth.FALSE, Reason.VIP_FAILS),
    Tested.SLOW: (Truth.TRUE, Truth.FALSE, Reason.VIP_SLOW),
    Tested.UNASKED: (Truth.UNKNOWN, Truth.UNKNOWN, Reason.TEST_UNASKED),
}


def _tested(test: SelfTest, probe: Probe | None, now: float) -> tuple[Finding, Finding]:
    """What a self-test says: (somebody listens, for `serve`; it answers well, for `healthy`)."""
    asked, until, value = now, None, ""
    if probe is None:
        listens = answers = Truth.UNKNOWN
        reason = Reason.NOT_TESTED
    elif now >= probe.asked + lifetime(test):
        listens = answers = Truth.FALSE
        reason, asked, value = (
            Reason.TEST_STALE,
            probe.asked,
            f"asked {now - probe.asked:.1f} s ago",
        )
    else:
        listens, answers, reason = _TESTED[probe.outcome]
        if not probe.confirmed:  # one result proves nothing bad: the next one comes soon
            listens, answers = max(listens, Truth.UNKNOWN), max(answers, Truth.UNKNOWN)
        value = probe.why if probe.count == 1 else f"{probe.why}, {probe.count} times in a row"
        asked, until = probe.asked, probe.asked + lifetime(test)

    def finding(verb: str, truth: Truth, *, alive: bool) -> Finding:
        return Finding(
            f"VIP {verb} on {where(test)}",
            truth,
            value,
            Reason.SERVING if truth is Truth.TRUE else reason,
            alive=alive,
            asked=asked,
            hold=UNPROVED_HOLD,
            then=Truth.TRUE,  # HAProxy's word, as for servers that nobody can prove
            until=until,
        )

    # Where nobody listens there is nobody to show a 503 page either: not alive.
    return (
        finding("listens", listens, alive=listens is not Truth.FALSE),
        finding("answers", answers, alive=True),
    )
