"""A finding: one rule held against evidence, true, false or unknown (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from anycastd.evidence.haproxy.servers import Server
from anycastd.reasons import Reason

BELIEVE_UNPROVED_FOR = 60.0


class Truth(IntEnum):
    """False, unknown, true: in this order, so that `all` is min and `any` is max."""

    FALSE = 0
    UNKNOWN = 1
    TRUE = 2


class Finding(NamedTuple):
    """One rule looked at: its text, what was found, what it needs, and the rows behind it.

    ``hold`` (seconds) and ``then`` matter only where ``truth`` is unknown; ``alive`` says that a
    HAProxy answered; ``until`` is when the passing of time alone changes the finding.  A tuple,
    because thousands are made in each pass.
    """

    text: str
    truth: Truth
    value: str
    reason: Reason
    servers: tuple[Server, ...] = ()
    alive: bool = True
    asked_at: float = 0.0
    believe_for: float = 0.0
    believe_then: Truth = Truth.FALSE
    changes_at: float | None = None
    needed: str = ""

    @property
    def final_truth(self) -> Truth:
        """What counts once unknown may be held no longer."""
        return self.believe_then if self.truth is Truth.UNKNOWN else self.truth


UNKNOWN = Truth.UNKNOWN


def join_findings(parts: Sequence[Finding], *, every: bool) -> Finding:
    """Join findings: the minimum for `all`, the maximum for `any`; the first of equals decides."""
    decisive = parts[0]
    for part in parts:
        if part.truth < decisive.truth if every else part.truth > decisive.truth:
            decisive = part
    if decisive.truth is not UNKNOWN:
        return decisive
    then = (min if every else max)(part.final_truth for part in parts)
    return decisive if then is decisive.believe_then else decisive._replace(believe_then=then)
