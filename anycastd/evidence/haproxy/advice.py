"""Compare what HAProxy has with what a profile's rules need: empty backends, loops (pure).

For `anycastd check` alone: the running agent judges what it looks at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from anycastd.evidence.haproxy.loops import LoopTargets, find_loops
from anycastd.evidence.haproxy.servers import Server
from anycastd.profile.conditions import AllOf, AnyOf, BackendRule, Condition
from anycastd.profile.model import Profile

DISABLED_PROXY = "or it is `disabled` in haproxy.cfg"
"""HAProxy lists no proxy that is disabled in its configuration."""


class ServerRow(NamedTuple):
    """One server of ``show servers state``: its name, its address with its port."""

    name: str
    address: str


def list_backend_rules(profile: Profile, instance: str) -> list[BackendRule]:
    """Return the rules of all services that count servers of one HAProxy, equal ones once."""
    return list(
        dict.fromkeys(
            rule
            for service in profile.services.values()
            for _, condition in service.conditions
            for rule in _iter_backend_rules(condition)
            if rule.instance == instance
        )
    )


def list_backends(rules: Sequence[BackendRule]) -> list[str]:
    """Return the backends of the rules, each once."""
    return list(dict.fromkeys(rule.backend for rule in rules))


def _iter_backend_rules(condition: Condition) -> Iterator[BackendRule]:
    if isinstance(condition, AllOf | AnyOf):
        for each in condition.rules:
            yield from _iter_backend_rules(each)
    elif isinstance(condition, BackendRule):
        yield condition


def find_empty_backends(
    rules: Sequence[BackendRule], backends: Mapping[str, Sequence[Server]]
) -> Iterator[tuple[str, str]]:
    """Yield (message, remedy) for each backend of a rule that has no servers.

    ``backends``: name -> its servers.  Such a backend answers by itself (`http-request
    return`), or has `dispatch`; HAProxy calls it UP as long as it runs.
    """
    for backend in list_backends(rules):
        if backend in backends and not backends[backend]:
            message = (
                f"backend {backend}: it has no servers: HAProxy calls it UP, a rule on its "
                "servers never holds"
            )
            yield (
                message,
                "use {frontend: NAME} with the frontend that leads to it",
            )


def find_high_numbers(
    rules: Sequence[BackendRule], backends: Mapping[str, Sequence[Server]]
) -> Iterator[tuple[str, str]]:
    """Yield (message, remedy) for each rule that wants more servers than its backend has.

    ``backends``: name -> its servers; empty slots count, since they may be filled.
    """
    for rule in rules:
        wanted, count = rule.usable.number, len(backends.get(rule.backend, ()))
        if not rule.by_weight and wanted is not None and 0 < count < wanted:
            yield (
                f"backend {rule.backend}: a rule wants {wanted} usable servers, and it has {count}",
                f"write usable: {count} or less, or a share such as 50%",
            )


def find_connect_checks(
    rules: Sequence[BackendRule], backends: Mapping[str, Sequence[Server]]
) -> Iterator[tuple[str, str, str]]:
    """Yield (backend, message, remedy) for each backend of a rule whose checks only connect.

    ``backends``: name -> its servers.  An application that hangs still accepts connections: the
    kernel does it.
    """
    for backend in list_backends(rules):
        servers = [each.name for each in backends.get(backend, ()) if each.check == "L4OK"]
        if servers:
            message = (
                f"backend {backend}: its checks only connect (L4OK), so an application that hangs "
                "counts as usable"
            )
            yield (
                backend,
                message,
                "write `option httpchk GET /health`, with its own path, in this backend",
            )


DEADLINE_PER_SERVER = 0.00015
"""Seconds of `deadline` for each server of HAProxy.

An answer about all of 10,000 servers took up to 0.26 s on two busy cores, and a reload of such a
HAProxy was a silence of up to 0.36 s.  An answer has a third of the deadline.
"""


def find_short_deadline(deadline: float, servers: int) -> tuple[str, str] | None:
    """Find a deadline (seconds) that is too short for a HAProxy with so many servers.

    Returns (message, remedy).
    """
    needed = servers * DEADLINE_PER_SERVER
    if deadline >= needed:
        return None
    message = (
        f"{deadline:g} s are short for {servers:,} servers: an answer about all of them may take "
        "more than a third of that, and a reload more than all of it"
    )
    remedy = (
        f"write {math.ceil(needed * 10) / 10:g} or more; else the route may go at each reload, or "
        "never be announced"
    )
    return message, remedy


def find_slots(
    rules: Sequence[BackendRule], backends: Mapping[str, Sequence[Server]]
) -> Iterator[str]:
    """Yield a sentence for each backend with empty slots, which no share counts."""
    for backend in list_backends(rules):
        servers = backends.get(backend, ())
        slots = [each for each in servers if not each.in_share and each.status.startswith("MAINT")]
        if slots:
            yield (
                f"backend {backend}: {len(slots)} of {len(servers)} servers are empty slots, which "
                "no share counts"
            )


def find_server_loops(
    rules: Sequence[BackendRule], servers: Mapping[str, Sequence[ServerRow]], targets: LoopTargets
) -> Iterator[tuple[str, str]]:
    """Yield (message, remedy) for each server that leads back to this HAProxy."""
    for backend in list_backends(rules):
        for name, why in find_loops(servers.get(backend, ()), targets).items():
            yield (
                f"server {backend}/{name}: {why}; it is no server and is not counted",
                "remove it: when this region withdraws, the routers lead to the other region",
            )


def parse_server_rows(text: str) -> dict[str, list[ServerRow]]:
    """Parse the answer to ``show servers state``: backend -> its servers.

    Raises ValueError where it has no such columns.
    """
    lines = text.splitlines()
    names = lines[1].removeprefix("# ").split() if len(lines) > 1 else []
    columns = [names.index(each) for each in ("be_name", "srv_name", "srv_addr", "srv_port")]
    found: dict[str, list[ServerRow]] = {}
    for line in lines[2:]:
        fields = line.split()
        if len(fields) <= max(columns):
            continue
        backend, server, address, port = (fields[each] for each in columns)
        whole = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        found.setdefault(backend, []).append(ServerRow(server, whole))
    return found
