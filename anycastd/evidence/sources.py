"""Every source of evidence, and which of them evaluates which type of rule (pure).

A new source adds its observations to ``Evidence`` and its types of rules to ``EVALUATORS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from anycastd.evidence.checks.evaluate import evaluate_check
from anycastd.evidence.checks.observation import CheckObservation
from anycastd.evidence.finding import Finding, RuleRef
from anycastd.evidence.haproxy.conditions import evaluate_rule
from anycastd.evidence.haproxy.servers import Override
from anycastd.evidence.haproxy.snapshot import Observation
from anycastd.evidence.servers.refusals import ReachReport
from anycastd.evidence.vip.selftest import (
    AnswersRule,
    ListensRule,
    Probe,
    evaluate_answers,
    evaluate_listens,
)
from anycastd.profile.conditions import (
    BackendRule,
    CheckRule,
    FrontendRule,
    LimitRule,
    Maintenance,
    Rule,
)
from anycastd.profile.model import Profile


@dataclass(frozen=True, slots=True)
class Evidence:
    """The newest observation of everything that rules ask for, one mapping for each source.

    ``haproxy``: name of the instance -> observation.  ``self_test``: name of the service -> Probe.
    ``checks``: name of the check -> what is known of it.  ``reached``: name of the instance -> what
    asking its servers by TCP has found.
    """

    haproxy: Mapping[str, Observation] = field(default_factory=dict)
    self_test: Mapping[str, Probe] = field(default_factory=dict)
    checks: Mapping[str, CheckObservation] = field(default_factory=dict)
    reached: Mapping[str, ReachReport] = field(default_factory=dict)

    def with_asked_at(self, asked_at: float) -> Evidence:
        """Return the same evidence with another time of asking, ``asked_at`` (own time)."""
        return Evidence(
            {name: replace(look, asked_at=asked_at) for name, look in self.haproxy.items()},
            {name: replace(probe, asked_at=asked_at) for name, probe in self.self_test.items()},
            {name: replace(seen, asked_at=asked_at) for name, seen in self.checks.items()},
            self.reached,
        )


Evaluator = Callable[[RuleRef, Any, Profile, Evidence, float], Finding]
"""Evaluates one type of rule: (reference, rule, profile, evidence, now in own time) -> Finding.

Raises KeyError where the profile does not have the HAProxy or the check that the rule names.
"""


def _ask_haproxy(
    ref: RuleRef, rule: Rule, profile: Profile, evidence: Evidence, now: float
) -> Finding:
    name = rule.instance
    return evaluate_rule(ref, rule, profile.haproxy[name], evidence.haproxy.get(name), now)


def _ask_backend(
    ref: RuleRef, rule: BackendRule, profile: Profile, evidence: Evidence, now: float
) -> Finding:
    name = rule.instance
    instance, look = profile.haproxy[name], evidence.haproxy.get(name)
    if name in evidence.reached:
        overrides = evidence.reached[name].refused.get(rule.backend, _NO_OVERRIDES)
        return evaluate_rule(ref, rule, instance, look, now, overrides)
    return evaluate_rule(ref, rule, instance, look, now)


_NO_OVERRIDES: Mapping[str, Override] = {}


def _ask_listens(
    ref: RuleRef, rule: ListensRule, _: Profile, evidence: Evidence, now: float
) -> Finding:
    return evaluate_listens(ref, rule, evidence.self_test.get(ref.service), now)


def _ask_answers(
    ref: RuleRef, rule: AnswersRule, _: Profile, evidence: Evidence, now: float
) -> Finding:
    return evaluate_answers(ref, rule, evidence.self_test.get(ref.service), now)


def _ask_check(
    ref: RuleRef, rule: CheckRule, profile: Profile, evidence: Evidence, now: float
) -> Finding:
    name = rule.check
    return evaluate_check(ref, profile.checks[name], evidence.checks.get(name), now)


EVALUATORS: Mapping[type, Evaluator] = {
    BackendRule: _ask_backend,
    FrontendRule: _ask_haproxy,
    LimitRule: _ask_haproxy,
    Maintenance: _ask_haproxy,
    ListensRule: _ask_listens,
    AnswersRule: _ask_answers,
    CheckRule: _ask_check,
}
"""Type of a rule -> what evaluates it."""
