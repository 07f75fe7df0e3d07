"""Evidence and a service's rules -> Verdict (pure).

A service's conditions are trees of rules.  ``_plan`` lists the rules once for each service; a pass
evaluates each of them once, by its type, and joins the findings: `all` is the minimum of what its
rules found, `any` the maximum.  Where all rules are true by one fresh answer nothing is joined, and
findings are built only when they are read (``TrueVerdict``).

Unknown is not decided here.  A Verdict says for how long the last known value counts
(``believe_for``) and what counts after that (``believe_then``); policy keeps the time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from anycastd.evidence.finding import UNKNOWN, BelieveFor, Finding, RuleRef, join_findings
from anycastd.evidence.haproxy.conditions import (
    ANSWER_EVALUATORS,
    ANSWER_TESTS,
    find_answer_end,
)
from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.evidence.sources import EVALUATORS, Evaluator, Evidence
from anycastd.evidence.vip.selftest import AnswersRule, ListensRule
from anycastd.profile.conditions import AllOf, AnyOf, CheckRule, Condition, InstanceRule, Rule
from anycastd.profile.model import Profile, Service


class JoinedVerdict(NamedTuple):
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


class TrueVerdict(NamedTuple):
    """The verdict where all rules are true by one fresh answer, as in nearly every pass.

    It has the attributes of ``JoinedVerdict``.  Few passes are looked at, so a finding is built
    when it is read.  ``look`` is the answer, and it counts until ``changes_at`` (own time).
    """

    plan: _Plan
    look: Snapshot
    changes_at: float
    maintenance: Finding | None

    @property
    def serve(self) -> Finding:
        """Build the finding that decides `serve`: with `all` and with `any`, the first."""
        return self._build(self.plan.serve_first)

    @property
    def healthy(self) -> Finding:
        """Build the finding that decides `healthy`."""
        return self._build(self.plan.healthy_first)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Build all findings, that of the maintenance map last."""
        found = [self._build(number) for number in range(len(self.plan.rules))]
        return (*found, self.maintenance) if self.maintenance is not None else tuple(found)

    @property
    def alive(self) -> bool:
        """Return that HAProxy has answered."""
        return True

    @property
    def asked_at(self) -> float:
        """Return when the answer was asked for (own time, seconds)."""
        return self.look.asked_at

    @property
    def believe_for(self) -> BelieveFor:
        """Return that nothing is unknown."""
        return _KNOWN

    def join(self) -> JoinedVerdict:
        """Build the same verdict with everything in it."""
        return JoinedVerdict(
            self.serve,
            self.healthy,
            self.alive,
            self.asked_at,
            self.believe_for,
            self.changes_at,
            self.findings,
            self.maintenance,
        )

    def _build(self, number: int) -> Finding:
        ref, rule, _ = self.plan.rules[number]
        return ANSWER_EVALUATORS[type(rule)](ref, rule, self.look, self.changes_at)


Verdict = JoinedVerdict | TrueVerdict
"""What the evidence says of one service; both types have the same attributes."""


def judge_service(
    profile: Profile, service: Service, evidence: Evidence, now: float, hop: int | None = None
) -> Verdict:
    """Judge ``service`` by the newest ``evidence`` at ``now`` (own time, seconds).

    ``hop`` is the index of its next hop that is chosen, if it has several: the rules of that one
    have to hold, too.  Raises KeyError where a rule names a HAProxy or a check that the profile
    does not have.
    """
    plan = _plan(service, hop)
    verdict = _find_true(plan, profile, evidence, now)
    return _judge(plan, profile, evidence, now) if verdict is None else verdict


def judge_next_hops(
    profile: Profile, service: Service, evidence: Evidence, now: float
) -> tuple[Verdict, ...]:
    """Judge each next hop of ``service`` by its own rules alone; raises as ``judge_service``."""
    plans = _plan_next_hops(service)
    return tuple(_judge(plan, profile, evidence, now) for plan in plans)


def _find_true(plan: _Plan, profile: Profile, evidence: Evidence, now: float) -> TrueVerdict | None:
    """Judge a service whose rules are all true by one fresh answer; return None for any other.

    Then nothing has to be joined: the first rule of a condition decides it, for `all` and for
    `any`, and all findings have the times of the answer.
    """
    name = plan.instance
    look = None if name is None else evidence.haproxy.get(name)
    if name is None or not isinstance(look, Snapshot):
        return None
    reached = evidence.reached.get(name)
    changes_at = find_answer_end(look, profile.haproxy[name])
    if now >= changes_at or (reached is not None and reached.refused):
        return None
    for rule in plan.on_answer:
        if not ANSWER_TESTS[type(rule)](rule, look):
            return None
    planned = None
    if plan.maintenance is not None:
        planned = _evaluate_maintenance(plan.maintenance, profile, evidence, now)
    return TrueVerdict(plan, look, changes_at, planned)


def _judge(plan: _Plan, profile: Profile, evidence: Evidence, now: float) -> JoinedVerdict:
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
        planned = _evaluate_maintenance(plan.maintenance, profile, evidence, now)
        findings.append(planned)
    patience = _KNOWN if believe_for is None else BelieveFor(believe_for, overrule_after, until)
    found_all = tuple(findings)
    return JoinedVerdict(serve, healthy, alive, asked_at, patience, changes_at, found_all, planned)


def _evaluate_maintenance(
    planned: _PlannedRule, profile: Profile, evidence: Evidence, now: float
) -> Finding:
    ref, rule, evaluate = planned
    found = evaluate(ref, rule, profile, evidence, now)
    # A HAProxy that is gone or hangs did not start maintenance.
    return found if found.alive else found._replace(truth=UNKNOWN)


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

    ``healthy`` is None where the profile has no such condition.  ``serve_first`` and
    ``healthy_first`` are the numbers of their first rules: where all rules are true, these decide,
    for `all` and for `any`.  ``instance`` is the HAProxy that all rules ask (None: there is no such
    one), and ``on_answer`` are the rules for its answers.
    """

    rules: tuple[_PlannedRule, ...]
    serve: _Tree
    healthy: _Tree | None
    maintenance: _PlannedRule | None
    serve_first: int
    healthy_first: int
    instance: str | None
    on_answer: tuple[_AnyRule, ...]


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
    return _make_plan(rules, serve, healthy, maintenance)


def _make_plan(
    rules: tuple[_PlannedRule, ...],
    serve: _Tree,
    healthy: _Tree | None = None,
    maintenance: _PlannedRule | None = None,
) -> _Plan:
    first = _find_first(serve)
    healthy_first = first if healthy is None else _find_first(healthy)
    asked = {ref.instance for ref, _, _ in rules}
    instance = None
    on_answer: tuple[_AnyRule, ...] = ()
    if len(asked) == 1 and "" not in asked:
        instance = rules[0].ref.instance
        on_answer = tuple(rule for _, rule, _ in rules)
    return _Plan(rules, serve, healthy, maintenance, first, healthy_first, instance, on_answer)


def _find_first(tree: _Tree) -> int:
    return tree if isinstance(tree, int) else _find_first(tree[1][0])


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
        plans.append(_make_plan(rules, serve))
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
