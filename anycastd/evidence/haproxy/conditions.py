"""A look at HAProxy and one rule -> Finding (pure).

A condition is true, false or unknown.  The usable servers are counted as an interval.  Its lower
end counts the servers that are proved usable.  Its upper end also counts those that HAProxy shows
as UP without proof.  The rule is true where the threshold is at or below the lower end, false where
it is above the upper end, and else unknown.

By weight, the weights of the servers are added up instead: those that HAProxy gives them now.  A
share is then a share of the weights in haproxy.cfg: a server whose weight was lowered since then,
or that is in its slow start, counts for less.

A share is of the servers with ``in_share``: empty slots and servers that are no servers are left
out (``judged_rows``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from anycastd.evidence.finding import (
    BELIEVE_UNPROVED_FOR,
    OVERRULE_AFTER,
    Finding,
    RuleRef,
    Truth,
)
from anycastd.evidence.haproxy.servers import (
    Override,
    Server,
    ServerCounts,
    Usable,
    override_servers,
)
from anycastd.evidence.haproxy.snapshot import Backend, Gone, Observation, Snapshot, Unreadable
from anycastd.profile.conditions import (
    AllOf,
    AnyOf,
    BackendRule,
    Condition,
    FrontendRule,
    LimitRule,
    LoadMetric,
    Maintenance,
    Rule,
    Threshold,
)
from anycastd.profile.model import Instance
from anycastd.reasons import Reason

LEAST_BELIEF = 1.0
"""Seconds for which an answer counts at least, also with a shorter deadline.

HAProxy's silence is found by looks.  This is about looks that the agent itself is late with, on a
machine without CPU to spare: its own time goes on by two ticks at each turn.
"""
MISSED_LOOKS = 2
"""Looks without an answer after which HAProxy counts as hung, if its deadline has passed too."""

BELIEVE_WITNESS_FOR = 60.0
"""Seconds for which the last answer counts while only HAProxy's event stream shows that it runs."""
_ABSENT = "not in HAProxy, or `disabled` in haproxy.cfg"

# A member of an enumeration costs a search in Python 3.11, and these are used all the time.
_FALSE, _UNKNOWN, _TRUE, _SERVING = Truth.FALSE, Truth.UNKNOWN, Truth.TRUE, Reason.SERVING


def describe_condition(condition: Condition | Maintenance) -> str:
    """Describe a condition as a sentence for operators."""
    match condition:
        case AllOf():
            return (
                "all of (" + "; ".join(describe_condition(rule) for rule in condition.rules) + ")"
            )
        case AnyOf():
            return (
                "any of (" + "; ".join(describe_condition(rule) for rule in condition.rules) + ")"
            )
        case _:
            return condition.description


def evaluate_rule(
    rule_ref: RuleRef,
    rule: Rule,
    instance: Instance,
    look: Observation | None,
    now: float,
    overrides: Mapping[str, Override] = {},
) -> Finding:
    """Evaluate ``rule`` on the newest look at its HAProxy (None: there was no look yet).

    ``now`` is own time in seconds.  An answer counts for ``instance.deadline`` seconds after it was
    asked for, and for LEAST_BELIEF at least.  ``overrides``: server of the rule's backend -> what
    another source makes of it.
    """
    if isinstance(look, Snapshot):
        changes_at = find_answer_end(look, instance)
        if now < changes_at:
            if overrides and isinstance(rule, BackendRule):
                return _override_backend(rule_ref, rule, look, changes_at, overrides)
            return ANSWER_EVALUATORS[type(rule)](rule_ref, rule, look, changes_at)
        return _without_answer(
            rule_ref, f"asked {now - look.asked_at:.1f} s ago", Reason.EVIDENCE_STALE, look.asked_at
        )
    if isinstance(look, Gone):
        return _without_answer(rule_ref, look.detail, Reason.HAPROXY_GONE, look.asked_at)
    if isinstance(look, Unreadable):
        return _evaluate_unreadable(rule_ref, look, instance.deadline, now)
    # As for one that is silent: no look yet proves nothing bad either.
    reason, believe_for = Reason.NOT_LOOKED, 2 * instance.deadline
    return Finding(
        rule_ref, _UNKNOWN, "", reason, alive=False, asked_at=now, believe_for=believe_for
    )


def find_answer_end(look: Snapshot, instance: Instance) -> float:
    """Find until when (own time) an answer counts; at that moment it does not any more."""
    return look.asked_at + max(instance.deadline, LEAST_BELIEF)


def _without_answer(ref: RuleRef, detail: str, reason: Reason, asked_at: float) -> Finding:
    return Finding(ref, _FALSE, detail, reason, alive=False, asked_at=asked_at)


def _evaluate_unreadable(ref: RuleRef, look: Unreadable, deadline: float, now: float) -> Finding:
    gives_up_at, believe_for = look.began_at + deadline, 2 * deadline
    if look.heard_at is not None:
        # Each line of its event stream shows that the worker runs, for as long as an answer would.
        heard_until = min(look.heard_at + deadline, look.began_at + BELIEVE_WITNESS_FOR)
        gives_up_at = max(gives_up_at, heard_until)
        believe_for += BELIEVE_WITNESS_FOR
    if look.missed >= MISSED_LOOKS and now >= gives_up_at:
        return _without_answer(ref, look.detail, look.reason, look.asked_at)
    # The watcher counts the looks, so the deadline counts only together with a second miss.
    left = max(0.0, gives_up_at - now)
    return Finding(
        ref,
        _UNKNOWN,
        look.detail,
        look.reason,
        alive=False,
        asked_at=look.asked_at,
        believe_for=believe_for,
        # The servers may be unproved for long already: one look that is missed ends nothing.
        believe_until=look.began_at + 2 * deadline,
        changes_at=now + left if left else None,
    )


# Findings are built by position below: that costs half as much as by name, and each pass builds
# thousands.


def _evaluate_frontend(
    ref: RuleRef, rule: FrontendRule, look: Snapshot, changes_at: float
) -> Finding:
    frontend = look.frontends.get(rule.frontend)
    if frontend is None:
        value, truth, reason = _ABSENT, _FALSE, Reason.FRONTEND_MISSING
    elif frontend.is_open:
        value, truth, reason = frontend.status, _TRUE, _SERVING
    else:
        value, truth, reason = frontend.status, _FALSE, Reason.FRONTEND_CLOSED
    return Finding(
        ref, truth, value, reason, (), True, look.asked_at, 0.0, _FALSE, changes_at, "OPEN"
    )


def _is_open(rule: FrontendRule, look: Snapshot) -> bool:
    frontend = look.frontends.get(rule.frontend)
    return frontend is not None and frontend.is_open


def _evaluate_backend(
    ref: RuleRef, rule: BackendRule, look: Snapshot, changes_at: float
) -> Finding:
    backend = look.backends.get(rule.backend)
    if backend is None:
        value, reason = _ABSENT, Reason.BACKEND_MISSING
        return Finding(ref, _FALSE, value, reason, asked_at=look.asked_at, changes_at=changes_at)
    if rule.by_weight and backend.weights_refused:
        return _refused(ref, look, backend.weights_refused, changes_at)
    truth, reason, value, needed, patience = _compare_with(rule, backend)
    if not backend.servers:
        value = "it has no servers, so a rule on its servers never holds; use {frontend: ...}"
    return Finding(
        ref,
        truth,
        value,
        reason,
        backend.servers,
        True,
        look.asked_at,
        BELIEVE_UNPROVED_FOR,
        _FALSE if truth is _UNKNOWN and _some_are_down(backend) else _TRUE,
        changes_at,
        needed,
        patience,
        look.worker.began_at,
    )


def _override_backend(
    ref: RuleRef,
    rule: BackendRule,
    look: Snapshot,
    changes_at: float,
    overrides: Mapping[str, Override],
) -> Finding:
    """Evaluate a rule on servers of which some do not count by the word of another source."""
    finding = _evaluate_backend(ref, rule, look, changes_at)
    backend = look.backends.get(rule.backend)
    if backend is None:
        return finding
    servers = override_servers(backend.servers, overrides)
    lost = [
        new
        for old, new in zip(backend.servers, servers, strict=True)
        if new.usable is Usable.NO and old.usable is not Usable.NO
    ]
    seen = replace(look, backends={rule.backend: replace(backend, servers=servers)})
    found = _evaluate_backend(ref, rule, seen, changes_at)
    if lost:
        more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        value = f"{found.value}; server {lost[0].name} {lost[0].detail}{more}"
        found = found._replace(value=value)
    if found.truth is _FALSE and finding.truth is not _FALSE:
        found = found._replace(reason=Reason.SERVERS_REFUSE)
    return found


def _some_are_down(backend: Backend) -> bool:
    """Return whether HAProxy shows an unproved server as down; that counts for a while only."""
    unproved = Usable.UNPROVED
    return any(s.usable is unproved and s.status.startswith("DOWN") for s in backend.servers)


def _refused(ref: RuleRef, look: Snapshot, answer: str, changes_at: float) -> Finding:
    """Build the finding for a part of the answer that HAProxy refused: it proves nothing."""
    return Finding(
        ref,
        _UNKNOWN,
        f"HAProxy answers: {answer}",
        Reason.ANSWER_REFUSED,
        asked_at=look.asked_at,
        believe_for=BELIEVE_UNPROVED_FOR,
        changes_at=changes_at,
    )


def _has_enough_servers(rule: BackendRule, look: Snapshot) -> bool:
    backend = look.backends.get(rule.backend)
    if backend is None or (rule.by_weight and backend.weights_refused):
        return False
    return _compare_with(rule, backend)[0] is _TRUE


def _compare_with(rule: BackendRule, backend: Backend) -> tuple[Truth, Reason, str, str, float]:
    """Compare the servers of a backend, or their weights, with what its rule asks for."""
    if rule.by_weight:
        return _compare(rule.usable, _weigh_servers(backend), rule.count_unchecked, " of weight")
    return _compare(rule.usable, backend.counts, rule.count_unchecked, "")


@lru_cache(maxsize=4096)  # backends look alike, and as they did a moment ago
def _compare(
    threshold: Threshold, counts: ServerCounts, count_unchecked: bool, of: str
) -> tuple[Truth, Reason, str, str, float]:
    """Compare an interval with a threshold: truth, reason, value, what is needed, and patience.

    ``counts`` are numbers of servers, or weights.  The patience is `Finding.overrule_after`: where
    checks are still to come, HAProxy's word does not soon overrule what checks have found.
    """
    checked, unproved, unchecked, total = counts
    settled, possible = checked + unchecked, checked + unproved
    proved = settled if count_unchecked else checked
    needed = count_needed_servers(threshold, total)
    patience = OVERRULE_AFTER if settled < needed else 0.0
    value = f"{proved}{of or ' of'} {total} usable"
    if possible > proved:
        value += f", {possible - proved} not proved"
    truth, reason = _TRUE, _SERVING
    if possible < needed:
        truth, reason = _FALSE, Reason.TOO_FEW_SERVERS
    elif proved < needed:
        truth, reason = _UNKNOWN, Reason.UNPROVED
    asked = f"{needed}{of}"
    if threshold.share is not None:
        asked = f"{threshold.share:g} % ({needed} of {total}{of.replace(' of', '')})"
    return truth, reason, value, asked, patience


def _evaluate_limit(ref: RuleRef, rule: LimitRule, look: Snapshot, changes_at: float) -> Finding:
    proxy = (look.frontends if rule.frontend else look.backends).get(rule.proxy)
    truth, reason, value, needed = _TRUE, _SERVING, _ABSENT, ""
    if proxy is None:
        truth = _FALSE
        reason = Reason.FRONTEND_MISSING if rule.frontend else Reason.BACKEND_MISSING
    else:
        load = proxy.sessions
        if rule.load is LoadMetric.QUEUE and isinstance(proxy, Backend):
            load = proxy.queued_requests  # only a backend has queues
        if load >= rule.below:
            truth, reason = _FALSE, Reason.OVERLOADED
        value, needed = f"{load} {rule.load.counted}", f"fewer than {rule.below}"
    return Finding(
        ref, truth, value, reason, (), True, look.asked_at, 0.0, _FALSE, changes_at, needed
    )


def _is_below_limit(rule: LimitRule, look: Snapshot) -> bool:
    return _evaluate_limit(_NO_RULE, rule, look, 0.0).truth is _TRUE


_NO_RULE = RuleRef("", (), "", "")
_OFF = {"off", "no", "false", "0"}


def _evaluate_maintenance(
    ref: RuleRef, rule: Maintenance, look: Snapshot, changes_at: float
) -> Finding:
    if answer := look.refused.get((rule.map, rule.key)):
        return _refused(ref, look, answer, changes_at)
    entry = look.entries.get((rule.map, rule.key))
    truth, reason, value = _TRUE, _SERVING, "no entry"
    if (rule.map, rule.key) not in look.entries:
        truth, reason, value = _UNKNOWN, Reason.MAP_MISSING, "HAProxy has no such map"
    elif entry is not None:
        value = f"{rule.key} {entry}".rstrip()
        if entry.lower() not in _OFF:
            truth, reason = _FALSE, Reason.MAINTENANCE
    return Finding(ref, truth, value, reason, asked_at=look.asked_at, changes_at=changes_at)


AnswerEvaluator = Callable[[RuleRef, Any, Snapshot, float], Finding]
"""Evaluates one type of rule on an answer that counts: (reference, rule, answer, until when)."""

ANSWER_EVALUATORS: Mapping[type, AnswerEvaluator] = {
    BackendRule: _evaluate_backend,
    FrontendRule: _evaluate_frontend,
    LimitRule: _evaluate_limit,
    Maintenance: _evaluate_maintenance,
}
"""Type of a rule -> what evaluates it on an answer."""
ANSWER_TESTS: Mapping[type, Callable[[Any, Snapshot], bool]] = {
    BackendRule: _has_enough_servers,
    FrontendRule: _is_open,
    LimitRule: _is_below_limit,
}
"""Type of a rule -> tells of (rule, answer) whether its evaluator finds the rule true.

A pass asks thousands, so the usual ones build neither texts nor findings.
"""


def _weigh_servers(backend: Backend) -> ServerCounts:
    """Add up weights where ServerCounts counts servers: those now, and for a share the set ones."""
    proved = unproved = unchecked = 0
    for server in backend.servers:
        if server.usable is Usable.YES:
            proved += server.weight
        elif server.usable is Usable.UNPROVED:
            unproved += server.weight
            unchecked += 0 if server.checked else server.weight
    total = sum(_configured(backend, row) for row in _counting(backend))
    return ServerCounts(proved, unproved, unchecked, total)


def _configured(backend: Backend, server: Server) -> int:
    return backend.weights.get(server.name, (server.weight, server.weight))[1]


def _counting(backend: Backend) -> Iterable[Server]:
    return [s for s in backend.servers if s.in_share and not s.backup] or [
        s for s in backend.servers if s.in_share
    ]


def count_needed_servers(threshold: Threshold, total: int) -> int:
    """Count the usable servers (or weight) that a threshold asks for, of ``total``.

    A share is rounded up, and is at least 1.
    """
    if threshold.number is not None:
        return threshold.number
    # Rounded up, and never 0: a share of an empty backend is not served.
    return max(1, -int(-(threshold.share or 0) * total // 100))
