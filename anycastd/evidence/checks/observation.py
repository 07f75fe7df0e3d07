"""Results of a check, one after the other -> CheckObservation (pure).

A run has one of three results: it passed, it failed, or it could not see (``passed`` is None): the
host's name is not known, the command is missing, this agent has no descriptor left.  What could not
see proves nothing.  So it changes nothing of what is counted, and only lets the observation age.

A check passes after `rise` results in a row that passed, and fails after `fall` results in a row
that failed.  Before that it keeps what it was; at the start it is neither.  Where no run has seen
anything for `deadline`, it begins again: one result, perhaps a failure, must not bring back what it
was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from anycastd.profile.checks import Check, LoadCheck


class CheckResult(NamedTuple):
    """The result of one run.

    ``asked_at`` is when it began (own time, seconds).  ``passed`` is None where it could not see.
    ``detail`` is for people.  ``answered``: something answered, whatever it said.  ``step`` is the
    step of a load (None: not a load).
    """

    asked_at: float
    passed: bool | None
    detail: str
    answered: bool = True
    step: int | None = None


@dataclass(frozen=True, slots=True)
class CheckObservation:
    """What is known of a check.

    ``asked_at`` is when the newest run that saw something began, ``since`` when ``passed`` took its
    value (own time, seconds).  ``passed`` is None before `rise` or `fall` results in a row.
    ``detail`` is that of the newest run that saw something, ``unseen`` why the newest run could not
    see (empty: it could).  ``step`` is the step of a load that counts (None: not a load, or not
    known yet).  ``answered``: the newest run was answered.  ``count`` results in a row, the newest
    ones, say ``counted``; before `rise` or `fall` of them it is not what counts.  For a load,
    ``counted`` says whether they are better than its step, and is None where they are as good.
    """

    asked_at: float
    passed: bool | None
    since: float
    detail: str
    step: int | None = None
    unseen: str = ""
    answered: bool = True
    counted: bool | None = None
    count: int = 0

    @property
    def decision_key(self) -> tuple[object, ...]:
        """Return what a decision depends on, besides the time."""
        return self.passed, bool(self.unseen), self.step, self.answered


def add_result(
    check: Check,
    last: CheckObservation | None,
    result: CheckResult,
    ended_at: float | None = None,
) -> CheckObservation:
    """Add the result of a run to what was known, ``last`` (None: nothing).

    ``ended_at`` (own time, seconds) is when the run ended; None: when it began.
    """
    asked_at, detail = result.asked_at, result.detail
    if result.passed is None:
        if last is None:
            return CheckObservation(asked_at, None, asked_at, "", unseen=detail, answered=False)
        return replace(last, unseen=detail)
    known = last or CheckObservation(asked_at, None, asked_at, "")
    if (asked_at if ended_at is None else ended_at) >= known.asked_at + check.deadline:
        known = CheckObservation(asked_at, None, asked_at, "")
    if result.step is not None:
        return _add_step(check, known, result, result.step)
    count = _count(known, result.passed)
    passed, since = known.passed, known.since
    if passed is not result.passed and count >= (check.rise if result.passed else check.fall):
        passed, since = result.passed, asked_at
    return CheckObservation(
        asked_at, passed, since, detail, None, "", result.answered, result.passed, count
    )


def _add_step(
    check: Check, known: CheckObservation, result: CheckResult, step: int
) -> CheckObservation:
    """Add a measure: `fall` worse ones in a row, or `rise` better ones, change the step."""
    better = None if known.step in (None, step) else step < (known.step or 0)
    count = 0 if better is None else _count(known, better)
    counts = known.step is None or (
        better is not None and count >= (check.rise if better else check.fall)
    )
    chosen = step if counts else known.step
    passed = isinstance(check.asks, LoadCheck) and (chosen or 0) < check.asks.steps
    since = known.since if passed is known.passed else result.asked_at
    return CheckObservation(
        result.asked_at, passed, since, result.detail, chosen, "", True, better, count
    )


def _count(known: CheckObservation, counted: bool) -> int:
    """Count the newest results in a row that say ``counted``, the new one among them."""
    return min(known.count + 1, MAX_COUNT) if known.counted is counted else 1


MAX_COUNT = 1000
"""Results in a row that are counted; more make no difference."""
