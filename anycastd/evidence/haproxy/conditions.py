"""A look at HAProxy and one rule -> Finding.

Evidence has three values and so have conditions.  The servers that count for a rule are an
interval, from those proved up to those plus the ones shown up without proof; a threshold above
the interval is false, below it true, inside it unknown.  By weight it is the same with the sums of
their weights; a share is one of what haproxy.cfg gives all of them, so that a server whose weight
was taken away is missing from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from anycastd.evidence.finding import BELIEVE_UNPROVED_FOR, Finding, Truth
from anycastd.evidence.haproxy.servers import Server, Usable
from anycastd.evidence.haproxy.snapshot import Backend, Gone, Observation, Snapshot, Unreadable
from anycastd.profile.model import (
    AllOf,
    AnyOf,
    BackendRule,
    Condition,
    FrontendRule,
    Instance,
    LimitRule,
    Maintenance,
    Rule,
    Threshold,
)
from anycastd.reasons import Reason

"""Seconds for which servers without a check result keep the last verdict; then HAProxy's word."""

MISSED_LOOKS = 2
"""A silent HAProxy counts as hung after this many looks without an answer, and its deadline."""

# A member of an enumeration costs a search in Python 3.11, and these are used all the time.
_FALSE, _TRUE, _SERVING = Truth.FALSE, Truth.TRUE, Reason.SERVING


def describe(condition: Condition | Maintenance) -> str:
    """Say a condition as an operator would."""
    match condition:
        case AllOf():
            return "all of (" + "; ".join(describe(rule) for rule in condition.rules) + ")"
        case AnyOf():
            return "any of (" + "; ".join(describe(rule) for rule in condition.rules) + ")"
        case _:
            return condition.description


def evaluate_rule(
    rule: Rule, instance: Instance, looks: Mapping[str, Observation], now: float
) -> Finding:
    """Hold ``rule`` against the newest look at its HAProxy."""
    look = looks.get(instance.name)
    if isinstance(look, Snapshot):
        until = look.asked_at + instance.deadline
        if now < until:
            return _shown(rule, look, until)
        age = f"asked {now - look.asked_at:.1f} s ago"
        reason = Reason.EVIDENCE_STALE
        return Finding(
            rule.description, Truth.FALSE, age, reason, alive=False, asked_at=look.asked_at
        )
    if isinstance(look, Gone):
        gone = Reason.HAPROXY_GONE
        return Finding(
            rule.description, Truth.FALSE, look.detail, gone, alive=False, asked_at=look.asked_at
        )
    if isinstance(look, Unreadable):
        return _silent(rule.description, look, instance.deadline, now)
    # As long as one that is silent: that nobody has looked yet proves nothing bad either.
    reason, hold = Reason.NOT_LOOKED, 2 * instance.deadline
    return Finding(
        rule.description, Truth.UNKNOWN, "", reason, alive=False, asked_at=now, believe_for=hold
    )


def _shown(rule: Rule, look: Snapshot, until: float) -> Finding:
    if isinstance(rule, BackendRule):
        return _backend(rule, look, until)
    if isinstance(rule, FrontendRule):
        return _frontend(rule, look, until)
    if isinstance(rule, LimitRule):
        return _limit(rule, look, until)
    return _maintenance(rule, look, until)


def _silent(text: str, look: Unreadable, deadline: float, now: float) -> Finding:
    reason = Reason.HAPROXY_SILENT
    if look.missed >= MISSED_LOOKS and now - look.began_at >= deadline:
        return Finding(text, Truth.FALSE, look.detail, reason, alive=False, asked_at=look.asked_at)
    # The watcher counts the looks, so the deadline ends the hold only together with a second miss.
    left = max(0.0, look.began_at + deadline - now)
    return Finding(
        text,
        Truth.UNKNOWN,
        look.detail,
        reason,
        alive=False,
        asked_at=look.asked_at,
        believe_for=2 * deadline,
        changes_at=now + left if left else None,
    )


def _frontend(rule: FrontendRule, look: Snapshot, until: float) -> Finding:
    frontend = look.frontends.get(rule.frontend)
    if frontend is None:
        value, truth, reason = "not in HAProxy", _FALSE, Reason.FRONTEND_MISSING
    elif frontend.is_open:
        value, truth, reason = frontend.status, _TRUE, _SERVING
    else:
        value, truth, reason = frontend.status, _FALSE, Reason.FRONTEND_CLOSED
    text = rule.description
    return Finding(text, truth, value, reason, (), True, look.asked_at, 0.0, _FALSE, until, "OPEN")


def _backend(rule: BackendRule, look: Snapshot, until: float) -> Finding:
    backend = look.backends.get(rule.backend)
    if backend is None:
        value, reason = "not in HAProxy", Reason.BACKEND_MISSING
        return Finding(
            rule.description, _FALSE, value, reason, asked_at=look.asked_at, changes_at=until
        )
    if rule.by_weight:
        proved, possible = _usable_weight(backend, count_unchecked=rule.count_unchecked)
        total, of = sum(_configured(backend, row) for row in _counting(backend)), " of weight"
    else:
        proved, possible = usable_servers(backend, count_unchecked=rule.count_unchecked)
        # A share is one of all but backups, or of all where only backups are.
        total, of = backend.tally.active or len(backend.servers), ""
    truth, reason, value, needed = _compared(rule.usable, proved, possible, total, of)
    return Finding(  # by position: that costs half as much, and this is the busiest place
        rule.description,
        truth,
        value,
        reason,
        backend.servers,
        True,
        look.asked_at,
        BELIEVE_UNPROVED_FOR,
        _TRUE,
        until,
        needed,
    )


@lru_cache(maxsize=4096)  # backends look alike, and as they did a moment ago
def _compared(
    threshold: Threshold, proved: int, possible: int, total: int, of: str
) -> tuple[Truth, Reason, str, str]:
    """Hold an interval against a threshold: its truth, why, what was found, and what it needs."""
    needed = servers_needed(threshold, total)
    value = f"{proved}{of or ' of'} {total} usable"
    if possible > proved:
        value += f", {possible - proved} not proved"
    truth, reason = _TRUE, _SERVING
    if possible < needed:
        truth, reason = _FALSE, Reason.TOO_FEW_SERVERS
    elif proved < needed:
        truth, reason = Truth.UNKNOWN, Reason.UNPROVED
    return truth, reason, value, f"{needed}{of}"


def _limit(rule: LimitRule, look: Snapshot, until: float) -> Finding:
    text, needed = rule.description, f"fewer than {rule.below}"
    proxy = (look.frontends if rule.frontend else look.backends).get(rule.proxy)
    if proxy is None:
        missing = Reason.FRONTEND_MISSING if rule.frontend else Reason.BACKEND_MISSING
        value = "not in HAProxy"
        return Finding(text, Truth.FALSE, value, missing, asked_at=look.asked_at, changes_at=until)
    # Only a backend has queues.
    load = (
        proxy.queued_requests if rule.load.value == "queue" and isinstance(proxy, Backend) else None
    )
    load = proxy.sessions if load is None else load
    truth, reason = Truth.TRUE, Reason.SERVING
    if load >= rule.below:
        truth, reason = Truth.FALSE, Reason.OVERLOADED
    value = f"{load} {rule.load.counted}"
    return Finding(
        text, truth, value, reason, asked_at=look.asked_at, changes_at=until, needed=needed
    )


_OFF = {"off", "no", "false", "0"}


def _maintenance(rule: Maintenance, look: Snapshot, until: float) -> Finding:
    text, at = rule.description, (rule.map, rule.key)
    if at not in look.entries:
        value, reason = "HAProxy has no such map", Reason.MAP_MISSING
        return Finding(text, Truth.UNKNOWN, value, reason, asked_at=look.asked_at, changes_at=until)
    entry = look.entries[at]
    value = "no entry" if entry is None else f"{rule.key} {entry}".rstrip()
    if entry is None or entry.lower() in _OFF:
        return Finding(
            text, Truth.TRUE, value, Reason.SERVING, asked_at=look.asked_at, changes_at=until
        )
    return Finding(
        text, Truth.FALSE, value, Reason.MAINTENANCE, asked_at=look.asked_at, changes_at=until
    )


def usable_servers(backend: Backend, *, count_unchecked: bool = False) -> tuple[int, int]:
    """Give the interval of usable servers: (proved, proved and not yet proved)."""
    proved, unproved, unchecked, _ = backend.tally
    return (proved + unchecked if count_unchecked else proved), proved + unproved


def _usable_weight(backend: Backend, *, count_unchecked: bool) -> tuple[int, int]:
    proved = possible = 0
    for server in backend.servers:
        if server.usable is Usable.NO:
            continue
        weight = backend.weights.get(server.name, (server.weight, server.weight))[0]
        possible += weight
        if server.usable is Usable.YES or (count_unchecked and not server.checked):
            proved += weight
    return proved, possible


def _configured(backend: Backend, server: Server) -> int:
    return backend.weights.get(server.name, (server.weight, server.weight))[1]


def _counting(backend: Backend) -> Iterable[Server]:
    active = [server for server in backend.servers if not server.backup]
    return active or backend.servers


def servers_needed(threshold: Threshold, total: int) -> int:
    """How many usable servers a threshold asks for, of ``total``; a share is rounded up."""
    if threshold.number is not None:
        return threshold.number
    # Rounded up, and never 0: a share of an empty backend is not served.
    return max(1, -int(-(threshold.share or 0) * total // 100))
