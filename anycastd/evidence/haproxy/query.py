"""What one look asks a HAProxy instance for, and its request line (pure).

The commands are described in HAProxy's management manual, section 9.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
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

MAX_NAMES = 500
"""Maximum number of proxies to ask for one by one: such a line has about 9 kB."""
MAX_REQUEST = 15_000
"""Maximum size of a request in bytes.

HAProxy's buffer for it has 16 kB (``tune.bufsize``, configuration manual, section 3.2).
"""

_NAME = re.compile(r"[-A-Za-z0-9_.:]+")


@dataclass(frozen=True, slots=True)
class Query:
    """What a look asks one HAProxy instance for.

    ``backends`` and ``frontends`` are names.  ``weights`` are the names of the backends whose
    servers' weights in haproxy.cfg are needed.  ``entries`` are (map, key).
    """

    backends: frozenset[str] = frozenset()
    frontends: frozenset[str] = frozenset()
    weights: frozenset[str] = frozenset()
    entries: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def from_services(cls, services: Iterable[Service], instance: str) -> Query:
        """Collect what the rules of ``services`` need of the HAProxy named ``instance``."""
        backends: set[str] = set()
        frontends: set[str] = set()
        weights: set[str] = set()
        entries: set[tuple[str, str]] = set()
        for rule in (rule for service in services for rule in iter_service_rules(service)):
            if getattr(rule, "instance", None) != instance:  # other sources have no instances
                continue
            match rule:
                case BackendRule(backend=name, by_weight=by_weight):
                    backends.add(name)
                    if by_weight:
                        weights.add(name)
                case FrontendRule(frontend=name):
                    frontends.add(name)
                case LimitRule(proxy=name, frontend=is_frontend):
                    (frontends if is_frontend else backends).add(name)
                case Maintenance(map=name, key=key):
                    entries.add((name, key))
        return cls(
            frozenset(backends), frozenset(frontends), frozenset(weights), frozenset(entries)
        )

    @property
    def proxies(self) -> frozenset[str]:
        """Return the names of all backends and frontends."""
        return self.backends | self.frontends


def iter_rules(condition: Condition) -> Iterator[BackendRule | FrontendRule | LimitRule]:
    """Yield the rules that a condition is made of, in the profile's order."""
    match condition:
        case AllOf(rules) | AnyOf(rules):
            for rule in rules:
                yield from iter_rules(rule)
        case _:
            yield condition


def iter_service_rules(service: Service) -> Iterator[Rule]:
    """Yield the rules of `serve`, of `healthy` and of `maintenance`."""
    yield from iter_rules(service.serve)
    if service.healthy is not None:
        yield from iter_rules(service.healthy)
    if service.maintenance is not None:
        yield service.maintenance


def build_request(query: Query, last: Snapshot | None = None) -> str:
    """Build the request line (with its newline) for one look on one connection.

    Without ``last``, or with many names, it asks for everything that HAProxy has.  With ``last``,
    an earlier answer of the *same worker*, it asks by HAProxy's own numbers (``show stat #ID``): a
    frontend and a backend may have the same name, and ``show stat NAME`` gives only one of the two.
    What HAProxy did not have is asked for by name.  ``show info`` stands last, so that an answer
    that ends with it is complete.
    """
    end = _build_extra_commands(query) + "show info\n"
    if last is None or len(query.backends) + len(query.frontends) > MAX_NAMES:
        return "show stat -1 7 -1;" + end
    selectors: dict[str, None] = {}
    proxies: tuple[tuple[Collection[str], Mapping[str, Backend | Frontend]], ...] = (
        (query.backends, last.backends),
        (query.frontends, last.frontends),
    )
    for names, seen in proxies:
        for name in sorted(names):
            if name in seen:
                selectors[f"#{seen[name].number}"] = None
            elif _NAME.fullmatch(name):  # any other cannot be HAProxy's and might be a command
                selectors[name] = None
    rows = "".join(f"show stat {selector} 7 -1;" for selector in selectors)
    return (rows if len(rows) + len(end) < MAX_REQUEST else "show stat -1 7 -1;") + end


def _build_extra_commands(query: Query) -> str:
    """Build the commands for weights as configured and for entries of maps."""
    weights = "".join(f"show servers state {name};" for name in sorted(query.weights))
    if len(weights) > MAX_REQUEST // 4:
        weights = "show servers state;"
    return weights + "".join(f"get map {name} {key};" for name, key in sorted(query.entries))


def missing_tracked_backends(snapshot: Snapshot) -> frozenset[str]:
    """Find the backends, absent from ``snapshot``, whose servers are tracked by servers in it.

    Returns their names.  ``track`` is described in HAProxy's configuration manual, section 5.2.
    """
    tracked = {
        server.tracked.partition("/")[0]
        for backend in snapshot.backends.values()
        for server in backend.servers
        if server.tracked
    }
    return frozenset(tracked - snapshot.backends.keys())
