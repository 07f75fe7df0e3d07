"""Judge the routes of services that checks decide; pure.

The rules are those of ``judge``, with other causes and other excuses:

*Stale*: a route of ``checked`` stood while its server or its command failed, or a route of
``chosen`` had a next hop whose server failed, for longer than the runs of a check may take.

*Needless*: a route changed although neither a check nor another fault allows it.  A next hop that
is not announced may fail.  A route is withdrawn only where no next hop serves: otherwise it moves.

*Hasty*: as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from chaos.judge import Bounds, Judge
from chaos.spans import Span, find_end, find_spans, intersect, merge
from chaos.violations import Judgement, find_hasty, find_needless, find_stale
from support.checked_services import BLIND_DEADLINE, EVERY, NEXT_HOPS, TIMEOUT
from support.machine import Entry
from support.route_log import Change

FAILS, HANGS, BLIND = "check fails", "check hangs", "check cannot see"
SECONDS = {
    # Two runs, each of which may have to start a command.
    FAILS: 2 * (EVERY + 0.2),
    # Two runs; each is repeated where the agent itself was late meanwhile.
    HANGS: EVERY + 2 * 2 * TIMEOUT,
    BLIND: BLIND_DEADLINE,
}
"""Why a check does not pass -> seconds until the agent knows it."""
PROVED = 2 * EVERY + 0.4
"""Seconds until a server that answers again has passed, with the last run that waited for it."""

Look = Callable[[Judge, Sequence[Sequence[Change]], float, float, Judgement], None]
Failing = list[tuple[str, Span]]
"""Why a check does not pass, and when."""


class CheckJudge(Judge):
    """A journal, as it is judged for one check or several that must all pass."""

    def __init__(self, journal: Sequence[Entry], bounds: Bounds | None, *checks: str) -> None:
        super().__init__(journal, bounds)
        self.scarce_agent = find_spans(journal, "agent", "scarce", "free")
        self.failing = [each for name in checks for each in find_failing(journal, name)]

    def own_causes(self) -> list[tuple[str, Span, float]]:
        """Return when one of the checks did not pass, and how long that may be unknown."""
        slack = self.bounds.slack
        return [(why, span, SECONDS[why] + slack) for why, span in self.failing]

    def begins_anew(self, cause: str) -> float:
        """Return the seconds of the runs that a new agent needs to find it."""
        return SECONDS[cause]

    def unseeing(self, cause: str) -> list[list[Span]]:
        """Return when the agent has no descriptor for a run; a deadline passes all the same."""
        return [] if cause == BLIND else [self.scarce_agent]

    def delays(self) -> list[Span]:
        """Return when nothing can be proved: also when no run can begin."""
        return [*super().delays(), *self.scarce_agent]

    def own_excuses(self) -> list[Span]:
        """Return the periods in which a check may fail.

        A command of an agent whose calls fail is hurt as well.
        """
        still = [*self.paused, *self.agent_stopped]
        return [*_list_failed(self.failing, self.scarce_agent, still), *self.hurt["agent"]]


class MoveJudge(CheckJudge):
    """A journal, as it is judged for moves of ``chosen`` between its next hops.

    Only the first next hop is a reason to move: the second is announced while that one fails.
    """

    def __init__(self, journal: Sequence[Entry], bounds: Bounds | None) -> None:
        super().__init__(journal, bounds, "hop0")


class WithdrawalJudge(CheckJudge):
    """A journal, as it is judged for withdrawals of ``chosen``: no next hop may serve."""

    def __init__(self, journal: Sequence[Entry], bounds: Bounds | None) -> None:
        super().__init__(journal, bounds)
        first, second = (
            self._list_unproved(_list_failed(find_failing(journal, hop)))
            for hop in ("hop0", "hop1")
        )
        # What is not known is never chosen.  A new agent may find that the first one fails before
        # it knows of the second one.  A run that hung may end when no other can begin.
        unknown = self._list_unproved([*self.agentless, *self.scarce_agent])
        self.without_hop = [*intersect(first, second), *intersect(first, unknown)]

    def _list_unproved(self, found: Sequence[Span]) -> list[Span]:
        """Return periods, each until its server may have passed again."""
        delays = self.delays()
        return [Span(span.start, find_end(span.end, PROVED, delays)) for span in found]

    def own_excuses(self) -> list[Span]:
        """Return the periods in which no next hop may be known to serve."""
        return [*self.without_hop, *self.hurt["agent"]]


def find_failing(journal: Sequence[Entry], check: str) -> Failing:
    """Return why and when a check could not pass."""
    part = f"check {check}"
    words = {FAILS: ("down", "up"), HANGS: ("silent", "answers"), BLIND: ("blind", "sees")}
    return [(why, span) for why, ends in words.items() for span in find_spans(journal, part, *ends)]


def _list_failed(
    failing: Failing, scarce: Sequence[Span] = (), still: Sequence[Span] = ()
) -> list[Span]:
    """List when a check may be false: what it cannot see counts after its deadline alone.

    That deadline stands still in the periods ``still``, and no run sees anything then.
    """
    seen = [
        Span(span.start, span.end + (2 * TIMEOUT if why == HANGS else 0.0))
        for why, span in failing
        if why != BLIND
    ]
    blind = merge([*(span for why, span in failing if why == BLIND), *scarce], gap=0.0)
    pauses = merge(still, gap=0.0)
    for whole in merge([*blind, *pauses], gap=1.0):
        passed = sum(each.overlap(whole.start, whole.end) for each in pauses)
        passed -= sum(each.overlap(whole.start, whole.end) for each in intersect(pauses, blind))
        if whole.length - passed > BLIND_DEADLINE - 1.0:
            seen.append(whole)
    return seen


def judge_checked(
    journal: Sequence[Entry],
    checked: Sequence[Sequence[Change]],
    chosen: Sequence[Sequence[Change]],
    *,
    began_at: float,
    ended_at: float,
    bounds: Bounds | None = None,
) -> Judgement:
    """Judge what was seen of both services from ``began_at`` to ``ended_at``.

    ``checked`` and ``chosen`` are all changes of their routes at each peer.
    """
    found = Judgement()
    when = (began_at, ended_at)
    it = CheckJudge(journal, bounds, "app", "run")
    for look in (find_stale, find_needless, find_hasty):
        _add(found, "checked", it, look, checked, when)
    for number, address in enumerate(NEXT_HOPS):
        by = [[_only(change, address) for change in own] for own in chosen]
        it = CheckJudge(journal, bounds, f"hop{number}")
        _add(found, f"chosen by {address}", it, find_stale, by, when)
    moved = [[change for change in own if change.route is not None] for own in chosen]
    _add(found, "chosen", MoveJudge(journal, bounds), find_needless, moved, when)
    gone = [[change for change in own if change.route is None] for own in chosen]
    _add(found, "chosen", WithdrawalJudge(journal, bounds), find_needless, gone, when)
    _add(found, "chosen", WithdrawalJudge(journal, bounds), find_hasty, chosen, when)
    return found


def _only(change: Change, address: str) -> Change:
    """Return a change as one who asks for routes by a next hop sees it."""
    other = change.route is not None and change.route.next_hop != address
    return replace(change, route=None) if other else change


def _add(
    found: Judgement,
    service: str,
    judge: Judge,
    look: Look,
    changes: Sequence[Sequence[Change]],
    when: tuple[float, float],
) -> None:
    """Add what ``look`` finds, with the service's name in each text."""
    own = Judgement()
    look(judge, changes, *when, own)
    found.violations += [text.replace(": ", f": {service}: ", 1) for text in own.violations]
    found.changes += own.changes
    for cause, seconds in own.stale.items():
        label = f"{service.split(maxsplit=1)[0]}: {cause}"
        found.stale[label] = max(found.stale.get(label, 0.0), seconds)
