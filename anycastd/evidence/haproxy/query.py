"""What one look asks a HAProxy instance for, and its request line (pure).

The commands are described in HAProxy's management manual, section 9.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from anycastd.evidence.haproxy.loops import LoopTargets
from anycastd.evidence.haproxy.snapshot import Snapshot
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
)
from anycastd.profile.model import Address, Profile, Service

MAX_NAMES = 500
"""Maximum number of proxies to ask for one by one: such a line has about 9 kB."""
MAX_COMMANDS = 4_000
"""Maximum size of the commands for weights in characters; beyond it one command asks for all."""
MAX_TRACKED = 500
"""Maximum number of backends to ask for only because their servers are tracked."""
BRIEF_FROM = 300
"""Number of servers from which on a backend is asked briefly; fewer rows cost next to nothing."""
SHOW_ALL = "show stat"
"""Command for all rows.  ``show stat -1 7 -1`` would be another one where a proxy is named -1."""

_NAME = re.compile(r"[-A-Za-z0-9_.:]{1,255}")  # the characters that HAProxy accepts


@dataclass(frozen=True, slots=True)
class Query:
    """What a look asks one HAProxy instance for.

    ``backends`` and ``frontends`` are names.  ``weights`` are the names of the backends whose
    servers' weights in haproxy.cfg are needed, ``queues`` of those whose queue is limited.
    ``entries`` are (map, key).  ``loops``: which servers are this HAProxy itself; nothing is asked
    for it.  ``brief_from``: a backend of so many servers is asked briefly (``brief_look``).
    """

    backends: frozenset[str] = frozenset()
    frontends: frozenset[str] = frozenset()
    weights: frozenset[str] = frozenset()
    entries: frozenset[tuple[str, str]] = frozenset()
    loops: LoopTargets = field(default=LoopTargets(), compare=False)
    queues: frozenset[str] = frozenset()
    brief_from: int = field(default=BRIEF_FROM, compare=False)

    @classmethod
    def from_services(
        cls, services: Iterable[Service], instance: str, addresses: Iterable[Address] = ()
    ) -> Query:
        """Collect what the rules of ``services`` need of the HAProxy named ``instance``.

        ``addresses`` are addresses of this machine other than the VIPs.
        """
        services = tuple(services)
        backends: set[str] = set()
        frontends: set[str] = set()
        weights: set[str] = set()
        queues: set[str] = set()
        entries: set[tuple[str, str]] = set()
        for rule in (rule for service in services for rule in iter_service_rules(service)):
            if rule.instance != instance:
                continue
            match rule:
                case BackendRule(backend=name, by_weight=by_weight):
                    backends.add(name)
                    if by_weight:
                        weights.add(name)
                case FrontendRule(frontend=name):
                    frontends.add(name)
                case LimitRule(proxy=name, frontend=is_frontend, load=load):
                    (frontends if is_frontend else backends).add(name)
                    if load is LoadMetric.QUEUE:
                        queues.add(name)
                case Maintenance(map=name, key=key):
                    entries.add((name, key))
        return cls(
            frozenset(backends),
            frozenset(frontends),
            frozenset(weights),
            frozenset(entries),
            LoopTargets(
                frozenset(str(service.vip.network_address) for service in services),
                frozenset(map(str, addresses)),
                frozenset(each.self_test.port for each in services if each.self_test is not None),
            ),
            frozenset(queues),
        )

    @classmethod
    def from_profile(cls, profile: Profile, instance: str) -> Query:
        """Collect what all services of ``profile`` need of the HAProxy named ``instance``."""
        local = {profile.bgp.local_address, *(each.local_address for each in profile.bgp.neighbors)}
        return cls.from_services(profile.services.values(), instance, local)

    @property
    def proxies(self) -> frozenset[str]:
        """Return the names of all backends and frontends."""
        return self.backends | self.frontends


def iter_rules(condition: Condition) -> Iterator[BackendRule | FrontendRule | LimitRule]:
    """Yield the rules about HAProxy that a condition is made of, in the profile's order."""
    match condition:
        case AllOf(rules) | AnyOf(rules):
            for rule in rules:
                yield from iter_rules(rule)
        case BackendRule() | FrontendRule() | LimitRule():
            yield condition
        case _:
            pass  # other rules ask no HAProxy


def iter_service_rules(service: Service) -> Iterator[Rule]:
    """Yield the rules about HAProxy of all conditions of a service, and of `maintenance`."""
    for _, condition in service.conditions:
        yield from iter_rules(condition)
    if service.maintenance is not None:
        yield service.maintenance


Brief = Mapping[str, tuple[int, ...]]
"""Backend -> HAProxy's numbers of the servers to ask for, besides the backend's own row."""


@dataclass(frozen=True, slots=True)
class Request:
    """The commands of one look.  HAProxy answers them in this order, then ``show info``.

    ``stats`` are the commands for rows, ``weights`` those for weights, ``entries`` the (map, key)
    to look up.  ``brief``: backend -> HAProxy's numbers of the servers that are asked for, where
    not all of its servers are (``brief_look``).
    """

    stats: tuple[str, ...]
    weights: tuple[str, ...] = ()
    entries: tuple[tuple[str, str], ...] = ()
    brief: Brief = field(default_factory=dict)

    @property
    def line(self) -> str:
        """Return the request line, with its newline.

        ``show info`` stands last, so that an answer that ends with it is complete.
        """
        lookups = (f"get map {name} {key}" for name, key in self.entries)
        return ";".join((*self.stats, *self.weights, *lookups, "show info")) + "\n"


def build_request(
    query: Query, last: Snapshot | None = None, brief: Brief | None = None
) -> Request:
    """Build the request for one look on one connection.

    Without ``last``, or with many names, it asks for everything that HAProxy has.  With ``last``,
    an earlier answer of the *same worker*, it asks by HAProxy's own numbers (``show stat #ID``): a
    frontend and a backend may have the same name, and ``show stat NAME`` gives only one of the two.
    Besides, a name may be a keyword of that command or look like a number.  What ``last`` lacks is
    not asked for.  ``brief``: see ``Request``; for backends that ``last`` has.
    """
    by_number = last is not None and len(query.backends) + len(query.frontends) <= MAX_NAMES
    brief = brief if brief and by_number else {}
    weights = tuple(f"show servers state {name}" for name in sorted(query.weights - brief.keys()))
    if sum(map(len, weights)) > MAX_COMMANDS:
        weights = ("show servers state",)
    entries = tuple(sorted(query.entries))
    stats: tuple[str, ...] = (SHOW_ALL,)
    if last is not None and by_number:
        numbers = {
            proxy.number: None
            for names, seen in (
                (query.backends, last.backends),
                (query.frontends, last.frontends),
            )
            for name in sorted(names)
            if (proxy := seen.get(name)) is not None
        }
        single = {last.backends[name].number: servers for name, servers in brief.items()}
        stats = tuple(
            command for number in numbers for command in _list_commands(number, single.get(number))
        )
    return Request(stats, weights, entries, brief)


def _list_commands(number: int, single: tuple[int, ...] | None) -> list[str]:
    """List the commands for the rows of a proxy: all of them, or its own and some servers'."""
    if single is None:
        return [f"show stat #{number} 7 -1"]
    # 3: the rows of frontend and backend, which have one number in a `listen`; 4: a server's.
    return [f"show stat #{number} 3 -1", *(f"show stat #{number} 4 {each}" for each in single)]


def missing_tracked_backends(snapshot: Snapshot) -> frozenset[str]:
    """Find the backends, absent from ``snapshot``, whose servers are tracked by servers in it.

    Returns their names, MAX_TRACKED at most.  ``track`` is described in HAProxy's configuration
    manual, section 5.2.
    """
    tracked = {
        server.tracked.partition("/")[0]
        for backend in snapshot.backends.values()
        for server in backend.servers
        if server.tracked
    }
    names = sorted(filter(_NAME.fullmatch, tracked - snapshot.backends.keys()))
    return frozenset(names[:MAX_TRACKED])
