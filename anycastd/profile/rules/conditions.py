"""Rules for what a service requires of HAProxy: conditions, limits, maintenance.

Each rule takes a Document and yields Problems.  It skips values that are missing: the Document has
no value where the schema found an error.
"""

from __future__ import annotations

from collections.abc import Iterator

from anycastd.profile.document import Document, Problem
from anycastd.profile.key_paths import Path, Value, quote_value
from anycastd.profile.rules.sections import iter_services
from anycastd.profile.schema_errors import suggest_similar

_KINDS = ("backend", "frontend", "check", "all", "any")
# A condition on a backend may have one of these; the last two make it a limit.
_MEASURES = ("usable", "queue_below", "sessions_below")
_LIMITS = _MEASURES[1:]
_SERVER_KEYS = ("usable", "by", "count_unchecked")
# These also apply to a frontend.
_PROXY_KEYS = ("haproxy", "sessions_below")
_MAX_PERCENT = 100
# HAProxy reads a request of at most 16 kB, which must also hold the request for the rows.
_MAX_REQUEST = 10_000


def check_conditions(doc: Document) -> Iterator[Problem]:
    """Require one kind for each condition under ``serve`` and ``healthy``, and keys that fit it.

    Also refuse thresholds that are always true or never true, limits under ``serve``, and names of
    HAProxy processes that the profile does not have.
    """
    for path, service in iter_services(doc):
        places: list[tuple[Path, dict[str, Value]]] = [(path, service)]
        for index, hop in enumerate(service.get("next_hops") or ()):
            places.append(((*path, "next_hops", index), hop or {}))
        for at, block in places:
            for key in ("serve", "healthy"):
                if key in block:
                    yield from _check_condition(doc, (*at, key), block[key])


def _check_condition(doc: Document, at: Path, condition: dict[str, Value]) -> Iterator[Problem]:
    kinds = [kind for kind in _KINDS if doc.is_explicit((*at, kind))]
    if not kinds:
        message = "has none of backend, frontend, check, all and any"
        remedy = "write {backend: NAME}, {frontend: NAME} or {check: NAME}"
        yield doc.make_problem(at, message, remedy)
    elif len(kinds) > 1:
        message = f"{' and '.join(kinds)} are in one condition"
        each = ", ".join(f"{{{kind}: ...}}" for kind in kinds)
        yield doc.make_problem(at, message, f"write all: [{each}]")
    elif kinds[0] in ("all", "any"):
        for index, part in enumerate(condition.get(kinds[0]) or ()):
            if part is not None:
                yield from _check_condition(doc, (*at, kinds[0], index), part)
        yield from _refuse_keys(doc, at, kinds[0], (*_SERVER_KEYS, *_LIMITS, "haproxy"))
    elif kinds[0] == "check":
        yield from _refuse_keys(doc, at, "a check", (*_SERVER_KEYS, *_LIMITS, "haproxy"))
        yield from _check_named(doc, (*at, "check"), condition.get("check"))
    else:
        if kinds[0] == "frontend":
            yield from _refuse_keys(doc, at, "frontend", (*_SERVER_KEYS, "queue_below"))
        else:
            yield from _check_usable(doc, at, condition.get("usable"))
        yield from _check_measures(doc, at, kinds[0])
        yield from _check_instance(doc, at, condition.get("haproxy"))


def _check_named(doc: Document, at: Path, name: str | None) -> Iterator[Problem]:
    """Refuse the name of a check that the profile does not have, and a load that could withdraw."""
    names = list(doc.get("checks") or ())
    if name is None:
        return
    if doc.is_explicit(("checks", name)):
        if "serve" in at and _is_load(doc, name):
            yield doc.make_problem(at, _UNDER_LOAD, _MOVE_LIMIT)
        return
    remedy = "write " + (suggest_similar(name, names) or " or ".join(map(quote_value, names)))
    if not names:
        remedy = f"add checks: {{{name}: {{tcp: HOST:PORT}}}}"
    yield doc.make_problem(at, f"there is no {quote_value(name)} under checks", remedy)


def _is_load(doc: Document, name: str | None) -> bool:
    return name is not None and doc.is_explicit(("checks", name, "load"))


_UNDER_LOAD = "would withdraw the VIP under load, in one region after the other"
_MOVE_LIMIT = "move it to healthy, where overload only degrades the route"


def _check_measures(doc: Document, at: Path, kind: str) -> Iterator[Problem]:
    """Refuse two measures in one condition, and a limit that could withdraw the VIP."""
    measures = [key for key in _MEASURES if doc.is_explicit((*at, key))]
    if len(measures) > 1:
        each = ", ".join(f"{{{kind}: ..., {key}: ...}}" for key in measures)
        message = f"{' and '.join(measures)} are in one condition"
        yield doc.make_problem((*at, measures[1]), message, f"write all: [{each}]")
    for key in _LIMITS:
        if doc.is_explicit((*at, key)) and "serve" in at:
            yield doc.make_problem((*at, key), _UNDER_LOAD, _MOVE_LIMIT)
    if doc.is_explicit((*at, "by")) and any(key in _LIMITS for key in measures):
        message = "applies to usable servers, not to a limit"
        yield doc.make_problem((*at, "by"), message, "remove it")


def _refuse_keys(doc: Document, at: Path, kind: str, keys: tuple[str, ...]) -> Iterator[Problem]:
    """Refuse keys that have no meaning in a condition of this kind."""
    for key in keys:
        if doc.is_explicit((*at, key)):
            proxy = "a backend or frontend" if key in _PROXY_KEYS else "a backend"
            message = f"applies to {proxy}, not to {kind}"
            remedy = f"move it to a condition on {proxy}, or remove it"
            yield doc.make_problem((*at, key), message, remedy)


def _check_usable(doc: Document, at: Path, usable: float | str | None) -> Iterator[Problem]:
    """Refuse thresholds that are always true or never true."""
    at = (*at, "usable")
    if isinstance(usable, str):
        if not 1 <= float(usable.removesuffix("%")) <= _MAX_PERCENT:
            message = f"{usable} is not a possible share of servers"
            yield doc.make_problem(at, message, "write 1% to 100%")
    elif usable is not None and usable < 1:
        message = f"{usable} would be true without any usable server"
        yield doc.make_problem(at, message, "write 1 or more")


def _check_instance(doc: Document, at: Path, name: str | None) -> Iterator[Problem]:
    """Require the name of an HAProxy process where there are several, and refuse unknown names."""
    names = list(doc.get("haproxy") or ())
    if doc.get("haproxy") == {} and not any(
        each.key.startswith("haproxy") for each in doc.problems
    ):
        message = "needs HAProxy, and the profile has none"
        remedy = "add haproxy: {main: {socket: /run/haproxy/anycastd.sock}}, or use {check: NAME}"
        yield doc.make_problem(at, message, remedy)
        return
    at = (*at, "haproxy")
    if name is not None and names and not doc.is_explicit(("haproxy", name)):
        remedy = suggest_similar(name, names) or " or ".join(quote_value(each) for each in names)
        yield doc.make_problem(
            at, f"there is no {quote_value(name)} under haproxy", f"write {remedy}"
        )
    elif not doc.is_explicit(at) and len(names) > 1:
        message = f"is missing, but there are {len(names)} HAProxy processes"
        remedy = f"add haproxy: {' or '.join(quote_value(each) for each in names)}"
        yield doc.make_problem(at, message, remedy)


def check_maintenance(doc: Document) -> Iterator[Problem]:
    """Check the HAProxy of each map, and that all entries fit into one request to HAProxy.

    HAProxy reads a request of at most 16 kB (``tune.bufsize``, configuration manual, section 3.2).
    """
    size, requests = 0, set()
    for path, service in iter_services(doc):
        if "maintenance" not in service:
            continue
        maintenance, at = service["maintenance"], (*path, "maintenance")
        yield from _check_instance(doc, at, maintenance.get("haproxy"))
        request = f"get map {maintenance.get('map')} {maintenance.get('key')};"
        if request in requests:
            continue
        requests.add(request)
        size += len(request)
        if size - len(request) <= _MAX_REQUEST < size:
            message = (
                f"up to here the entries need a request of over {_MAX_REQUEST} bytes to HAProxy"
            )
            yield doc.make_problem(
                at, message, "shorten the names of maps and keys, or remove some"
            )


def check_steering(doc: Document) -> Iterator[Problem]:
    """Refuse ``failed: standby`` and limits where longer paths do not move traffic.

    Standby would keep users on the 503 page, and a limit would withdraw the route under load.
    """
    if doc.get("bgp", "prepends_steer") is not False:
        return
    for path, service in iter_services(doc):
        if service.get("failed") == "standby":
            message = (
                "standby would keep users on the 503 page, as longer paths do not move traffic "
                "(prepends_steer: false)"
            )
            yield doc.make_problem((*path, "failed"), message, "write withdraw")
        limits = list(_iter_limits(doc, (*path, "healthy"), service.get("healthy")))
        for index, hop in enumerate(service.get("next_hops") or ()):
            at = (*path, "next_hops", index, "healthy")
            limits += _iter_limits(doc, at, (hop or {}).get("healthy"))
        for at, key in limits:
            message = (
                "would withdraw the VIP under load, in one region after the other, because longer "
                "paths do not move traffic (prepends_steer: false)"
            )
            yield doc.make_problem((*at, key), message, "remove it")


def _iter_limits(
    doc: Document, at: Path, condition: dict[str, Value] | None
) -> Iterator[tuple[Path, str]]:
    """Yield path and key of each limit in a condition and in the conditions inside it."""
    for key in _LIMITS:
        if doc.is_explicit((*at, key)):
            yield at, key
    if _is_load(doc, (condition or {}).get("check")):
        yield at, "check"
    for kind in ("all", "any"):
        for index, part in enumerate((condition or {}).get(kind) or ()):
            if part is not None:
                yield from _iter_limits(doc, (*at, kind, index), part)


RULES = (check_conditions, check_maintenance, check_steering)
"""All rules of this file: Document -> Problems."""
