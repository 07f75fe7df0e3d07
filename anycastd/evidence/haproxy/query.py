"""What one look asks HAProxy for, and the request line for it (pure)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from anycastd.evidence.haproxy.snapshot import Backend, Frontend, Snapshot
from anycastd.profile.model import (
    AllOf,
    AnyOf,
    BackendRule,
    Condition,
    FrontendRule,
    LimitRule,
    Maintenance,
    Rule,
    Service,
)


@dataclass(frozen=True, slots=True)
class More:
    """What a look asks for besides rows: weights of backends, entries (map, key) of maps."""

    weights: frozenset[str] = frozenset()
    entries: frozenset[tuple[str, str]] = frozenset()


# The question --------------------------------------------------------------------------------

# A line of 500 numbers has about 9 kB; HAProxy's buffer for a request has 16 kB.
MAX_NAMES = 500


MAX_REQUEST = 15_000


_NAME = re.compile(r"[-A-Za-z0-9_.:]+")


NOTHING_MORE = More()


def build_request(
    backends: Collection[str],
    frontends: Collection[str],
    last: Snapshot | None = None,
    more: More = NOTHING_MORE,
) -> str:
    """The request line (with its newline) for one look on one connection.

    Without ``last``, or with many names: everything that HAProxy has.  With ``last``, an earlier
    answer of the *same worker*: only what is named, by HAProxy's own numbers, since a frontend
    and a backend may share a name and ``show stat NAME`` gives only one of the two.  What
    HAProxy did not have is asked for by name.  ``show info`` stands last: an answer with a whole
    last block is whole.
    """
    end = _more(more) + "show info\n"
    if last is None or len(backends) + len(frontends) > MAX_NAMES:
        return "show stat -1 7 -1;" + end
    asked: dict[str, None] = {}
    have: tuple[tuple[Collection[str], Mapping[str, Backend | Frontend]], ...] = (
        (backends, last.backends),
        (frontends, last.frontends),
    )
    for names, known in have:
        for name in sorted(names):
            if name in known:
                asked[f"#{known[name].number}"] = None
            elif _NAME.fullmatch(name):  # any other cannot be HAProxy's and might be a command
                asked[name] = None
    rows = "".join(f"show stat {name} 7 -1;" for name in asked)
    return (rows if len(rows) + len(end) < MAX_REQUEST else "show stat -1 7 -1;") + end


def _more(more: More) -> str:
    """The commands for what is no row: weights as configured, and entries of maps."""
    weights = "".join(f"show servers state {name};" for name in sorted(more.weights))
    if len(weights) > MAX_REQUEST // 4:
        weights = "show servers state;"
    return weights + "".join(f"get map {name} {key};" for name, key in sorted(more.entries))


def missing_tracked_backends(snapshot: Snapshot) -> frozenset[str]:
    """The backends, absent from the snapshot, whose servers are tracked by servers in it."""
    tracked = {
        server.tracked.partition("/")[0]
        for backend in snapshot.backends.values()
        for server in backend.servers
        if server.tracked
    }
    return frozenset(tracked - snapshot.backends.keys())


def named(service: Service, instance: str) -> tuple[frozenset[str], frozenset[str]]:
    """Give the (backends, frontends) of one HAProxy instance that the rules of ``service`` name."""
    backends: set[str] = set()
    frontends: set[str] = set()
    for rule in rules_of(service):
        if rule.instance == instance:
            match rule:
                case BackendRule(backend=name) | LimitRule(proxy=name, frontend=False):
                    backends.add(name)
                case FrontendRule(frontend=name) | LimitRule(proxy=name, frontend=True):
                    frontends.add(name)
    return frozenset(backends), frozenset(frontends)


def more(services: Mapping[str, Service], instance: str) -> More:
    """Give what the rules of ``services`` ask one HAProxy instance for besides rows."""
    rules = [rule for service in services.values() for rule in rules_of(service)]
    mine = [rule for rule in rules if rule.instance == instance]
    return More(
        frozenset(r.backend for r in mine if isinstance(r, BackendRule) and r.by_weight),
        frozenset((r.map, r.key) for r in mine if isinstance(r, Maintenance)),
    )


def iter_rules(condition: Condition) -> Iterator[BackendRule | FrontendRule | LimitRule]:
    """Give the rules that a condition is made of."""
    match condition:
        case AllOf(rules) | AnyOf(rules):
            for rule in rules:
                yield from iter_rules(rule)
        case _:
            yield condition


def rules_of(service: Service) -> Iterator[Rule]:
    yield from iter_rules(service.serve)
    if service.healthy is not None:
        yield from iter_rules(service.healthy)
    if service.maintenance is not None:
        yield service.maintenance
