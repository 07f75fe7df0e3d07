"""Observations and a service's rules -> Verdict.

Evidence has three values and so have conditions.  The servers that count for a rule are an
interval, from those proved up to those plus the ones shown up without proof; a threshold above
the interval is false, below it true, inside it unknown.  `all` is the minimum, `any` the maximum.

Unknown is not decided here: a Verdict says for how long the last known value may be held
(``hold``) and what to believe when that has run out (``then``).  Policy keeps the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from anycastd.haproxy import Backend, Gone, Observation, Server, Snapshot, Unreadable, Usable
from anycastd.profile import (
    AllOf,
    AnyOf,
    BackendRule,
    Condition,
    FrontendRule,
    Instance,
    Profile,
    SelfTest,
    Service,
    Threshold,
)
from anycastd.reasons import Reason
from anycastd.selftest import Outcome as Tested
from anycastd.selftest import Probe, lifetime, where

UNPROVED_HOLD = 60.0
"""Seconds for which servers without a check result keep the last verdict; then HAProxy's word."""

MISSED_LOOKS = 2
"""A silent HAProxy counts as hung after this many looks without an answer, and its deadline."""


class Truth(IntEnum):
    """False, unknown, true: in this order, so that `all` is min and `any` is max."""

    FALSE = 0
    UNKNOWN = 1
    TRUE = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule looked at: its text, what was found, and the rows behind it.

    ``hold`` (seconds) and ``then`` matter only where ``truth`` is unknown; ``alive`` says that a
    HAProxy answered; ``until`` is when the passing of time alone changes the finding.
    """

    rule: str
    truth: Truth
    value: str
    reason: Reason
    rows: tuple[Server, ...] = ()
    alive: bool = True
    asked: float = 0.0
    hold: float = 0.0
    then: Truth = Truth.FALSE
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A condition's truth now, its truth once unknown may be held no longer, and who decided."""

    truth: Truth
    then: Truth
    decisive: Finding


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence says of one service.

    ``serve`` and ``healthy`` are the two conditions of the profile.  ``alive``: each HAProxy that
    a rule names answered.  ``asked`` is when the oldest evidence was asked for, ``until`` when
    time alone changes the verdict (None: never), both on the clock that ``now`` comes from.
    """

    serve: Outcome
    healthy: Outcome
    alive: bool
    asked: float
    hold: float
    until: float | None
    findings: tuple[Finding, ...]


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
    serve = _evaluate(service.serve, profile.haproxy, looks, now)
    answers = None
    if service.self_test is not None:
        listens, answers = _tested(service.self_test, probe, now)
        serve = _both(serve, listens)
    findings = list(_leaves(serve))
    healthy = serve
    if service.healthy is not None:
        healthy = _evaluate(service.healthy, profile.haproxy, looks, now)
        healthy = healthy if answers is None else _both(healthy, answers)
        findings += [leaf for leaf in _leaves(healthy) if leaf not in findings]
    elif answers is not None:
        findings.append(answers)  # to be seen; without `healthy` there is no degraded level
    unknown = [f for f in findings if f.truth is Truth.UNKNOWN]
    return Verdict(
        serve=serve.outcome,
        healthy=healthy.outcome,
        alive=all(f.alive for f in findings),
        asked=min(f.asked for f in findings),
        hold=min((f.hold for f in unknown), default=0.0),
        until=min((f.until for f in findings if f.until is not None), default=None),
        findings=tuple(findings),
    )


def words(condition: Condition) -> str:
    """Say a condition as an operator would."""
    match condition:
        case BackendRule():
            return f"backend {condition.backend} has {_at_least(condition.usable)} usable"
        case FrontendRule():
            return f"frontend {condition.frontend} is open"
        case AllOf():
            return "all of (" + "; ".join(words(rule) for rule in condition.rules) + ")"
        case AnyOf():
            return "any of (" + "; ".join(words(rule) for rule in condition.rules) + ")"


def named(service: Service, instance: str) -> tuple[frozenset[str], frozenset[str]]:
    """Give the (backends, frontends) of one HAProxy instance that the rules of ``service`` name."""
    backends: set[str] = set()
    frontends: set[str] = set()
    todo: list[Condition] = [service.serve]
    if service.healthy is not None:
        todo.append(service.healthy)
    while todo:
        match todo.pop():
            case BackendRule() as rule if rule.instance == instance:
                backends.add(rule.backend)
            case FrontendRule() as rule if rule.instance == instance:
                frontends.add(rule.frontend)
            case AllOf(rules) | AnyOf(rules):
                todo.extend(rules)
    return frozenset(backends), frozenset(frontends)


@dataclass(frozen=True, slots=True)
class _Tree:
    outcome: Outcome
    parts: tuple[_Tree, ...] = ()


def _leaves(tree: _Tree) -> Iterator[Finding]:
    if not tree.parts:
        yield tree.outcome.decisive
    for part in tree.parts:
        yield from _leaves(part)


def _evaluate(
    condition: Condition,
    instances: Mapping[str, Instance],
    looks: Mapping[str, Observation],
    now: float,
) -> _Tree:
    if isinstance(condition, AllOf | AnyOf):
        parts = tuple(_evaluate(rule, instances, looks, now) for rule in condition.rules)
        return _joined(parts, every=isinstance(condition, AllOf))
    return _leaf(_look_at(condition, instances[condition.instance], looks, now))


def _joined(parts: tuple[_Tree, ...], *, every: bool) -> _Tree:
    choose = min if every else max
    decisive = choose(parts, key=lambda part: part.outcome.truth).outcome
    then = choose(part.outcome.then for part in parts)
    return _Tree(Outcome(decisive.truth, then, decisive.decisive), parts)


def _leaf(finding: Finding) -> _Tree:
    then = finding.then if finding.truth is Truth.UNKNOWN else finding.truth
    return _Tree(Outcome(finding.truth, then, finding))


def _both(condition: _Tree, finding: Finding) -> _Tree:
    return _joined((condition, _leaf(finding)), every=True)


def _look_at(
    rule: BackendRule | FrontendRule,
    instance: Instance,
    looks: Mapping[str, Observation],
    now: float,
) -> Finding:
    text = words(rule)
    match looks.get(instance.name):
        case None:
            return Finding(text, Truth.UNKNOWN, "", Reason.NOT_LOOKED, alive=False, asked=now)
        case Gone(asked, why):
            return Finding(text, Truth.FALSE, why, Reason.HAPROXY_GONE, alive=False, asked=asked)
        case Unreadable() as look:
            return _silent(text, look, instance.deadline, now)
        case Snapshot() as look if now - look.asked > instance.deadline:
            age = f"asked {now - look.asked:.1f} s ago"
            reason = Reason.EVIDENCE_STALE
            return Finding(text, Truth.FALSE, age, reason, alive=False, asked=look.asked)
        case Snapshot() as look:
            until = look.asked + instance.deadline
            if isinstance(rule, FrontendRule):
                return _frontend(text, rule, look, until)
            return _backend(text, rule, look, until)


def _silent(text: str, look: Unreadable, deadline: float, now: float) -> Finding:
    reason = Reason.HAPROXY_SILENT
    if look.missed >= MISSED_LOOKS and now - look.since >= deadline:
        return Finding(text, Truth.FALSE, look.why, reason, alive=False, asked=look.asked)
    # The watcher counts the looks, so the deadline ends the hold only together with a second miss.
    left = max(0.0, look.since + deadline - now)
    return Finding(
        text,
        Truth.UNKNOWN,
        look.why,
        reason,
        alive=False,
        asked=look.asked,
        hold=2 * deadline,
        until=now + left if left else None,
    )


def _frontend(text: str, rule: FrontendRule, look: Snapshot, until: float) -> Finding:
    frontend = look.frontends.get(rule.frontend)
    if frontend is None:
        value, truth, reason = "not in HAProxy", Truth.FALSE, Reason.FRONTEND_MISSING
    elif frontend.open:
        value, truth, reason = frontend.status, Truth.TRUE, Reason.SERVING
    else:
        value, truth, reason = frontend.status, Truth.FALSE, Reason.FRONTEND_CLOSED
    return Finding(text, truth, value, reason, asked=look.asked, until=until)


def _backend(text: str, rule: BackendRule, look: Snapshot, until: float) -> Finding:
    backend = look.backends.get(rule.backend)
    if backend is None:
        value, reason = "not in HAProxy", Reason.BACKEND_MISSING
        return Finding(text, Truth.FALSE, value, reason, asked=look.asked, until=until)
    proved, possible = usable_servers(backend, count_unchecked=rule.count_unchecked)
    total = counted(backend)
    needed = servers_needed(rule.usable, total)
    value = f"{proved} of {total} usable"
    if possible > proved:
        value += f", {possible - proved} not proved"
    truth, reason = Truth.TRUE, Reason.SERVING
    if possible < needed:
        truth, reason = Truth.FALSE, Reason.TOO_FEW_SERVERS
    elif proved < needed:
        truth, reason = Truth.UNKNOWN, Reason.UNPROVED
    return Finding(
        text,
        truth,
        value,
        reason,
        rows=backend.servers,
        asked=look.asked,
        hold=UNPROVED_HOLD,
        then=Truth.TRUE,
        until=until,
    )


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
    elif now - probe.asked > lifetime(test):
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


def usable_servers(backend: Backend, *, count_unchecked: bool = False) -> tuple[int, int]:
    """Give the interval of usable servers: (proved, proved and not yet proved)."""
    proved = possible = 0
    for server in backend.servers:
        if server.usable is Usable.NO:
            continue
        possible += 1
        if server.usable is Usable.YES or (count_unchecked and not server.checked):
            proved += 1
    return proved, possible


def counted(backend: Backend) -> int:
    """How many servers a share is a share of: all but backups, or all where only backups are."""
    active = sum(not server.backup for server in backend.servers)
    return active or len(backend.servers)


def servers_needed(threshold: Threshold, total: int) -> int:
    """How many usable servers a threshold asks for, of ``total``; a share is rounded up."""
    if threshold.count is not None:
        return threshold.count
    # Rounded up, and never 0: a share of an empty backend is not served.
    return max(1, -int(-(threshold.share or 0) * total // 100))


def _at_least(threshold: Threshold) -> str:
    if threshold.count is not None:
        return f"at least {threshold.count}"
    return f"at least {threshold.share:g} %"
