"""Names in rules that HAProxy does not have: where they stand, and which were perhaps meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from anycastd.evidence.haproxy.inventory import Proxies, list_proxies
from anycastd.evidence.haproxy.snapshot import Observation, Snapshot
from anycastd.profile.conditions import (
    AllOf,
    AnyOf,
    BackendRule,
    CheckRule,
    Condition,
    FrontendRule,
    LimitRule,
    Maintenance,
    Rule,
)
from anycastd.profile.key_paths import Path
from anycastd.profile.model import Profile, Service
from anycastd.profile.schema_errors import suggest_similar
from anycastd.system.printable import make_printable

_MAX_LISTED = 5
_MAX_NAME = 80


@dataclass(frozen=True, slots=True)
class UnknownName:
    """A name in a rule that HAProxy does not have.

    ``path`` is the key path of the name in the profile.  ``kind`` is backend, frontend or map.
    """

    path: Path
    instance: str
    kind: str
    name: str
    remedy: str

    @property
    def message(self) -> str:
        """Return what is wrong, as a sentence for operators."""
        return f"HAProxy {self.instance} has no {self.kind} {self.name}"


def find_unknown_names(profile: Profile, looks: Mapping[str, Observation]) -> Iterator[UnknownName]:
    """Yield each name in a rule that the HAProxy behind it lacks; only of those that answered.

    ``looks``: name of the HAProxy -> the look at it.  Asks HAProxy once more for what it has, so it
    blocks for a moment.
    """
    existing: dict[str, Proxies] = {}
    for service in profile.services.values():
        for path, rule in iter_rule_paths(service):
            look = looks.get(rule.instance)
            if not isinstance(look, Snapshot):
                continue
            missing = _find_missing(rule, look)
            if missing is None:
                continue
            kind, key, name = missing
            if rule.instance not in existing:
                existing[rule.instance] = list_proxies(profile.haproxy[rule.instance].socket)
            remedy = _propose(kind, name, existing[rule.instance])
            at: Path = ("services", service.name, *path, key)
            yield UnknownName(at, rule.instance, kind, make_printable(name, _MAX_NAME), remedy)


def _find_missing(rule: Rule, look: Snapshot) -> tuple[str, str, str] | None:
    """Return (kind, key in the profile, name) of what the look lacks for a rule, or None."""
    match rule:
        case BackendRule(backend=name) if name not in look.backends:
            return "backend", "backend", name
        case FrontendRule(frontend=name) if name not in look.frontends:
            return "frontend", "frontend", name
        case LimitRule(proxy=name, frontend=True) if name not in look.frontends:
            return "frontend", "frontend", name
        case LimitRule(proxy=name, frontend=False) if name not in look.backends:
            return "backend", "backend", name
        case Maintenance(map=name, key=key) if (name, key) not in look.entries:
            return None if (name, key) in look.refused else ("map", "map", name)
    return None


def _propose(kind: str, name: str, proxies: Proxies) -> str:
    names = {"backend": proxies.backends, "frontend": proxies.frontends, "map": proxies.maps}[kind]
    shown = [make_printable(each, _MAX_NAME) for each in names]
    if near := suggest_similar(name, shown):
        return f"did you mean {near}?"
    if kind == "map":
        return "write its path as haproxy.cfg has it, or add a `map` there that uses it"
    listed = ", ".join(shown[:_MAX_LISTED]) + (", ..." if len(shown) > _MAX_LISTED else "")
    has = f"it has {listed}" if shown else f"it has no {kind}"
    return f"{has}; one that is `disabled` in haproxy.cfg is not listed"


def iter_rule_paths(service: Service) -> Iterator[tuple[Path, Rule]]:
    """Yield (key path in the service, rule) of each rule about HAProxy."""
    for path, condition in service.conditions:
        yield from _iter_condition(condition, path)
    if service.maintenance is not None:
        yield ("maintenance",), service.maintenance


def _iter_condition(condition: Condition, path: Path) -> Iterator[tuple[Path, Rule]]:
    if isinstance(condition, AllOf | AnyOf):
        key = "all" if isinstance(condition, AllOf) else "any"
        rules: Iterable[tuple[int, Condition]] = enumerate(condition.rules)
        for index, rule in rules:
            yield from _iter_condition(rule, (*path, key, index))
    elif not isinstance(condition, CheckRule):
        yield path, condition
