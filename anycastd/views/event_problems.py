"""Problems that begin and end, as events (pure).

The status lists what is not as wanted as sentences.  Their numbers change all the time (``3 s``,
``2 of 5``) while the problem stays the same, so sentences are compared without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from anycastd.system.instants import format_duration
from anycastd.views.events import Event, EventKind

BEGIN_AFTER = 2.0
"""Seconds that a problem must last to be an event: a change of a route takes a moment."""
END_AFTER = 10.0
"""Seconds without a problem after which it has ended."""
MAX_PROBLEMS = 100
"""Problems that are followed at most; the status lists all of them."""
MAX_BEGINNINGS, BEGINNINGS_WINDOW = 5, 3600.0
"""Events of one problem at most within the window (s); then it is told as a flapping one."""
FORGET_AFTER = 3600.0
"""Seconds after its end for which the beginnings of a problem are remembered."""
MAX_KEY = 300
"""Characters of a sentence that are compared."""

# A number that stands alone: none in an address, a prefix, a time or a name.
_NUMBER = re.compile(r"(?<![\w.:/-])\d[\d,]*(?:\.\d+)?(?![\w:/-]|\.\d)")


@dataclass(frozen=True, slots=True)
class KnownProblem:
    """A problem that is followed; all times are Unix time.

    ``began_at`` is when it was first seen, ``seen_at`` when it was last seen.  ``told``: its event
    was made.  ``told_at`` are the times of its events within the window.
    """

    text: str
    began_at: float
    seen_at: float
    told: bool = False
    told_at: tuple[float, ...] = ()


Problems = Mapping[str, KnownProblem]
"""The sentence without its numbers -> the problem."""


def find_problem_events(
    before: Problems, texts: Iterable[str], at: float
) -> tuple[Problems, list[Event]]:
    """Compare the sentences of a status at ``at`` (Unix time) with the problems known ``before``.

    Returns the problems that are known now, and the events.
    """
    known = dict(before)
    events: list[Event] = []
    present = {_NUMBER.sub("#", text[:MAX_KEY]): text for text in texts}
    for key, text in present.items():
        old = known.get(key)
        if old is None:
            if len(known) < MAX_PROBLEMS:
                known[key] = KnownProblem(text, at, at)
            continue
        gone = not old.told and at - old.seen_at >= END_AFTER
        new = replace(old, text=text, seen_at=at, began_at=at if gone else old.began_at)
        if not new.told and at - new.began_at >= BEGIN_AFTER:
            new, event = _begin(new, at)
            events += event
        known[key] = new
    for key, old in before.items():
        if key in present:
            continue
        if old.told and at - old.seen_at >= END_AFTER:
            events += _end(old)
            known[key] = replace(old, told=False)
        elif not old.told and at - old.seen_at >= (FORGET_AFTER if old.told_at else END_AFTER):
            del known[key]
    return known, events


def _begin(problem: KnownProblem, at: float) -> tuple[KnownProblem, list[Event]]:
    recent = tuple(each for each in problem.told_at if at - each < BEGINNINGS_WINDOW)
    told = replace(problem, told=True, told_at=recent)
    if len(recent) >= MAX_BEGINNINGS:
        return told, []
    told = replace(told, told_at=(*recent, at))
    last = len(recent) + 1 == MAX_BEGINNINGS
    more = "; it comes and goes, and is not told again for a while" if last else ""
    text = f"problem: {problem.text}{more}"
    return told, [Event(problem.began_at, EventKind.PROBLEM_BEGAN, text)]


def _end(problem: KnownProblem) -> list[Event]:
    # Only the end of a beginning that was told.
    if not problem.told_at or problem.told_at[-1] < problem.began_at:
        return []
    lasted = problem.seen_at - problem.began_at
    text = f"problem over after {format_duration(lasted)}: {problem.text}"
    fields = {"lasted_s": round(lasted, 1)}
    return [Event(problem.seen_at, EventKind.PROBLEM_ENDED, text, fields=fields)]
