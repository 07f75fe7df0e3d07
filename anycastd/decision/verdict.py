"""Observations and a service's rules -> Verdict.

`all` is the minimum of what its rules found, `any` the maximum (``findings`` has the three values).

Unknown is not decided here: a Verdict says for how long the last known value may be held
(``hold``) and what to believe when that has run out (``then``).  Policy keeps the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from anycastd.evidence.finding import UNKNOWN, Finding, join_findings
from anycastd.evidence.haproxy.conditions import evaluate_rule
from anycastd.evidence.haproxy.snapshot import Observation
from anycastd.evidence.vip.selftest import Probe, evaluate_self_test
from anycastd.profile.model import AllOf, AnyOf, Condition, Instance, Profile, Service


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
    asked_at: float
    believe_for: float
    changes_at: float | None
    findings: tuple[Finding, ...]
    maintenance: Finding | None = None


def judge_service(
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
        listens, answers = evaluate_self_test(service.self_test, probe, now)
        findings.append(listens)
        serve = join_findings((serve, listens), every=True)
    healthy = serve
    if service.healthy is not None:
        more: list[Finding] = []
        healthy = _evaluate(service.healthy, profile.haproxy, looks, now, more)
        findings += [found for found in more if found not in findings]
    if answers is not None:
        findings.append(answers)
        # Slow is no reason to withdraw: where a longer path moves nobody it is only seen.
        if service.healthy is not None and service.prepends_steer:
            healthy = join_findings((healthy, answers), every=True)
    alive, hold, until, asked = True, None, None, findings[0].asked_at
    for found in findings:
        if not found.alive:
            alive = False
        asked = min(asked, found.asked_at)
        if found.truth is UNKNOWN and (hold is None or found.believe_for < hold):
            hold = found.believe_for
        if found.changes_at is not None and (until is None or found.changes_at < until):
            until = found.changes_at
    planned = None
    if service.maintenance is not None:
        rule = service.maintenance
        planned = evaluate_rule(rule, profile.haproxy[rule.instance], looks, now)
        if not planned.alive:  # one that is dead or hangs has not switched anything
            planned = planned._replace(truth=UNKNOWN)
        findings.append(planned)
    return Verdict(serve, healthy, alive, asked, hold or 0.0, until, tuple(findings), planned)


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
        return join_findings(parts, every=isinstance(condition, AllOf))
    found = evaluate_rule(condition, instances[condition.instance], looks, now)
    findings.append(found)
    return found
