"""Rules for checks: one kind each, keys that fit it, and bounds.

Each rule takes a Document and yields Problems.  It skips values that are missing: the Document has
no value where the schema found an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from anycastd.profile.build import DEADLINE_RUNS
from anycastd.profile.document import Document, Problem
from anycastd.profile.key_paths import Path, Value, quote_value
from anycastd.profile.rules.hooks import MAX_WORDS

KINDS = ("tcp", "http", "command", "file", "load")
"""What a check can ask; the keys of the schema."""
MAX_CHECKS = 64
"""Checks of a profile; each runs by itself."""
_HTTP_KEYS = ("host", "status", "contains", "tls_verify", "ca_file", "follow_redirects")
_COUNTS = ("rise", "fall")
# Key -> the kinds that it applies to; all other keys apply to all kinds.
_APPLIES = {
    **dict.fromkeys(_HTTP_KEYS, ("http",)),
    "exists": ("file",),
    **dict.fromkeys(_COUNTS, ("tcp", "http", "command", "load")),
}
_TLS_KEYS = ("tls_verify", "ca_file")


def check_kinds(doc: Document) -> Iterator[Problem]:
    """Require exactly one kind for each check, and only keys that apply to it."""
    checks = doc.get("checks") or {}
    if len(checks) > MAX_CHECKS:
        message = f"there are {len(checks)} checks, and {MAX_CHECKS} are allowed"
        yield doc.make_problem(("checks",), message, "let one command check several things")
    for name, check in checks.items():
        at: Path = ("checks", name)
        kinds = [kind for kind in KINDS if doc.is_explicit((*at, kind))]
        if len(kinds) != 1:
            message = f"has {' and '.join(kinds)}" if kinds else f"has none of {', '.join(KINDS)}"
            remedy = "make a check of each" if kinds else "write {tcp: HOST:PORT} or {http: URL}"
            yield doc.make_problem(at, message, remedy)
            continue
        for key, applies in _APPLIES.items():
            if kinds[0] not in applies and doc.is_explicit((*at, key)):
                yield _refuse_key(doc, (*at, key), kinds[0], applies)
        yield from _check_tls(doc, at, check)


def _refuse_key(doc: Document, at: Path, kind: str, applies: tuple[str, ...]) -> Problem:
    if kind == "file" and at[-1] in _COUNTS:
        return doc.make_problem(at, "has no meaning for a file, which counts at once", "remove it")
    message = f"applies to {' and '.join(applies)}, not to {kind}"
    return doc.make_problem(at, message, "remove it")


def _check_tls(doc: Document, at: Path, check: dict[str, Value]) -> Iterator[Problem]:
    """Refuse keys of TLS for a URL without it, and authorities that nothing is verified by."""
    url = check.get("http")
    for key in _TLS_KEYS:
        if url is not None and not url.tls and doc.is_explicit((*at, key)):
            message = f"applies to https, and the URL is {quote_value(str(url))}"
            yield doc.make_problem((*at, key), message, "write https:// in the URL, or remove it")
    if check.get("tls_verify") is False and "ca_file" in check:
        message = "is not used with tls_verify: false"
        yield doc.make_problem((*at, "ca_file"), message, "remove one of the two")


def check_times(doc: Document) -> Iterator[Problem]:
    """Require a deadline that is long enough for two runs.

    A result counts from the beginning of its run, and the next one may take its whole time.
    """
    for name, check in (doc.get("checks") or {}).items():
        every, timeout, deadline = (check.get(key) for key in ("every", "timeout", "deadline"))
        if None in (every, timeout, deadline) or deadline >= (needed := every + 2 * timeout):
            continue
        message = f"{deadline} seconds are too short for two runs"
        remedy = (
            f"write {needed:g} or more, or leave it out ({DEADLINE_RUNS * (every + timeout):g})"
        )
        yield doc.make_problem(("checks", name, "deadline"), message, remedy)


def check_commands(doc: Document) -> Iterator[Problem]:
    """Require a full path for each command, and not too many words."""
    for name, check in (doc.get("checks") or {}).items():
        command, at = check.get("command"), ("checks", name, "command")
        if not command or command[0] is None:
            continue
        if not command[0].startswith("/"):
            message = f"{quote_value(command[0])} is no full path"
            yield doc.make_problem((*at, 0), message, "write the path of the command from / on")
        if len(command) > MAX_WORDS:
            message = f"the command has {len(command)} words, and {MAX_WORDS} are allowed"
            yield doc.make_problem(at, message, "write a script, and its path here")


def check_loads(doc: Document) -> Iterator[Problem]:
    """Require limits of a load in order, as many of each kind."""
    for name, check in (doc.get("checks") or {}).items():
        load, at = check.get("load"), ("checks", name, "load")
        if load is None:
            continue
        lists = [key for key in ("load_average", "memory_available") if key in load]
        if not lists:
            message = "has neither load_average nor memory_available"
            yield doc.make_problem(at, message, "add load_average: [0.7, 1.2]")
        for key in lists:
            limits = [each for each in load[key] if each is not None]
            falls = key == "memory_available"
            if any(a <= b if falls else a >= b for a, b in pairwise(limits)):
                message = f"the limits are not {'descending' if falls else 'ascending'}"
                remedy = f"write {sorted(set(limits), reverse=falls)}"
                yield doc.make_problem((*at, key), message, remedy)
        if len({len(load[key]) for key in lists}) > 1:
            message = "load_average and memory_available have different numbers of limits"
            yield doc.make_problem(at, message, "write as many of the one as of the other")


def check_used(doc: Document) -> Iterator[Problem]:
    """Warn of a check that nothing uses."""
    places = [path for path in doc.lines if path[:1] == ("services",) and path[-1] == "check"]
    used = {doc.get(*path) for path in places}
    for name in doc.get("checks") or {}:
        if name not in used:
            message = "no service uses it, and it runs all the same"
            remedy = f"add {{check: {name}}} to serve or healthy, or remove it"
            yield doc.make_problem(("checks", name), message, remedy, warning=True)


RULES = (check_kinds, check_times, check_commands, check_loads, check_used)
"""All rules of this file: Document -> Problems."""
