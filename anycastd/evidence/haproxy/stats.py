"""HAProxy's answer to the request of one look -> Snapshot (pure).

``query.build_request`` writes the request.  The formats are described in HAProxy's management
manual: the columns of `show stat` in section 9.1, `show info`, `show servers state` and `get map`
in section 9.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter

from anycastd.evidence.haproxy.answer import (
    MAX_LINE,
    MAX_TEXT,
    MalformedAnswerError,
    parse_count,
    quote_lines,
    read_message,
    split_answer,
    split_row,
)
from anycastd.evidence.haproxy.brief_look import (
    check_brief,
    find_lines,
    join_backend,
    join_brief,
)
from anycastd.evidence.haproxy.check_results import COLUMNS, Row, parse_seen
from anycastd.evidence.haproxy.judged_rows import TURN, JudgedRows, judge_rows
from anycastd.evidence.haproxy.query import Brief, Query, Request, build_request
from anycastd.evidence.haproxy.snapshot import Backend, Frontend, Snapshot, Worker
from anycastd.system.printable import make_printable


def parse_answer(
    text: str,
    asked_at: float,
    query: Query,
    request: Request | None = None,
    *,
    before: Snapshot | None = None,
) -> Snapshot:
    """Parse HAProxy's answer to ``request`` (None: to ``build_request(query)``).

    ``asked_at`` (own time, seconds) stamps the Snapshot.  ``before`` is the newest Snapshot before
    this one, of whatever worker: servers are compared with what it shows.  What HAProxy
    refuses costs only the rules that need it: a weight or an entry of a map is marked as refused,
    with HAProxy's message.  A backend that was asked briefly gets its other servers from
    ``before``, if the same worker answers.  Raises TruncatedAnswerError when the answer ends too
    early, MalformedAnswerError when it is not an answer of HAProxy, or when rows are refused, and
    DisagreementError when all rows of a backend are needed.
    """
    turns = parse_in_turns(text, asked_at, query, request, before=before)
    while True:
        try:
            next(turns)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


def parse_in_turns(
    text: str,
    asked_at: float,
    query: Query,
    request: Request | None = None,
    *,
    before: Snapshot | None = None,
) -> Generator[None, None, Snapshot]:
    """Parse an answer as ``parse_answer`` does; yields wherever the caller may do other things.

    10,000 rows take 50 ms, of which no piece takes more than a few.
    """
    request = request or build_request(query)
    *blocks, info = split_answer(text) or [[]]
    yield
    worker = parse_worker(info)
    stats, weights, entries = _sort_blocks(blocks, request)
    fronts, heads, servers = yield from _sort_rows(stats, query)
    brief: Brief = {}
    if before is not None and before.worker.is_same_process(worker):
        brief = request.brief
        check_brief(heads, servers, brief, before, query)
    judged = yield from _judge(servers, worker, asked_at, query, before)
    judged = replace(judged, lines=find_lines(heads, servers, query, brief))
    weighed, refused_weights = _weights(weights, request, query)
    found = {}
    for name in heads.keys() - brief.keys():
        rows, weight = servers.get(name, {}), weighed.get(name, {}) if name in query.weights else {}
        about = weight, refused_weights.get(name, "")
        yield
        found[name] = _build_backend(heads[name], rows, judged, asked_at, *about)
    if brief and before is not None:
        judged = join_brief(judged, before.judged, brief)
        found |= {name: join_backend(heads[name], judged, before) for name in brief}
    found_entries, refused = _entries(entries, request)
    return Snapshot(
        asked_at,
        replace(worker, began_at=asked_at - worker.uptime),
        found,
        {name: _frontend(row, asked_at) for name, row in fronts.items()},
        "",
        found_entries,
        refused,
        judged,
    )


def _build_backend(
    head: Row,
    rows: Mapping[str, Row],
    judged: JudgedRows,
    asked_at: float,
    weights: Mapping[str, tuple[int, int]],
    weights_refused: str,
) -> Backend:
    """Build a backend from its own row, ``head``, and those of its servers, ``rows``."""
    return Backend(
        head.pxname,
        head.status,
        judged.list_servers(head.pxname),
        asked_at,
        parse_count(head.iid),
        parse_count(head.scur),
        # A backend's own row has only what no server's queue holds.
        parse_count(head.qcur)
        + sum(parse_count(row.qcur) for row in rows.values() if row.qcur != "0"),
        weights,
        weights_refused,
        sum(map(parse_seen, (head.econ, head.wretr, head.wredis))),
    )


@lru_cache(maxsize=8)
def _has_init_state(version: str) -> bool:
    """Return whether a HAProxy has `init-state`: 3.1 and later, and what has no version."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})", version)
    return found is None or (int(found[1]), int(found[2])) >= (3, 1)


def _judge(
    servers: dict[str, dict[str, Row]],
    worker: Worker,
    asked_at: float,
    query: Query,
    before: Snapshot | None,
) -> Generator[None, None, JudgedRows]:
    """Judge servers beside the rows of the look before, if the same worker answered."""
    is_same = before is not None and before.worker.is_same_process(worker)
    judged = yield from judge_rows(
        servers,
        worker.uptime,
        asked_at,
        query.loops,
        before.judged if is_same and before is not None else JudgedRows(),
        begins_full=_has_init_state(worker.version),
    )
    return judged


def _sort_rows(
    blocks: list[list[str]], query: Query
) -> Generator[None, None, tuple[dict[str, Row], dict[str, Row], dict[str, dict[str, Row]]]]:
    """Sort rows: frontend -> its row, backend -> its row, backend -> server -> its row."""
    fronts: dict[str, Row] = {}
    heads: dict[str, Row] = {}
    servers: dict[str, dict[str, Row]] = {}
    all_rows = (row for block in blocks for row in _rows(block, query.proxies))
    for number, row in enumerate(all_rows, 1):
        if number % TURN == 0:
            yield
        if row.type == "0" and row.pxname in query.frontends:
            fronts[row.pxname] = row
        elif row.type == "1" and row.pxname in query.backends:
            heads[row.pxname] = row
        elif row.type == "2" and row.pxname in query.backends:
            servers.setdefault(row.pxname, {})[row.svname] = row
    return fronts, heads, servers


Blocks = list[list[str]]


def _sort_blocks(blocks: Blocks, request: Request) -> tuple[Blocks, Blocks, Blocks]:
    """Sort the blocks by what they answer: rows, weights, entries.

    Where there are as many blocks as commands, each answers one, in order.  Where there are not, a
    message had empty lines in it.  Then dumps are told by their form, and entries are not known.
    """
    end = len(blocks) - len(request.entries)
    begin = len(request.stats)
    if end == begin + len(request.weights):
        stats, weights, entries = blocks[:begin], blocks[begin:end], blocks[end:]
    else:
        stats = [block for block in blocks if block[0].startswith(_STAT)]
        weights = [block for block in blocks if _is_state(block)]
        entries = []
    for number in range(begin):
        if number >= len(stats) or not stats[number][0].startswith(_STAT):
            instead = stats[number] if number < len(stats) else blocks[0] if blocks else []
            raise MalformedAnswerError(
                f"expected the answer to `show stat`, got: {quote_lines(instead)}"
            )
    return stats, weights, entries


_STAT = "# pxname,"
_STATE_COLUMNS = ("be_name", "srv_name", "srv_uweight", "srv_iweight")


def _is_state(block: list[str]) -> bool:
    """Whether a block is a ``show servers state``: the format's version, a header, rows."""
    return block[0].isdecimal() and len(block) > 1 and block[1].startswith("# ")


def _weights(
    blocks: Blocks, request: Request, query: Query
) -> tuple[dict[str, dict[str, tuple[int, int]]], dict[str, str]]:
    """Read each ``show servers state``: backend -> server -> (weight now, weight as configured).

    The second value maps a backend to what HAProxy, or a later version of it, said instead.
    """
    names = sorted(query.weights - request.brief.keys())
    asked = [[name] for name in names] if len(request.weights) == len(names) else [names]
    weights: dict[str, dict[str, tuple[int, int]]] = {}
    refused: dict[str, str] = {}
    if len(blocks) != len(asked):
        refused = dict.fromkeys(names, UNASSIGNED)
        asked = [[] for _ in blocks]
    for about, block in zip(asked, blocks, strict=True):
        try:
            _read_weights(block, weights)
        except MalformedAnswerError as error:
            refused |= dict.fromkeys(about, str(error))
    return weights, {name: text for name, text in refused.items() if name not in weights}


UNASSIGNED = "an answer that cannot be assigned to one of the commands"
"""Text for operators: why a part of the answer is not known."""


def _read_weights(block: list[str], weights: dict[str, dict[str, tuple[int, int]]]) -> None:
    """Read one ``show servers state`` into ``weights``; raises MalformedAnswerError."""
    if not _is_state(block):
        raise MalformedAnswerError(read_message(block))
    names = block[1].removeprefix("# ").split()
    try:
        at = [names.index(each) for each in _STATE_COLUMNS]
        found = []
        for line in block[2:]:
            fields = line.split()
            backend, server, now, configured = (fields[each] for each in at)
            found.append((backend, server, parse_count(now), parse_count(configured)))
    except (ValueError, IndexError) as error:
        raise MalformedAnswerError(
            f"`show servers state` without a needed field: {error}"
        ) from None
    for backend, server, weight, iweight in found:
        weights.setdefault(backend, {})[server] = (weight, iweight)


def _entries(
    blocks: Blocks, request: Request
) -> tuple[dict[tuple[str, str], str | None], dict[tuple[str, str], str]]:
    """Read the answers to ``get map``: (map, key) -> its value, and what was refused and how.

    An unknown map is in neither.
    """
    found: dict[tuple[str, str], str | None] = {}
    refused: dict[tuple[str, str], str] = {}
    if len(blocks) != len(request.entries):
        return found, dict.fromkeys(request.entries, UNASSIGNED)
    for requested, block in zip(request.entries, blocks, strict=True):
        if block[0].startswith("type="):
            # A map that is used in two ways has a line for each.
            values = [value for line in block if (value := _read_value(line)) is not None]
            found[requested] = values[0] if values else None
        elif "Unknown map" not in (message := read_message(block)):
            refused[requested] = message
    return found, refused


def _read_value(line: str) -> str | None:
    """Read the value in a line such as ``type=str, found=yes, key="web", value="on"``."""
    begin = line.rfind(_VALUE)
    end = line.find('"', begin + len(_VALUE))
    if begin < 0 or end < 0 or "found=yes" not in line[:begin]:
        return None
    return make_printable(line[begin + len(_VALUE) : end], MAX_TEXT)


_VALUE = ', value="'


def parse_worker(lines: list[str]) -> Worker:
    """Parse the lines of the answer to ``show info`` (HAProxy's management manual, section 9.3).

    Raises MalformedAnswerError where they are something else, or a needed field is missing.
    """
    info = dict(line.split(": ", 1) for line in lines if ": " in line)
    if info.get("Name") is None or "Pid" not in info:
        raise MalformedAnswerError(f"expected the answer to `show info`, got: {quote_lines(lines)}")
    try:
        return Worker(
            pid=parse_count(info["Pid"]),
            uptime=float(parse_count(info["Uptime_sec"])),
            stopping=info.get("Stopping", "0") != "0",
            version=make_printable(info["Version"], MAX_TEXT),
            started_at=parse_count(info.get("Start_time_sec", "0")),
        )
    except (KeyError, MalformedAnswerError) as error:
        raise MalformedAnswerError(f"`show info` without a needed field: {error}") from None


@lru_cache(maxsize=8)
def _header(line: str) -> tuple[int, int, Callable[[list[str]], tuple[str, ...]]]:
    """Parse a header: the number of columns, that of the last one that is read, and its reader.

    The reader picks ``COLUMNS`` out of the fields of a row.
    """
    names = line.removeprefix("# ").split(",")
    try:
        wanted = [names.index(name) for name in COLUMNS]
        return len(names), max(wanted) + 1, itemgetter(*wanted)
    except ValueError as error:
        raise MalformedAnswerError(f"`show stat` without a needed column: {error}") from None


def _rows(block: list[str], proxies: frozenset[str]) -> Iterator[Row]:
    """Yield the rows of one ``show stat`` whose proxy is in ``proxies``."""
    if len(block[0]) > MAX_LINE:
        raise MalformedAnswerError(f"a header of {len(block[0])} characters")
    count, last, pick = _header(block[0])
    for line in block[1:]:
        if line.partition(",")[0] not in proxies:
            continue
        fields, found = split_row(line, last)
        if found != count:
            raise MalformedAnswerError(
                f"a row of {found} columns, the header has {count}: {quote_lines([line])}"
            )
        yield Row._make(pick(fields))


def _frontend(row: Row, asked_at: float) -> Frontend:
    is_open = row.status in ("OPEN", "FULL", "WAITING")
    return Frontend(
        row.pxname, is_open, row.status, parse_count(row.scur), asked_at, parse_count(row.iid)
    )
