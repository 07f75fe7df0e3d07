"""Ask for a large backend's own row instead of the rows of all its servers (pure).

A row of each of 10,000 servers costs HAProxy 50 ms and the agent as much.  So a *brief* look asks
for the backend's own row, and for the rows of single servers: those that events have named, and
those that still wait for a check.  All others are taken from the look before.  What is so concluded
(DESIGN.md, "A large backend is asked briefly"):

* How many servers HAProxy would use is its own count, of this moment.  The rows must come to the
  same number, or all rows are asked for at once.
* Which of them are proved is known from the last look at each row.  A server that loses its proof
  leaves service, or gets another address; HAProxy announces both.
* What neither the count nor an event shows is found by the next whole look, WHOLE_EVERY seconds
  after the last one at most, and up to EARLY seconds sooner where no event comes.  Where servers
  left, and as many others were put back by hand in the same moment and unannounced, the others
  would be unknown with all rows, which keeps the verdict, and not false.

A backend is asked as a whole, as if there were no brief looks, where it has fewer servers than
`Query.brief_from`, where servers track others, where a rule limits its queue (that of each server
counts), where its rows do not come to its own count, where many servers wait for a check, and after
a look that got no answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from anycastd.evidence.haproxy.answer import parse_count
from anycastd.evidence.haproxy.backend_line import BackendLine, add_rows, read_line
from anycastd.evidence.haproxy.check_results import Row, parse_seen
from anycastd.evidence.haproxy.judged_rows import JudgedRows
from anycastd.evidence.haproxy.query import Brief, Query
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Backend, Snapshot

MAX_SINGLE = 60
"""Maximum number of servers that are asked for one by one; beyond it all rows cost less."""
WHOLE_EVERY, WHOLE_EVERY_POLLED = 10.0, 5.0
"""Seconds after which all rows are asked for again: where events arrive, and where they do not."""
EARLY, QUIET = 2.0, 0.05
"""Seconds by which all rows are asked for earlier, where no event has come for QUIET seconds.

HAProxy takes 0.1 to 0.3 s for 10,000 rows.  An event that comes meanwhile does not wait for them.
"""
MAX_GIVEN_UP = 3
"""Looks at all rows in a row that may end for an event; each costs HAProxy a part of the rows."""


class DisagreementError(Exception):
    """A backend's own row counts other servers than its rows come to: all rows are needed."""


def choose_brief(
    last: Snapshot, query: Query, named: Mapping[str, Collection[str]], now: float, every: float
) -> Brief:
    """Choose the backends to ask briefly.

    ``last`` is the last look at this worker; ``named``: backend -> the servers that events have
    named since then.  All rows of a backend are asked for ``every`` seconds (``now``: own time).
    """
    brief = {}
    for name in last.judged.lines:
        backend = last.backends[name]
        if name not in query.backends or now - backend.asked_at >= every:
            continue
        rows = last.judged.rows[name]
        single = {*named.get(name, ()), *_list_waiting(last, backend)}
        if len(single) <= MAX_SINGLE and single <= rows.keys():
            numbers = [parse_seen(rows[each].sid) for each in single]
            if all(numbers):
                brief[name] = tuple(sorted(numbers))
    return brief


def _list_waiting(last: Snapshot, backend: Backend) -> list[str]:
    """List the servers whose next check proves them, with or without an event."""
    waiting = [name for proxy, name in last.judged.marks if proxy == backend.name]
    if backend.counts.unproved > backend.counts.unchecked:
        unproved = Usable.UNPROVED
        waiting += [s.name for s in backend.servers if s.usable is unproved and s.checked]
    return waiting


def find_lines(
    heads: Mapping[str, Row], rows: Mapping[str, Mapping[str, Row]], query: Query, brief: Brief
) -> Mapping[str, BackendLine]:
    """Find the backends that may be asked briefly next time: backend -> what its own row shows.

    ``heads``: backend -> its own row; ``rows``: backend -> server -> its row, where it was asked
    for.  Those in ``brief`` have been compared already.
    """
    large = [name for name in heads if name in brief or len(rows.get(name, ())) >= query.brief_from]
    if not large or any(row.tracked for table in rows.values() for row in table.values()):
        return {}
    lines = {name: read_line(heads[name]) for name in large if name not in query.queues}
    return {
        name: line
        for name, line in lines.items()
        if name in brief or add_rows(rows[name].values()).agrees(line, by_weight=False)
    }


def check_brief(
    heads: Mapping[str, Row],
    rows: Mapping[str, Mapping[str, Row]],
    brief: Brief,
    before: Snapshot,
    query: Query,
) -> None:
    """Compare the backends' own rows with what is known of their servers.

    ``rows`` are those that were asked for one by one.  Raises DisagreementError.
    """
    for name, single in brief.items():
        new, old = rows.get(name, {}), before.judged.rows[name]
        if name not in heads or len(new) != len(single) or not new.keys() <= old.keys():
            raise DisagreementError(name)
        expected = before.judged.lines[name].replace_rows([old[each] for each in new], new.values())
        if not expected.agrees(read_line(heads[name]), by_weight=name in query.weights):
            raise DisagreementError(name)


def join_brief(found: JudgedRows, before: JudgedRows, brief: Brief) -> JudgedRows:
    """Join the servers in ``found`` with what ``before`` has of the others of ``brief``."""

    def is_kept(backend: str, name: str) -> bool:
        return backend in brief and name not in found.rows.get(backend, {})

    single = {name: found.rows.get(name, {}) for name in brief}
    rows = {
        name: {**before.rows[name], **new} if new else before.rows[name]
        for name, new in single.items()
    }
    servers = {
        name: {**before.servers[name], **found.servers[name]} if new else before.servers[name]
        for name, new in single.items()
    }
    return replace(
        found,
        rows={**found.rows, **rows},
        servers={**found.servers, **servers},
        marks={**found.marks, **{k: v for k, v in before.marks.items() if is_kept(*k)}},
        loops={**found.loops, **{k: v for k, v in before.loops.items() if is_kept(*k)}},
    )


def join_backend(head: Row, judged: JudgedRows, before: Snapshot) -> Backend:
    """Build a backend that was asked briefly from its own row, ``head``, and what is known.

    ``judged`` are all of its servers.  ``asked_at`` stays when all rows were asked for.
    """
    name = head.pxname
    last, line = before.backends[name], before.judged.lines[name]
    is_same = judged.servers[name] is before.judged.servers[name]
    return replace(
        last,
        status=head.status,
        servers=last.servers if is_same else judged.list_servers(name),
        sessions=parse_count(head.scur),
        # What waits in queues of servers is that of the last whole look.
        queued_requests=last.queued_requests - line.queued + parse_count(head.qcur),
        failed_connects=sum(map(parse_seen, (head.econ, head.wretr, head.wredis))),
    )
