"""Evidence and a service's rules -> Verdict (pure).

A service's conditions are trees of rules.  ``_plan`` lists the rules once for each service; a pass
evaluates each of them once, by its type, and joins the findings: `all` is the minimum of what its
rules found, `any` the maximum.

Unknown is not decided here.  A Verdict says for how long the last known value counts
(``believe_for``) and what counts after that (``believe_then``); policy keeps the time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from anycastd.evidence.finding import UNKNOWN, BelieveFor, Finding, RuleRef, join_findings
from anycastd.evidence.sources import EVALUATORS, Evaluator, Evidence
from anycastd.evidence.vip.selftest import AnswersRule, ListensRule
from anycastd.profile.conditions import AllOf, AnyOf, CheckRule, Condition, InstanceRule, Rule
from anycastd.profile.model import Profile, Service


class Verdict(NamedTuple):
    """What the evidence says of one service.

    ``serve`` and ``healthy`` are the findings that decide the two conditions of the profile.
    ``alive``: everything that its rules ask has answered.  ``findings``: one for each rule.
    ``asked_at`` is when the oldest evidence was asked for, ``changes_at`` when time alone changes
    the verdict (None: never); own time, seconds.
    ``believe_for``: for how long the last known value of a condition counts while it is unknown.
    A value that is true counts for the shortest time of the unknown rules, any other value for the
    longest.
    ``maintenance`` is the finding of the maintenance map, false while the service is in
    maintenance; None without such a map.
    """

    serve: Finding
    healthy: Finding
    alive: bool
    asked_at: float
    believe_for: BelieveFor
    changes_at: float | None
    findings: tuple[Finding, ...]
    maintenance: Finding | None = None


def judge_service(
    profile: Profile, service: Service, evidence: Evidence, now: float, hop: int | None = None
) -> Verdict:
    """Judge ``service`` by the newest ``evidence`` at ``now`` (own time, seconds).

    ``hop`` is the index of its next hop that is chosen, if it has several: the rules of that one
    have to hold, too.  Raises KeyError where a rule names a HAProxy or a check that the profile
    does not have.
    """
    return _judge(_plan(service, hop), profile, evidence, now)


def judge_next_hops(
    profile: Profile, service: Service, evidence: Evidence, now: float
) -> tuple[Verdict, ...]:
    """Judge each next hop of ``service`` by its own rules alone; raises as ``judge_service``."""
    plans = _plan_next_hops(service)
    return tuple(_judge(plan, profile, evidence, now) for plan in plans)


def _judge(plan: _Plan, profile: Profile, evidence: Evidence, now: float) -> Verdict:
    findings = [evaluate(ref, rule, profile, evidence, now) for ref, rule, evaluate in plan.rules]
    serve = _join(plan.serve, findings)
    healthy = serve if plan.healthy is None else _join(plan.healthy, findings)
    alive, believe_for, changes_at, asked_at = True, None, None, findings[0].asked_at
    overrule_after = until = 0.0
    for found in findings:
        if not found.alive:
            alive = False
        if found.asked_at < asked_at:  # noqa: PLR1730 - min() takes longer, thousands of times
            asked_at = found.asked_at
        if found.truth is UNKNOWN:
            if believe_for is None or found.believe_for < believe_for:
                believe_for = found.believe_for
            overrule_after = max(overrule_after, found.believe_for, found.overrule_after)
            until = max(until, found.believe_until)
        if found.changes_at is not None and (changes_at is None or found.changes_at < changes_at):
            changes_at = found.changes_at
    planned = None
    if plan.maintenance is not None:
        ref, rule, evaluate = plan.maintenance
        planned = evaluate(ref, rule, profile, evidence, now)
        if not planned.alive:  # a HAProxy that is gone or hangs did not start maintenance
            planned = planned._replace(truth=UNKNOWN)
        findings.append(planned)
    patience = _KNOWN if believe_for is None else BelieveFor(believe_for, overrule_after, until)
    return Verdict(serve, healthy, alive, asked_at, patience, changes_at, tuple(findings), planned)


_KNOWN = BelieveFor(0.0, 0.0)
_AnyRule = Rule | ListensRule | AnswersRule | CheckRule


class _PlannedRule(NamedTuple):
    ref: RuleRef
    rule: _AnyRule
    evaluate: Evaluator


# A condition: the number of a rule, or whether every part must hold, and the parts.
_Tree = int | tuple[bool, tuple["_Tree", ...]]


class _Plan(NamedTuple):
    """A service's distinct rules in the order of the profile, and its conditions over them.

    ``healthy`` is None where the profile has no such condition.
    """

    rules: tuple[_PlannedRule, ...]
    serve: _Tree
    healthy: _Tree | None
    maintenance: _PlannedRule | None


@lru_cache(maxsize=1 << 14)
def _plan(service: Service, hop: int | None = None) -> _Plan:
    places: _Places = {}
    serve = _number_conditions(service, hop, "serve", places)
    if serve is None:
        raise ValueError(f"{service.name} has no condition")
    if service.self_test is not None:
        listens = _number_rule(ListensRule(service.self_test), "self_test.listens", places)
        serve = (True, (serve, listens))
    healthy = _number_conditions(service, hop, "healthy", places)
    if service.self_test is not None:
        answers = _number_rule(AnswersRule(service.self_test), "self_test.answers", places)
        # A slow answer must not withdraw: where a longer path moves nobody it is only shown.
        if healthy is not None and service.prepends_steer:
            healthy = (True, (healthy, answers))
    maintenance = None
    if service.maintenance is not None:
        maintenance = _planned(service, service.maintenance, ["maintenance"])
    rules = tuple(_planned(service, rule, paths) for rule, (_, paths) in places.items())
    return _Plan(rules, serve, healthy, maintenance)


def _number_conditions(
    service: Service, hop: int | None, key: str, places: _Places
) -> _Tree | None:
    """Number the rules of `serve` or `healthy`, of the service and of its next hop ``hop``."""
    index = hop or 0
    found: list[_Tree] = []
    wanted = ((key,), ("next_hops", index, key))
    for path, condition in service.conditions:
        if path in wanted:
            name = key if len(path) == 1 else f"next_hops[{index}].{key}"
            found.append(_number(condition, name, places))
    return _join_trees(found) if found else None


def _join_trees(trees: list[_Tree]) -> _Tree:
    return trees[0] if len(trees) == 1 else (True, tuple(trees))


@lru_cache(maxsize=1 << 10)
def _plan_next_hops(service: Service) -> tuple[_Plan, ...]:
    plans = []
    for index, each in enumerate(service.next_hops):
        places: _Places = {}
        serve = _number(each.serve, f"next_hops[{index}].serve", places)
        rules = tuple(_planned(service, rule, paths) for rule, (_, paths) in places.items())
        plans.append(_Plan(rules, serve, None, None))
    return tuple(plans)


# Each distinct rule, its number, and its key paths in the profile.
_Places = dict[_AnyRule, tuple[int, list[str]]]


def _planned(service: Service, rule: _AnyRule, paths: list[str]) -> _PlannedRule:
    instance = rule.instance if isinstance(rule, InstanceRule) else ""
    ref = RuleRef(service.name, tuple(paths), instance, rule.description)
    return _PlannedRule(ref, rule, EVALUATORS[type(rule)])


def _number(condition: Condition, path: str, places: _Places) -> _Tree:
    """Number the rules of the condition at key path ``path``, and note them in ``places``."""
    if isinstance(condition, AllOf | AnyOf):
        every = isinstance(condition, AllOf)
        key = "all" if every else "any"
        parts = enumerate(condition.rules)
        return every, tuple(_number(part, f"{path}.{key}[{n}]", places) for n, part in parts)
    return _number_rule(condition, path, places)


def _number_rule(rule: _AnyRule, path: str, places: _Places) -> int:
    number, paths = places.setdefault(rule, (len(places), []))
    paths.append(path)
    return number


def _join(tree: _Tree, findings: list[Finding]) -> Finding:
    if isinstance(tree, int):
        return findings[tree]
    every, parts = tree
    return join_findings([_join(part, findings) for part in parts], every=every)
