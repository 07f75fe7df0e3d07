"""Rules for what a service asks of HAProxy: conditions, limits, maintenance; each with its reason.

Each looks at a Document and passes over what is missing from it, as in ``rules_services``.
"""

from __future__ import annotations

from collections.abc import Iterator

from anycastd.profile.document import Document, Problem
from anycastd.profile.rules.sections import iter_services
from anycastd.profile.schema_errors import suggest
from anycastd.profile.yaml_reader import Path, Value, quote

_KINDS = ("backend", "frontend", "all", "any")
# What a condition on a backend may say; the last two make it a limit.
_ASKED = ("usable", "queue_below", "sessions_below")
_LIMITS = _ASKED[1:]
_OF_SERVERS = ("usable", "by", "count_unchecked")
_ALL = 100
# HAProxy reads a request of 16 kB at most, and the rows are asked for in the same one.
_QUESTION = 10_000


def check_conditions(doc: Document) -> Iterator[Problem]:
    """Ask for conditions that mean one thing each; see ``_condition``."""
    for path, service in iter_services(doc):
        for key in ("serve", "healthy"):
            if key in service:
                yield from _condition(doc, (*path, key), service[key])


def _condition(doc: Document, at: Path, condition: dict[str, Value]) -> Iterator[Problem]:
    kinds = [kind for kind in _KINDS if doc.is_explicit((*at, kind))]
    if not kinds:
        message = "names neither a backend nor a frontend, all or any"
        yield doc.problem(at, message, "write {backend: NAME} or {frontend: NAME}")
    elif len(kinds) > 1:
        message = f"{' and '.join(kinds)} stand in one condition"
        each = ", ".join(f"{{{kind}: ...}}" for kind in kinds)
        yield doc.problem(at, message, f"write all: [{each}]")
    elif kinds[0] in ("all", "any"):
        for index, part in enumerate(condition.get(kinds[0]) or ()):
            if part is not None:
                yield from _condition(doc, (*at, kinds[0], index), part)
        yield from _only_for(doc, at, kinds[0], (*_OF_SERVERS, *_LIMITS, "haproxy"))
    else:
        if kinds[0] == "frontend":
            yield from _only_for(doc, at, "frontend", (*_OF_SERVERS, "queue_below"))
        else:
            yield from _usable(doc, at, condition.get("usable"))
        yield from _one_thing(doc, at, kinds[0])
        yield from _instance(doc, at, condition.get("haproxy"))


def _one_thing(doc: Document, at: Path, kind: str) -> Iterator[Problem]:
    """Refuse two questions in one condition, and a limit that could withdraw."""
    asked = [key for key in _ASKED if doc.is_explicit((*at, key))]
    if len(asked) > 1:
        each = ", ".join(f"{{{kind}: ..., {key}: ...}}" for key in asked)
        message = f"{' and '.join(asked)} stand in one condition"
        yield doc.problem((*at, asked[1]), message, f"write all: [{each}]")
    for key in _LIMITS:
        if doc.is_explicit((*at, key)) and "serve" in at:
            message = "would withdraw the VIP under load, in each region in turn"
            yield doc.problem((*at, key), message, "move it to healthy: overload degrades at most")
    if doc.is_explicit((*at, "by")) and any(key in _LIMITS for key in asked):
        message = "says something of usable servers, and stands beside a limit"
        yield doc.problem((*at, "by"), message, "remove it")


_OF_BOTH = ("haproxy", "sessions_below")


def _only_for(doc: Document, at: Path, kind: str, keys: tuple[str, ...]) -> Iterator[Problem]:
    for key in keys:
        if doc.is_explicit((*at, key)):
            whom = "a backend or frontend" if key in _OF_BOTH else "a backend"
            message = f"says something of {whom}, and stands beside {kind}"
            remedy = f"move it beside the name of {whom}, or remove it"
            yield doc.problem((*at, key), message, remedy)


def _usable(doc: Document, at: Path, usable: float | str | None) -> Iterator[Problem]:
    """Refuse thresholds that always or never hold."""
    at = (*at, "usable")
    if isinstance(usable, str):
        if not 1 <= float(usable.removesuffix("%")) <= _ALL:
            message = f"{usable} is not a share of servers that can be asked for"
            yield doc.problem(at, message, "write 1% to 100%")
    elif usable is not None and usable < 1:
        message = f"{usable} servers are always there, so this would hold without any"
        yield doc.problem(at, message, "write 1 or more")


def _instance(doc: Document, at: Path, name: str | None) -> Iterator[Problem]:
    """Ask which HAProxy is meant where there are several; it must be one of them."""
    known = list(doc.get("haproxy") or ())
    at = (*at, "haproxy")
    if name is not None and known and not doc.is_explicit(("haproxy", name)):
        remedy = suggest(name, known) or " or ".join(quote(each) for each in known)
        yield doc.problem(at, f"there is no {quote(name)} under haproxy", f"write {remedy}")
    elif not doc.is_explicit(at) and len(known) > 1:
        message = f"is missing, and there are {len(known)} HAProxy processes"
        remedy = f"add haproxy: {' or '.join(quote(each) for each in known)}"
        yield doc.problem(at, message, remedy)


def check_maintenance(doc: Document) -> Iterator[Problem]:
    """Ask which HAProxy has the map, and for no more entries than fit into one question to it."""
    size, asked = 0, set()
    for path, service in iter_services(doc):
        if "maintenance" not in service:
            continue
        its, at = service["maintenance"], (*path, "maintenance")
        yield from _instance(doc, at, its.get("haproxy"))
        question = f"get map {its.get('map')} {its.get('key')};"
        if question in asked:
            continue
        asked.add(question)
        size += len(question)
        if size - len(question) <= _QUESTION < size:
            message = f"up to here all entries make a question of over {_QUESTION} bytes to HAProxy"
            yield doc.problem(at, message, "shorten the names of maps and keys, or leave some out")


def check_steering(doc: Document) -> Iterator[Problem]:
    """Refuse what cannot be where a longer path moves nobody: it would withdraw, or draw users."""
    if doc.get("bgp", "prepends_steer") is not False:
        return
    for path, service in iter_services(doc):
        if service.get("failed") == "standby":
            message = (
                "standby draws users to the 503 page where a longer path moves nobody "
                "(prepends_steer: false)"
            )
            yield doc.problem((*path, "failed"), message, "write withdraw")
        for at, key in _limits(doc, (*path, "healthy"), service.get("healthy")):
            message = (
                "would withdraw under load where a longer path moves nobody "
                "(prepends_steer: false), in each region in turn"
            )
            yield doc.problem((*at, key), message, "remove it")


def _limits(
    doc: Document, at: Path, condition: dict[str, Value] | None
) -> Iterator[tuple[Path, str]]:
    for key in _LIMITS:
        if doc.is_explicit((*at, key)):
            yield at, key
    for kind in ("all", "any"):
        for index, part in enumerate((condition or {}).get(kind) or ()):
            if part is not None:
                yield from _limits(doc, (*at, kind, index), part)


RULES = (check_conditions, check_maintenance, check_steering)
