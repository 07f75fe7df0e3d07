"""Write a draft as the text of a profile; what `check` refuses in it is marked EDIT (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from anycastd.migration.draft import Draft, Flow, NeighborDraft, ServiceDraft
from anycastd.profile.starter import quote_scalar
from anycastd.profile.validate import validate_profile
from anycastd.system.printable import make_printable

_OWN = "192.0.2.10"
_NEIGHBOR = "192.0.2.1"
_WIDTH = 78
_MAX_NOTE = 400
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMMUNITY = re.compile(r"[0-9:]+")


def write_profile(draft: Draft, kind: str, file: str) -> str:
    """Return the text of a profile for a draft.

    ``kind`` and ``file`` name what was read.  The text passes `anycastd check --offline`, apart
    from lines that end in a mark EDIT.
    """
    if not draft.services:
        draft.checks["ready"] = {"file": "/run/anycastd-ready"}
    lines = [*_write_head(draft, kind, file), "", *_write_body(draft)]
    return _mark_problems("\n".join(lines) + "\n")


def _write_head(draft: Draft, kind: str, file: str) -> Iterator[str]:
    name = make_printable(file, 200)
    yield from _comment(
        f"A profile to begin with, written by `anycastd import {kind}` from {name}. Edit the lines "
        "that are marked EDIT, then run `anycastd check`. docs/profile.md explains every key, "
        "docs/mapping.md what became of each option."
    )
    if draft.notes:
        yield "#"
        yield from _comment("What has no counterpart, or another one:")
    for note in draft.notes:
        place = f"{name}:{note.line}: " if note.line else ""
        text = make_printable(f"{place}{note.text}", _MAX_NOTE)
        yield from _comment(text, "# * ", "#   ")


def _comment(text: str, first: str = "# ", more: str = "# ") -> Iterator[str]:
    line = first
    for word in text.split():
        if len(line) + len(word) > _WIDTH and line not in (first, more):
            yield line.rstrip()
            line = more
        line += f"{word} "
    yield line.rstrip()


def _write_body(draft: Draft) -> Iterator[str]:
    local = draft.local_address
    router_id = draft.router_id or (local if local and ":" not in local else None)
    yield _line("", "region", "here", "the name of this region")
    yield _line("", "platform", draft.platform)
    yield ""
    yield "bgp:"
    edit = "" if draft.local_as is not None else "your AS number"
    yield _line("  ", "local_as", draft.local_as or 65010, edit)
    yield _line("  ", "router_id", router_id or _OWN, "" if router_id else "an own IPv4 address")
    yield _line("  ", "local_address", local or _OWN, "" if local else "this machine's address")
    if draft.hold_time is not None:
        yield _line("  ", "hold_time", draft.hold_time)
    yield "  neighbors:"
    neighbors = draft.neighbors or [NeighborDraft(_NEIGHBOR, 65020, edit="address and AS number")]
    for each in neighbors:
        keys = {"address": each.address, "peer_as": each.peer_as, **each.keys}
        yield _mark(f"    - {_flow(keys)}", each.edit)
    if draft.haproxy is not None:
        yield from ("", "haproxy:", "  main:")
        yield _line("    ", "socket", draft.haproxy.socket, draft.haproxy.edit)
        if draft.haproxy.ring is not None:
            yield _line("    ", "ring", draft.haproxy.ring)
    yield from _write_blocks("checks", draft.checks)
    yield from ("", "services:")
    for service in draft.services or [_placeholder()]:
        yield from _write_service(service)
    if draft.hooks:
        yield from ("", "hooks:", *(f"  - {_flow(each)}" for each in draft.hooks))


def _placeholder() -> ServiceDraft:
    keys: dict[str, Flow] = {"vip": "203.0.113.10/32", "serve": {"check": "ready"}}
    keys["failed"] = "withdraw"
    return ServiceDraft("web", keys, {"vip": "the anycast address", "serve": "its condition"})


def _write_blocks(name: str, blocks: Mapping[str, Mapping[str, Flow]]) -> Iterator[str]:
    if blocks:
        yield from ("", f"{name}:")
    for key, values in blocks.items():
        yield f"  {quote_scalar(key)}:"
        for one, value in values.items():
            yield _line("    ", one, value)


def _write_service(service: ServiceDraft) -> Iterator[str]:
    yield f"  {quote_scalar(service.name)}:"
    for key, value in service.keys.items():
        yield _line("    ", key, value, service.edits.get(key, ""))


def _line(indent: str, key: str, value: Flow, edit: str = "") -> str:
    return _mark(f"{indent}{key}: {_flow(value)}", edit)


def _mark(line: str, edit: str) -> str:
    return f"{line}  # EDIT: {edit}" if edit else line


def _flow(value: Flow) -> str:
    """Return a value as YAML of one line."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str):
        return quote_scalar(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return f"{{{', '.join(f'{_key(key)}: {_flow(each)}' for key, each in value.items())}}}"


def _key(text: str) -> str:
    return text if _NAME.fullmatch(text) else json.dumps(text)


def _mark_problems(text: str) -> str:
    """Mark the lines that the validation refuses, with its words above them."""
    lines = text.split("\n")
    refused: dict[int, list[str]] = {}
    for problem in validate_profile(text, "profile.yaml").problems:
        if not problem.warning:
            place = min(max(problem.line or 1, 1), len(lines))
            refused.setdefault(place, []).append(
                f"{problem.key}: {problem.message}; {problem.remedy}"
            )
    written: list[str] = []
    for number, line in enumerate(lines, 1):
        indent = " " * (len(line) - len(line.lstrip()))
        for words in refused.get(number, ()):
            shown = make_printable(words, _MAX_NOTE)
            written += _comment(f"EDIT: {shown}", f"{indent}# ", f"{indent}# ")
        mark = number in refused and "# EDIT" not in line
        written.append(f"{line}  # EDIT: see above" if mark else line)
    return "\n".join(written)
