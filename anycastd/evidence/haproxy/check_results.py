"""Find results of checks that are older than a server's return to service (pure).

HAProxy keeps the result of a server's last check while it does not check it.  So a server that is
put back into service, or gets another address, shows a result that says nothing of it.  A server
counts as proved only by a check that ended since then.

What the row itself shows (HAProxy 2.6.12; `UP n/m` is in the table of ``snapshot``): after
maintenance, of whatever kind, the status is ``UP 1/m`` with the old result until the next check,
which makes it ``UP`` or ``DOWN``.  Only with ``fall 1`` is it plain ``UP``.

What only a comparison with the look before shows, as a `Mark`::

    what happened                        what differs from the look before
    its address changed                  addr; status, result and counters stay as they were
    back from maintenance with fall 1    MAINT before; or chkdown, which counts each time it left
    the same, and it was down before     likewise, or DOWN: `UP 1/m` with the failed result, which
                                         is also what a server shows that begins to fail
    its checks were switched on again    no result before, an old one now

With ``init-state fully-up`` (HAProxy 3.1 and later) a server comes back as plain ``UP`` with any
``fall``, and one that never passed is ``UP n/m`` after its first failed check.  No column shows
that setting, so both are marked wherever HAProxy has it.

A worker that has read a state file (``load-server-state-from-file``) shows results of the worker
before, or of an earlier day.  Nothing but a time tells: a server whose last change is older than
the worker has its state from a file.  Then no server of its backend is proved by a result without
a text and a duration, which no file has, or by one that failed.

A Mark ends when a check is seen to have ended well: the result, its text, its duration or the
count of failed checks changed, or a check ran at one look and does no more at the next.  A check
that passes as fast as the one before it changes nothing of that, so a Mark also ends after
CHECK_WITHIN seconds in which HAProxy went on to call the server UP.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from anycastd.evidence.haproxy.servers import is_passed

CHECK_WITHIN = 60.0
"""Seconds within which a check is taken to have ended, if nothing shows that one did."""


class Row(NamedTuple):
    """A server's, backend's or frontend's row of ``show stat``, as text.

    The fields are HAProxy's columns (management manual, section 9.1).  Those that change all the
    time come first; ``LASTING`` has the others.
    """

    scur: str
    qcur: str
    lastchg: str
    econ: str
    wretr: str
    wredis: str
    pxname: str
    svname: str
    status: str
    weight: str
    act: str
    bck: str
    sid: str
    iid: str
    tracked: str
    type: str
    check: str
    last_chk: str
    last_agt: str
    agent: str
    chkfail: str
    chkdown: str
    check_duration: str
    check_fall: str
    addr: str

    @property
    def word(self) -> str:
        """Return the first word of the status."""
        return self.status.partition(" ")[0]


COLUMNS = tuple(
    {"check": "check_status", "agent": "agent_status"}.get(name, name) for name in Row._fields
)
"""HAProxy's names of the columns of a Row."""


LASTING = slice(6, None)
"""The fields of a Row that differ from those of the look before only if something happened."""


class Mark(NamedTuple):
    """The result shown at ``since`` (own time, seconds) may be from before the last change.

    ``running``: a check ran at that look, and may have begun before the change.
    """

    since: float
    running: bool


class Beginning(NamedTuple):
    """How the servers of a backend may have begun in this worker.

    ``uptime`` is the worker's, in seconds.  ``restored``: with the results in a state file.
    ``full``: at full health, with ``init-state fully-up``, which HAProxy has since 3.1.
    """

    uptime: float = 0.0
    restored: bool = False
    full: bool = False


def find_beginning(rows: Iterable[Row], uptime: float, *, full: bool) -> Beginning:
    """Find how ``rows``, the servers of a backend, may have begun: see ``Beginning``."""
    restored = any(parse_seen(row.lastchg) > uptime + 1 for row in rows)  # whole seconds
    return Beginning(uptime, restored, full)


def mark_old_result(
    row: Row,
    last: Row | None,
    mark: Mark | None,
    asked_at: float,
    beginning: Beginning = Beginning(),  # noqa: B008 - it cannot be changed
) -> Mark | None:
    """Tell whether the result that ``row`` shows may be old; None: it is not.

    ``last`` is the server's row of the look before (None: there is none of this worker), ``mark``
    what this function returned then, ``asked_at`` the time of this look (own time, seconds).
    ``beginning``: how the servers of its backend may have begun.
    """
    if row.tracked or row.word in _NOT_IN_SERVICE:
        return None
    if last is None:
        return _mark_unseen(row, asked_at, beginning)
    running = row.check.startswith("* ")
    if _has_changed(row, last, full=beginning.full):
        return Mark(asked_at, running)
    if mark is None or not _has_passed(row):
        return mark
    ended = _has_ended(row, last)
    if asked_at - mark.since >= CHECK_WITHIN or (ended and not mark.running):
        return None
    return Mark(mark.since, running=False) if ended else mark


def _mark_unseen(row: Row, asked_at: float, beginning: Beginning) -> Mark | None:
    """Tell whether a result may be old where there is no look before."""
    uptime, age = beginning.uptime, parse_seen(row.lastchg)
    if uptime < CHECK_WITHIN and beginning.restored and _may_be_restored(row):
        return Mark(asked_at - uptime, running=False)  # what runs now began in this worker
    if uptime < CHECK_WITHIN and beginning.full and age + 1 >= uptime and _fails(row):
        return Mark(asked_at - uptime, running=False)
    if parse_seen(row.chkdown) and age < CHECK_WITHIN and _may_be_back(row, full=beginning.full):
        return Mark(asked_at - age, row.check.startswith("* "))
    return None


# A server that returns from these was either checked, or its row shows it.
_NOT_IN_SERVICE = {"DOWN", "MAINT"}


def _has_changed(row: Row, last: Row, *, full: bool) -> bool:
    """Return whether the server was put back, or became another one, since the look before."""
    was = last.word
    if row.check.endswith("INI"):
        return False  # its next result is its first
    if row.addr != last.addr and not (was == "MAINT" and row.check):
        return True
    if full and last.check.endswith("INI") and _fails(row):
        return True
    left = was == "MAINT" or parse_seen(row.chkdown) > parse_seen(last.chkdown)
    if left or (was == "DOWN" and not _has_passed(row)):
        return _may_be_back(row, full=full)
    return bool(row.check and not last.check and was not in _NOT_IN_SERVICE)


def _may_be_back(row: Row, *, full: bool) -> bool:
    """Return whether the row of a server that left fits a return without a check since then.

    With a passed result and more than `fall 1`, the row itself tells: it is `UP 1/m` until then,
    but for servers that return at full health.
    """
    is_full = row.check_fall == "1" or (full and row.status == "UP")
    return bool(row.check) and (is_full or not _has_passed(row))


def _fails(row: Row) -> bool:
    """Return whether a server is up whose last check failed: it may have begun at full health."""
    return bool(row.check) and not _has_passed(row) and not row.check.endswith("INI")


def _may_be_restored(row: Row) -> bool:
    """Return whether a result may be out of a state file: it has no text and no duration then."""
    if not row.check or row.check.endswith("INI"):
        return False
    return not _has_passed(row) or not (row.last_chk or parse_seen(row.check_duration))


def _has_passed(row: Row) -> bool:
    return is_passed(row.check.removeprefix("* "), row.agent.removeprefix("* "))


def _has_ended(row: Row, last: Row) -> bool:
    """Return whether a check, or where there is none an agent, has ended since the look before."""
    now, before = (row.check, last.check) if row.check else (row.agent, last.agent)
    stopped = before.startswith("* ") and not now.startswith("* ")
    return (
        stopped
        or now.removeprefix("* ") != before.removeprefix("* ")
        or (row.word == last.word and row.status != last.status)  # no drain began or ended
        or row.check_duration != last.check_duration
        or row.last_chk != last.last_chk
        or parse_seen(row.chkfail) > parse_seen(last.chkfail)
    )


def parse_seen(count: str) -> int:
    """Parse a count, or seconds, that only compares looks; 0 where it is empty or no number."""
    return int(count) if count.isascii() and count.isdecimal() and len(count) < _MAX_DIGITS else 0


_MAX_DIGITS = 20  # 64 bits
