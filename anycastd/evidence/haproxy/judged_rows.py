"""Rows of ``show stat`` -> servers, compared with the look before (pure).

``snapshot`` has the table of what counts, ``check_results`` what the comparison is for.  A server
whose row says the same as at the look before is not judged again.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace

from anycastd.evidence.haproxy.answer import parse_count
from anycastd.evidence.haproxy.backend_line import BackendLine
from anycastd.evidence.haproxy.check_results import (
    LASTING,
    Mark,
    Row,
    find_beginning,
    mark_old_result,
    parse_seen,
)
from anycastd.evidence.haproxy.loops import LoopTargets, describe_loop
from anycastd.evidence.haproxy.servers import Server, Usable, demote_backups, judge_server

SLOT_MARGIN, RESOLUTION_MARGIN = 2.0, 10.0
"""Seconds after a worker's start within which a slot's state is taken to be that of the start.

Names are resolved again in the first seconds: spare slots lose the address they began with.
"""
LEFT_COUNTS_FOR = 3600.0
"""Seconds for which a server whose DNS record has gone still counts in a share."""
TURN = 200
"""Rows after which the caller of a generator may do other things; they take about a millisecond."""

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """The servers of one look, and what the next look is compared with.

    ``rows`` and ``servers``: backend -> server -> its row, or the Server.  ``marks`` and ``loops``:
    (backend, server) -> its Mark, or why it is a loop.  ``lines``: large backend -> what its own
    row shows, where its rows come to the same (``brief_look``).
    """

    rows: Mapping[str, Mapping[str, Row]] = field(default_factory=dict)
    servers: Mapping[str, Mapping[str, Server]] = field(default_factory=dict)
    marks: Mapping[_Key, Mark] = field(default_factory=dict)
    loops: Mapping[_Key, str] = field(default_factory=dict)
    lines: Mapping[str, BackendLine] = field(default_factory=dict)

    def list_servers(self, backend: str) -> tuple[Server, ...]:
        """Return the servers of ``backend``, as they count beside each other.

        HAProxy uses no backup while a loop is up, so loops are taken out only after that.
        """
        servers = self.servers.get(backend, {})
        found = demote_backups(servers[name] for name in self.rows.get(backend, {}))
        if not self.loops:
            return found
        return tuple(
            replace(server, usable=Usable.NO, detail=why, in_share=False)
            if (why := self.loops.get((backend, server.name), ""))
            else server
            for server in found
        )


def judge_rows(
    rows: Mapping[str, Mapping[str, Row]],
    uptime: float,
    asked_at: float,
    targets: LoopTargets,
    before: JudgedRows,
    *,
    begins_full: bool = False,
) -> Generator[None, None, JudgedRows]:
    """Judge the servers in ``rows``: backend -> server -> its row; yields at each turn.

    ``uptime`` is the worker's, in seconds; ``before`` is the result of the look before, empty where
    there was none at this worker.  ``begins_full``: HAProxy has ``init-state fully-up``.
    """
    marks: dict[_Key, Mark] = {}
    loops: dict[_Key, str] = {}
    judged: dict[str, dict[str, Server]] = {}
    changed: list[Row] = []
    for backend, table in rows.items():
        seen, known = before.rows.get(backend, {}), before.servers.get(backend, {})
        judged[backend] = servers = {}
        unseen = () if seen else table.values()
        beginning = find_beginning(unseen, uptime, full=begins_full)
        for number, (name, row) in enumerate(table.items(), 1):
            if number % TURN == 0:
                yield
            last, key = seen.get(name), (backend, name)
            same = last is not None and row[LASTING] == last[LASTING] and key not in before.marks
            if same and not row.tracked and _is_lasting(row, known[name], uptime):
                servers[name] = known[name]
                if key in before.loops:
                    loops[key] = before.loops[key]
                continue
            # What tracks another depends on that one's row.
            changed.append(row)
            mark = mark_old_result(row, last, before.marks.get(key), asked_at, beginning)
            if mark is not None:
                marks[key] = mark
    for number, row in enumerate(changed, 1):
        if number % TURN == 0:
            yield
        judged[row.pxname][row.svname] = _build_server(row, rows, marks, uptime)
        if targets.vips and (why := describe_loop(row.addr, targets)):
            loops[row.pxname, row.svname] = why
    return JudgedRows(rows, judged, marks, loops)


def _is_lasting(row: Row, known: Server, uptime: float) -> bool:
    """Return whether a row that has not changed still means ``known``: time changes an absence."""
    if not row.status.startswith("MAINT"):
        return True
    why = _describe_absence(row, uptime)
    is_same = known.in_share is not bool(why) and known.detail.endswith(why)
    return is_same or row.word != "MAINT"


def _build_server(
    row: Row,
    rows: Mapping[str, Mapping[str, Row]],
    marks: Mapping[_Key, Mark],
    uptime: float,
) -> Server:
    """Build a Server without regard to the other servers of its backend."""
    # "* " means that a check runs now; the word after it is the result of the previous check.
    check, agent = row.check.removeprefix("* "), row.agent.removeprefix("* ")
    last, checker = row.last_chk or row.last_agt, row
    target = find_target(row, rows) if row.tracked else None
    if target is not None:
        check, agent = target.check.removeprefix("* "), target.agent.removeprefix("* ")
        last, checker = target.last_chk or target.last_agt, target
    check_text = last or check or agent
    weight = parse_count(row.weight)
    usable, checked, detail = judge_server(row.status, check, agent, weight, check_text)
    if usable is Usable.YES and (checker.pxname, checker.svname) in marks:
        usable = Usable.UNPROVED
        detail = f"{row.status}, put back or changed, and no check was seen since then"
    if row.tracked:
        if target is None and usable is Usable.UNPROVED:
            checked, detail = True, "which is not known yet"
        detail = f"tracks {row.tracked}, {detail}"
    in_share = True
    if row.word == "MAINT" and (why := _describe_absence(row, uptime)):
        in_share, detail = False, f"{detail}, {why}"
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
        in_share=in_share,
    )


def _describe_absence(row: Row, uptime: float) -> str:
    """Describe why a server in maintenance is in no share; empty where it is in it.

    A slot is one that this worker has never had in service: it is in maintenance since the start.
    HAProxy counts it as gone once (``chkdown``) where its name did not resolve then.
    """
    resolution = row.status.endswith("(resolution)")
    age, times_gone = parse_seen(row.lastchg), parse_seen(row.chkdown)
    margin, most = (RESOLUTION_MARGIN, 1) if resolution else (SLOT_MARGIN, 0)
    if age >= uptime - margin and times_gone <= most:
        return "since HAProxy's start: an empty slot, in no share"
    if resolution and age >= LEFT_COUNTS_FOR:
        return "for more than an hour: in no share any more"
    return ""


def find_target(row: Row, rows: Mapping[str, Mapping[str, Row]]) -> Row | None:
    """Find the row at the end of a chain of tracking servers; None if it was not asked for."""
    for _ in range(64):  # HAProxy refuses loops; a garbled answer might have one
        backend, _, name = row.tracked.partition("/")
        target = rows.get(backend, {}).get(name)
        if target is None or not target.tracked:
            return target
        row = target
    return None
