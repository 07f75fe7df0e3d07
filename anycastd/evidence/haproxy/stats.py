"""HAProxy's answer to the request of one look -> Snapshot (pure).

``query.build_request`` writes the request.  The formats are described in HAProxy's management
manual: the columns of `show stat` in section 9.1, `show info`, `show servers state` and `get map`
in section 9.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.servers import Server, Usable, demote_backups, judge_server
from anycastd.evidence.haproxy.snapshot import Backend, Frontend, Snapshot, Worker


class MalformedAnswerError(ValueError):
    """An answer in an unknown format; the message quotes what is wrong."""


class TruncatedAnswerError(MalformedAnswerError):
    """An answer that ends too early."""


# The answer ----------------------------------------------------------------------------------

_COLUMNS = (
    "pxname",
    "svname",
    "scur",
    "qcur",
    "status",
    "weight",
    "bck",
    "iid",
    "tracked",
    "type",
    "check_status",
    "last_chk",
    "last_agt",
    "agent_status",
)
_FIELD = re.compile(r'"((?:[^"]|"")*)"|([^",]*)')


class _Row(NamedTuple):
    """The columns of a row that are read, in the order of ``_COLUMNS``."""

    pxname: str
    svname: str
    scur: str
    qcur: str
    status: str
    weight: str
    bck: str
    iid: str
    tracked: str
    type: str
    check: str
    last_chk: str
    last_agt: str
    agent: str


def parse_answer(text: str, asked_at: float, query: Query) -> Snapshot:
    """Parse HAProxy's answer to ``build_request(query)``.

    ``asked_at`` (own time, seconds) stamps the Snapshot.  Raises TruncatedAnswerError when the
    answer ends too early and MalformedAnswerError when it is not an answer of HAProxy.
    """
    if not text.endswith("\n\n"):
        raise TruncatedAnswerError(f"the answer ends too early, after {len(text)} characters")
    blocks = _blocks(text)
    worker = parse_worker(blocks[-1] if blocks else [])
    proxies, backends, frontends = query.proxies, query.backends, query.frontends
    end = len(blocks) - 1 - len(query.entries)
    entries = _entries(blocks[max(end, 0) : -1], query)
    weights: dict[str, dict[str, tuple[int, int]]] = {}
    rows: list[_Row] = []
    for block in blocks[: max(end, 0)]:
        if query.weights and (block[0] == _STATE or block[0].startswith("Can't find backend")):
            _weights(block, weights)
        else:
            rows += _rows(block, proxies)
    servers: dict[str, dict[str, _Row]] = {}
    heads: dict[str, _Row] = {}
    fronts: dict[str, Frontend] = {}
    for row in rows:
        if row.type == "0" and row.pxname in frontends:
            fronts[row.pxname] = _frontend(row, asked_at)
        elif row.type == "1" and row.pxname in backends:
            heads[row.pxname] = row
        elif row.type == "2" and row.pxname in backends:
            servers.setdefault(row.pxname, {})[row.svname] = row
    found = {
        name: Backend(
            name,
            head.status,
            demote_backups(_server(row, servers) for row in servers.get(name, {}).values()),
            asked_at,
            _count(head.iid),
            _count(head.scur),
            # A backend's own row has only what no server's queue holds.
            _count(head.qcur) + sum(_count(row.qcur) for row in servers.get(name, {}).values()),
            weights.get(name, {}) if name in query.weights else {},
        )
        for name, head in heads.items()
    }
    return Snapshot(asked_at, worker, found, fronts, entries=entries)


# The version of the format: the line before the header.
_STATE = "1"
_VALUE = re.compile(r'found=yes.*, value="([^"]*)"')


def _weights(block: list[str], weights: dict[str, dict[str, tuple[int, int]]]) -> None:
    """Read a ``show servers state``: backend -> server -> (weight now, weight as configured)."""
    if len(block) < 2:  # noqa: PLR2004 - the header
        return
    names = block[1].removeprefix("# ").split()
    try:
        at = [names.index(each) for each in _STATE_COLUMNS]
        for line in block[2:]:
            fields = line.split()
            backend, server, now, configured = (fields[each] for each in at)
            weights.setdefault(backend, {})[server] = (_count(now), _count(configured))
    except (ValueError, IndexError) as error:
        raise MalformedAnswerError(
            f"`show servers state` without a needed field: {error}"
        ) from None


_STATE_COLUMNS = ("be_name", "srv_name", "srv_uweight", "srv_iweight")


def _entries(blocks: list[list[str]], query: Query) -> dict[tuple[str, str], str | None]:
    """Read the answers to ``get map``, in the order of the questions; an unknown map is absent."""
    found: dict[tuple[str, str], str | None] = {}
    for requested, block in zip(sorted(query.entries), blocks, strict=False):
        if block[0].startswith("type="):
            # A map that is used in two ways has a line for each.
            values = [match[1] for line in block if (match := _VALUE.search(line))]
            found[requested] = values[0] if values else None
        elif not block[0].startswith("Unknown map"):
            raise MalformedAnswerError(f"expected the answer to `get map`, got: {_excerpt(block)}")
    return found


def _blocks(text: str) -> list[list[str]]:
    """Split an answer by commands: the answer to each ends with an empty line."""
    blocks: list[list[str]] = []
    block: list[str] = []
    quotes = '"' in text
    for line in text.split("\n"):
        if quotes and block and block[0].startswith("# ") and block[-1].count('"') % 2:
            # A check's output may have line ends, between quotes.
            block[-1] += f"\n{line}"
        elif line:
            block.append(line)
        elif block:
            blocks.append(block)
            block = []
    if block:
        raise TruncatedAnswerError("the answer ends inside a block")
    return blocks


def parse_worker(lines: list[str]) -> Worker:
    """Parse the lines of the answer to ``show info`` (HAProxy's management manual, section 9.3).

    Raises MalformedAnswerError where they are something else, or a needed field is missing.
    """
    info = dict(line.split(": ", 1) for line in lines if ": " in line)
    if info.get("Name") is None or "Pid" not in info:
        raise MalformedAnswerError(f"expected the answer to `show info`, got: {_excerpt(lines)}")
    try:
        return Worker(
            pid=int(info["Pid"]),
            uptime=float(info["Uptime_sec"]),
            stopping=info.get("Stopping", "0") != "0",
            version=info["Version"],
            started_at=int(info.get("Start_time_sec", "0")),
        )
    except (KeyError, ValueError) as error:
        raise MalformedAnswerError(f"`show info` without a needed field: {error}") from None


@lru_cache(maxsize=8)
def _header(line: str) -> tuple[int, tuple[int, ...]]:
    """Parse a header: the number of columns, and the positions of ``_COLUMNS``."""
    names = line.removeprefix("# ").split(",")
    try:
        return len(names), tuple(names.index(name) for name in _COLUMNS)
    except ValueError as error:
        raise MalformedAnswerError(f"`show stat` without a needed column: {error}") from None


def _rows(block: list[str], proxies: frozenset[str]) -> Iterator[_Row]:
    """Yield the rows of one ``show stat`` whose proxy is in ``proxies``."""
    first = block[0]
    if not first.startswith("# pxname,"):
        if first.startswith("No such proxy"):
            return
        raise MalformedAnswerError(f"expected the answer to `show stat`, got: {_excerpt(block)}")
    count, wanted = _header(first)
    last = max(wanted) + 1
    for line in block[1:]:
        if line.partition(",")[0] not in proxies:
            continue
        if '"' in line:
            fields = _quoted(line)
            found = len(fields)
        else:
            fields = line.split(",", last)  # the columns that are read are in the first third
            found = line.count(",") + 1
        if found != count:
            raise MalformedAnswerError(
                f"a row of {found} columns, the header has {count}: {line[:80]}"
            )
        yield _Row._make([fields[at] for at in wanted])


def _quoted(line: str) -> list[str]:
    """Split a row of which some fields are quoted."""
    fields: list[str] = []
    at = 0
    while at <= len(line):
        match = _FIELD.match(line, at)
        if match is None or line[match.end() : match.end() + 1] not in ("", ","):
            raise MalformedAnswerError(f"unbalanced quotes: {line[:80]}")
        quoted, plain = match.groups()
        fields.append(plain if quoted is None else quoted.replace('""', '"'))
        at = match.end() + 1
    return fields


def _excerpt(lines: list[str]) -> str:
    return repr(lines[0][:80]) if lines else "nothing"


def _count(text: str) -> int:
    """Parse a count; an empty column is 0."""
    if not text:
        return 0
    if text.isdecimal():
        return int(text)
    raise MalformedAnswerError(f"expected a number, got {text[:40]!r}")


def _frontend(row: _Row, asked_at: float) -> Frontend:
    is_open = row.status in ("OPEN", "FULL", "WAITING")
    return Frontend(row.pxname, is_open, row.status, _count(row.scur), asked_at, _count(row.iid))


def _server(row: _Row, servers: Mapping[str, Mapping[str, _Row]]) -> Server:
    """Build a Server of its row alone, without regard to the other servers of its backend."""
    # "* " means that a check runs now; the word after it is the result of the previous check.
    check, agent = row.check.removeprefix("* "), row.agent.removeprefix("* ")
    last = row.last_chk or row.last_agt
    target = _target(row, servers) if row.tracked else None
    if target is not None:
        check, agent = target.check.removeprefix("* "), target.agent.removeprefix("* ")
        last = target.last_chk or target.last_agt
    check_text = last or check or agent
    weight = _count(row.weight)
    usable, checked, detail = judge_server(row.status, check, agent, weight, check_text)
    if row.tracked:
        if target is None and usable is Usable.UNPROVED:
            checked, detail = True, "which is not known yet"
        detail = f"tracks {row.tracked}, {detail}"
    return Server(
        name=row.svname,
        usable=usable,
        detail=detail,
        status=row.status,
        check=row.check,
        weight=weight,
        backup=row.bck == "1",
        checked=checked,
        tracked=row.tracked,
    )


def _target(row: _Row, servers: Mapping[str, Mapping[str, _Row]]) -> _Row | None:
    """Find the row at the end of a chain of tracking servers; None if it was not asked for."""
    for _ in range(64):  # HAProxy refuses loops; a garbled answer might have one
        backend, _, name = row.tracked.partition("/")
        target = servers.get(backend, {}).get(name)
        if target is None or not target.tracked:
            return target
        row = target
    return None
