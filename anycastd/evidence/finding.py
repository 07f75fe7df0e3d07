"""A finding: what the evidence says of one rule, as true, false or unknown (pure).

Nothing here depends on a source of evidence: each source makes findings of its own rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from anycastd.reasons import Reason

BELIEVE_UNPROVED_FOR = 60.0
"""Seconds for which the last known value counts while a rule is unknown."""
OVERRULE_AFTER = 600.0
"""Seconds after which a rule that was not true counts as true although checks are still to come.

A check that has not come within ten minutes of one worker's life is not waited for any longer.
"""


class Truth(IntEnum):
    """Truth of a rule or a condition: false, unknown or true.

    They are in this order, so that `all` is the minimum and `any` the maximum.
    """

    FALSE = 0
    UNKNOWN = 1
    TRUE = 2


class RuleRef(NamedTuple):
    """Reference to the rule that a finding is about.

    ``paths`` are the key paths of the rule in its service's part of the profile, such as ``serve``,
    ``serve.all[0]`` or ``self_test.listens``.  A rule that the profile has twice has two of them.
    ``service`` and ``paths`` identify the rule.  ``instance`` is the instance of the source that
    the rule asks (for HAProxy: its name in the profile), or empty.  ``text`` is for people only.
    """

    service: str
    paths: tuple[str, ...]
    instance: str
    text: str

    @property
    def conditions(self) -> tuple[str, ...]:
        """Return the keys of the service that have the rule, such as ``serve`` and ``healthy``."""
        return tuple(dict.fromkeys(path.partition(".")[0] for path in self.paths))


class BelieveFor(NamedTuple):
    """For how long the last known value of a condition counts while it is unknown, in seconds.

    ``true`` is for a value that is true, ``other`` for one that is false or was never known.  A
    value that is true counts until ``until`` (own time) at least, however long it is unknown.
    """

    true: float
    other: float
    until: float = 0.0


class Finding(NamedTuple):
    """What the evidence says of one rule.

    ``value`` is what was found and ``needed`` what the rule asks for, both as text.  ``observed``
    are the items behind it, in the source's own type (for HAProxy: Server).  ``alive``: a process
    answered at all.  ``asked_at`` is when the evidence was asked for, ``changes_at`` when the
    passing of time alone changes the finding (None: never); own time, seconds.

    Where ``truth`` is unknown the last known value counts for ``believe_for`` seconds, and
    ``believe_then`` after that.  A last value that is not true counts for ``overrule_after``
    seconds, where that is longer.  The seconds count from ``unknown_from`` (own time) at the
    earliest: what was unknown before, such as at an earlier worker, does not count.  A last value
    that is true counts until ``believe_until`` (own time) at least: a cause with a time of its own,
    such as silence, does not end at once because of what was unknown before it.

    It is a tuple, because each pass makes thousands of them.
    """

    rule: RuleRef
    truth: Truth
    value: str
    reason: Reason
    observed: tuple[object, ...] = ()
    alive: bool = True
    asked_at: float = 0.0
    believe_for: float = 0.0
    believe_then: Truth = Truth.FALSE
    changes_at: float | None = None
    needed: str = ""
    overrule_after: float = 0.0
    unknown_from: float = 0.0
    believe_until: float = 0.0

    @property
    def final_truth(self) -> Truth:
        """Return what counts after ``believe_for`` seconds, if nothing else is found."""
        return self.believe_then if self.truth is Truth.UNKNOWN else self.truth


UNKNOWN = Truth.UNKNOWN
"""Truth.UNKNOWN, without the cost of looking up a member of an enumeration in Python 3.11."""


def join_findings(parts: Sequence[Finding], *, every: bool) -> Finding:
    """Join findings: the minimum for `all` (``every``), the maximum for `any`.

    Returns the first finding that has this truth.  If it is unknown, its ``believe_then`` and
    ``unknown_from`` are those of the whole condition.  Raises IndexError where ``parts`` is empty.
    """
    decisive = parts[0]
    for part in parts:
        if part.truth < decisive.truth if every else part.truth > decisive.truth:
            decisive = part
    if decisive.truth is not UNKNOWN:
        return decisive
    then = (min if every else max)(part.final_truth for part in parts)
    began = max(part.unknown_from for part in parts if part.truth is UNKNOWN)
    if then is decisive.believe_then and began == decisive.unknown_from:
        return decisive
    return decisive._replace(believe_then=then, unknown_from=began)
