"""Which servers do not count because they refused this machine, and until when (pure).

A server is asked by two connections, some 20 ms apart::

    both are                                   it proves
    refused (ECONNREFUSED), or its address is  HAProxy cannot reach it either: the server does not
    not reachable from here (EHOSTUNREACH,     count
    ENETUNREACH)
    one stands                                 nothing bad, and nothing good
    silence, a lack of our own (EMFILE,        nothing
    EADDRNOTAVAIL...), a firewall of this
    machine (EPERM, EACCES), anything else

A refusal ends, and the server counts by HAProxy's word alone, when

* a check of HAProxy's that ended after the refusal has passed (``check_results`` tells that from
  rows of looks, the first of which was asked for after the refusal),
* HAProxy has it DOWN, or at another address: then HAProxy's own word says the rest,
* connections have stood for ACCEPTS_FOR seconds, and HAProxy shows it as UP all the time.  Until
  then it is unproved: a check that passes as fast as the one before it changes nothing in a row,
  so such a server may have been back for long.
* HAProxy went on to call it UP for CHECK_WITHIN seconds.

After a pass the server is asked once more.  If it refuses although HAProxy's check passes, the
agent's connection is not like HAProxy's: a ``source`` address, a network namespace, a proxy, or a
rule of a firewall for one user.  What it then says of this address proves nothing, and is not
believed until a connection there has stood.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from anycastd.evidence.haproxy.check_results import Mark, Row, mark_old_result
from anycastd.evidence.haproxy.servers import Override, Usable, is_passed
from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.evidence.servers.addresses import ServerKey, find_checker

ACCEPTS_FOR = 5.0
"""Seconds in which connections must stand until the refusal before them is over."""
PROOFS = {
    errno.ECONNREFUSED: "refuses connections",
    errno.EHOSTUNREACH: "cannot be reached from this machine",
    errno.ENETUNREACH: "cannot be reached from this machine",
}
"""Errors of connect(2) that prove that no process of this machine reaches a server."""


class Answer(Enum):
    """What two connections to a server found."""

    REFUSED = "refused"
    STANDS = "stands"
    UNCERTAIN = "uncertain"


class Asked(NamedTuple):
    """A server was asked at ``address`` (HAProxy's column), from ``began_at`` to ``ended_at``.

    Both are own time in seconds.  ``detail`` says for people what was found.
    """

    address: str
    answer: Answer
    began_at: float
    ended_at: float
    detail: str = ""


class Refusal(NamedTuple):
    """A server refused connections at ``address``, at ``refused_at`` (own time, seconds).

    ``accepted_at`` is when the first connection since then stood, ``accepts_at`` when the newest
    did (None: none).  ``mark`` is what looks are compared with: the first one that was asked for
    after the refusal (None: there is none yet).
    """

    address: str
    refused_at: float
    detail: str
    accepted_at: float | None = None
    accepts_at: float | None = None
    mark: Mark | None = None

    @property
    def accepted_for(self) -> float:
        """Return for how long connections have stood since the refusal, in seconds."""
        if self.accepted_at is None or self.accepts_at is None:
            return 0.0
        return self.accepts_at - self.accepted_at


@dataclass(frozen=True, slots=True)
class ReachReport:
    """What asking servers makes of them: backend -> server -> Override; others are as before."""

    refused: Mapping[str, Mapping[str, Override]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reached:
    """What is known of the servers of one HAProxy by asking them.

    ``refusals``: server -> its Refusal.  ``unverified``: server -> when the look that showed its
    passed check was asked for (own time); it is to be asked once more.  ``disbelieved``: server ->
    the address at which its refusals prove nothing.  ``seen`` is the newest look.
    """

    refusals: Mapping[ServerKey, Refusal] = field(default_factory=dict)
    unverified: Mapping[ServerKey, float] = field(default_factory=dict)
    disbelieved: Mapping[ServerKey, str] = field(default_factory=dict)
    seen: Snapshot | None = None

    def build_report(self) -> ReachReport:
        """Build the report for the rules that count servers."""
        found: dict[str, dict[str, Override]] = {}
        for (backend, server), refusal in self.refusals.items():
            override = Override(Usable.NO, refusal.detail)
            if refusal.accepted_at is not None:
                detail = "accepts connections again, and no check has passed since it refused them"
                override = Override(Usable.UNPROVED, detail)
            found.setdefault(backend, {})[server] = override
        return ReachReport(found)


def judge_errors(first: int, second: int) -> tuple[Answer, str]:
    """Judge two connections by their errors (errno; 0: it stands; -1: no answer): see the table.

    Returns the answer and, where it is REFUSED, what it says for people.
    """
    if 0 in (first, second):
        return Answer.STANDS, ""
    if first in PROOFS and second in PROOFS:
        return Answer.REFUSED, PROOFS[second]
    return Answer.UNCERTAIN, ""


def note_asked(state: Reached, key: ServerKey, asked: Asked) -> Reached:
    """Return the state after the server ``key`` was asked."""
    refusals, unverified = dict(state.refusals), dict(state.unverified)
    disbelieved = dict(state.disbelieved)
    refusal, passed_at = refusals.get(key), unverified.get(key)
    if passed_at is not None and asked.began_at <= passed_at:
        return state
    unverified.pop(key, None)
    if asked.answer is Answer.STANDS:
        disbelieved.pop(key, None)
        if refusal is not None:
            since = asked.ended_at if refusal.accepted_at is None else refusal.accepted_at
            refusals[key] = refusal._replace(accepted_at=since, accepts_at=asked.ended_at)
    elif asked.answer is Answer.REFUSED:
        if passed_at is not None:
            disbelieved[key] = asked.address
        elif _is_news(state, key, asked.address):
            refusals[key] = Refusal(asked.address, asked.ended_at, asked.detail)
    return replace(state, refusals=refusals, unverified=unverified, disbelieved=disbelieved)


def _is_news(state: Reached, key: ServerKey, address: str) -> bool:
    """Tell whether a refusal is believed, and begins a new time without the server."""
    refusal = state.refusals.get(key)
    if state.disbelieved.get(key) == address or not _is_up_at(state.seen, key, address):
        return False
    return refusal is None or refusal.accepted_at is not None


def note_look(state: Reached, seen: Snapshot) -> Reached:
    """Return the state after a new look."""
    refusals: dict[ServerKey, Refusal] = {}
    unverified = {
        key: at
        for key, at in state.unverified.items()
        if (row := _find_row(seen, key)) is not None and row.word == "UP"
    }
    for key, refusal in state.refusals.items():
        followed = _follow(refusal, key, state.seen, seen)
        if followed is not None:
            refusals[key] = followed
        elif _is_up_at(seen, key, refusal.address) and refusal.accepted_at is None:
            unverified[key] = seen.asked_at
    disbelieved = {
        key: address
        for key, address in state.disbelieved.items()
        if (row := _find_row(seen, key)) is not None and row.addr == address
    }
    return Reached(refusals, unverified, disbelieved, seen)


def _follow(
    refusal: Refusal, key: ServerKey, last: Snapshot | None, seen: Snapshot
) -> Refusal | None:
    """Follow one refusal through a look; None: it is over."""
    row = _find_row(seen, key)
    if row is None or row.addr != refusal.address or row.word == "DOWN":
        return None
    checker = find_checker(row, seen)
    if row.word != "UP" or checker is None:
        return refusal._replace(mark=None)
    passed = is_passed(checker.check.removeprefix("* "), "")
    if passed and refusal.accepted_for >= ACCEPTS_FOR:
        return None
    return _compare(refusal, checker, last, seen, passed=passed)


def _compare(
    refusal: Refusal, checker: Row, last: Snapshot | None, seen: Snapshot, *, passed: bool
) -> Refusal | None:
    """Compare the row of the check with that of the look before; None: a check has passed."""
    before = None
    if last is not None and last.worker.is_same_process(seen.worker):
        before = _find_row(last, (checker.pxname, checker.svname))
    if before is checker:
        return refusal  # a brief look, which has not asked for this row
    if before is None or refusal.mark is None:
        if seen.asked_at <= refusal.refused_at:
            return refusal
        # A worker's start is known to a second: this one began after the refusal for certain.
        is_newer = before is None and seen.worker.began_at - 1 >= refusal.refused_at
        if is_newer and passed and (checker.pxname, checker.svname) not in seen.judged.marks:
            return None
        return refusal._replace(mark=Mark(seen.asked_at, checker.check.startswith("* ")))
    mark = mark_old_result(checker, before, refusal.mark, seen.asked_at)
    return None if mark is None else refusal._replace(mark=mark)


def _find_row(seen: Snapshot, key: ServerKey) -> Row | None:
    return seen.judged.rows.get(key[0], {}).get(key[1])


def _is_up_at(seen: Snapshot | None, key: ServerKey, address: str) -> bool:
    row = None if seen is None else _find_row(seen, key)
    return row is not None and row.word == "UP" and row.addr == address
