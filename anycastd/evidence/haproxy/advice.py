"""What HAProxy has against what a profile's rules need: backends without servers, loops (pure).

For `anycastd check` alone: the running agent judges what it looks at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from anycastd.evidence.haproxy.loops import LoopTargets, find_loops
from anycastd.profile.model import AllOf, AnyOf, BackendRule, Condition, Profile

DISABLED_PROXY = "or it is `disabled` in haproxy.cfg"
"""HAProxy lists no proxy that is disabled in its configuration."""


class ServerRow(NamedTuple):
    """One server of ``show servers state``: its name, its address with its port."""

    name: str
    address: str


def list_backend_rules(profile: Profile, instance: str) -> list[BackendRule]:
    """Return the rules of all services that count servers of one HAProxy, each backend once."""
    found: dict[str, BackendRule] = {}
    for service in profile.services.values():
        for condition in (service.serve, service.healthy):
            for rule in _iter_backend_rules(condition):
                if rule.instance == instance:
                    found.setdefault(rule.backend, rule)
    return list(found.values())


def _iter_backend_rules(condition: Condition | None) -> Iterator[BackendRule]:
    if isinstance(condition, AllOf | AnyOf):
        for each in condition.rules:
            yield from _iter_backend_rules(each)
    elif isinstance(condition, BackendRule):
        yield condition


def find_empty_backends(
    rules: Sequence[BackendRule], backends: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str]]:
    """Yield (message, remedy) for each rule on a backend that has no servers.

    ``backends``: name -> names of its servers.  Such a backend answers by itself (`http-request
    return`), or has `dispatch`; HAProxy calls it UP as long as it runs.
    """
    for rule in rules:
        if rule.backend in backends and not backends[rule.backend]:
            message = (
                f"backend {rule.backend}: it has no servers: HAProxy calls it UP, a rule on its "
                "servers never holds"
            )
            yield (
                message,
                "use {frontend: NAME} with the frontend that leads to it",
            )


def find_server_loops(
    rules: Sequence[BackendRule], servers: Mapping[str, Sequence[ServerRow]], targets: LoopTargets
) -> Iterator[tuple[str, str]]:
    """Yield (message, remedy) for each server that leads back to this HAProxy."""
    for rule in rules:
        for name, why in find_loops(servers.get(rule.backend, ()), targets).items():
            yield (
                f"server {rule.backend}/{name}: {why}; it is no server and is not counted",
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
