"""Find reasons to ask servers, and say how soon (pure).

Without a doubt no server is asked.  A doubt proves nothing: it only decides when to ask.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from anycastd.evidence.haproxy.servers import is_passed
from anycastd.evidence.haproxy.snapshot import Backend, Snapshot
from anycastd.evidence.servers.addresses import find_checker

MIN_DELAY, MAX_DELAY = 0.25, 8.0
"""Seconds between two rounds for one kind of doubt about a backend: doubled from round to round.

A self-test that fails for another reason (a wrong path, a full queue) costs one round in MAX_DELAY.
"""
FORGET_AFTER = 10.0
"""Seconds without this kind of doubt after which the next one is a new one."""


class Doubt(Enum):
    """A reason to ask the servers of a backend."""

    SELF_TEST = "the self-test fails"
    LATE = "an answer to the self-test is late"
    CHECK = "a check of HAProxy's has failed"
    ERRORS = "HAProxy could not connect to a server"


def find_doubts(last: Snapshot | None, seen: Snapshot, backend: str) -> Iterable[Doubt]:
    """Yield the doubts about ``backend`` in the look ``seen``; ``last`` is the look before it."""
    now = seen.backends.get(backend)
    if now is None:
        return
    if last is not None and last.worker.is_same_process(seen.worker):
        before = last.backends.get(backend)
        if before is not None and now.failed_connects > before.failed_connects:
            yield Doubt.ERRORS
    failed = {check for check in {server.check for server in now.servers} if _fails(check)}
    if failed and _some_begin_to_fail(seen, now, failed):
        yield Doubt.CHECK


def _some_begin_to_fail(seen: Snapshot, backend: Backend, failed: set[str]) -> bool:
    """Tell whether a check of a server that HAProxy still uses has failed.

    ``failed``: the results among those of ``backend`` that may be those of failed checks.
    """
    rows = seen.judged.rows.get(backend.name, {})
    for server in backend.servers:  # 10,000 at times, at each look
        if server.check not in failed or not (server.check or server.tracked):
            continue
        row = rows.get(server.name)
        checker = find_checker(row, seen) if row is not None and row.word == "UP" else None
        if checker is not None and checker.check and _fails(checker.check):
            return True
    return False


def _fails(check: str) -> bool:
    """Tell whether a result may be that of a failed check; what has no check has an empty one."""
    result = check.removeprefix("* ")
    return result not in _NO_RESULT and not is_passed(result, "")


_NO_RESULT = {"INI", "UNK"}


@dataclass(slots=True)
class Pace:
    """How soon servers are asked because of one kind of doubt about one backend."""

    next_at: float = -math.inf
    delay: float = MIN_DELAY
    doubted_at: float = -math.inf

    def note_doubt(self, now: float) -> float:
        """Return when to ask for a doubt at ``now`` (own time, seconds); not before ``now``."""
        if now - self.doubted_at > FORGET_AFTER:
            self.delay = MIN_DELAY
        self.doubted_at = now
        return max(now, self.next_at)

    def note_round(self, now: float) -> None:
        """Note that servers are asked at ``now``: the next round comes later than the last one."""
        self.next_at = now + self.delay
        self.delay = min(2 * self.delay, MAX_DELAY)
