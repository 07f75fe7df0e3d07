"""Judge whether the peers saw only what the faults allow; pure.

Three kinds of violations are looked for:

*Stale*: while the appliance could not serve, or no agent could know whether it can, a peer had a
route for longer than the bound of that fault allows.  Only other faults at the same time extend
the bound, each by its own bound.

*Needless*: a peer's route changed although no fault allows a change.

*Hasty*: a route that no peer had any more came back with another path than the longest.  What a new
session gets from ExaBGP and loses again at once is none.

Each failed request of a client must be explained by the journal; otherwise the journal is wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.judge import Bounds, Judge
from chaos.spans import INF, find_route_spans, list_passing
from support.http_load import Request
from support.machine import Entry
from support.route_log import Change

STANDBY_LENGTH = 7
"""Number of ASNs of the path at standby."""


@dataclass(slots=True)
class Judgement:
    """The result: ``violations`` as text, and what was measured.

    ``stale``: cause -> longest time (s) for which a route outlived it, without pauses of the whole
    machine.  ``unexplained`` are the failed requests that the journal does not explain.
    """

    violations: list[str] = field(default_factory=list)
    stale: dict[str, float] = field(default_factory=dict)
    changes: int = 0
    failed: int = 0
    unexplained: list[Request] = field(default_factory=list)


def judge(
    journal: Sequence[Entry],
    changes: Sequence[Sequence[Change]],
    requests: Sequence[Request],
    *,
    began_at: float,
    ended_at: float,
    bounds: Bounds | None = None,
) -> Judgement:
    """Judge what was seen from ``began_at`` to ``ended_at``.

    ``changes`` are all changes of each peer, from the start of the machine.
    ``journal`` must begin at a time without a fault.
    """
    it = Judge(journal, bounds)
    found = Judgement()
    find_stale(it, changes, began_at, ended_at, found)
    find_needless(it, changes, began_at, ended_at, found)
    find_hasty(it, changes, began_at, ended_at, found)
    for request in requests:
        if request.error and began_at < request.sent_at < ended_at:
            found.failed += 1
            if not it.is_explained(request):
                found.unexplained.append(request)
    return found


def find_stale(
    it: Judge,
    changes: Sequence[Sequence[Change]],
    began_at: float,
    ended_at: float,
    found: Judgement,
) -> None:
    """Add each route to ``found`` that outlived one of the causes."""
    for name, span, bound in it.causes():
        if span.end < began_at or span.start > ended_at:
            continue
        allowed = it.allowed_seconds(name, span.start, bound)
        end = min(span.end, ended_at)
        for peer, own in enumerate(changes):
            # What comes later is another ExaBGP's: one that is stopped announces nothing.
            latest = span.start if name == "exabgp stopped" else end
            over = max(
                (
                    min(routed.end, end)
                    for routed in find_route_spans(own, ended_at)
                    if routed.overlap(span.start, end) and routed.start <= latest
                ),
                default=span.start,
            )
            stood = over - span.start
            own_time = stood - sum(pause.overlap(span.start, over) for pause in it.paused)
            label = name if allowed == bound else f"{name}, among other faults"
            found.stale[label] = max(found.stale.get(label, 0.0), own_time)
            if stood > allowed:
                found.violations.append(
                    f"stale: peer {peer} had the route {stood:.2f} s into '{name}' of "
                    f"{span.length:.2f} s; {allowed:.2f} s were allowed"
                )


def find_needless(
    it: Judge,
    changes: Sequence[Sequence[Change]],
    began_at: float,
    ended_at: float,
    found: Judgement,
) -> None:
    """Add each change to ``found`` that no fault allows."""
    for peer, (own, excuses) in enumerate(zip(changes, it.excuses(), strict=True)):
        for change in own:
            if not began_at < change.at < ended_at:
                continue
            found.changes += 1
            if not any(span.start <= change.at <= span.end for span in excuses):
                why = f" ({change.closed.detail or change.closed})" if change.closed else ""
                found.violations.append(
                    f"needless: peer {peer}'s route became '{change}'{why} "
                    f"at {change.at - began_at:.3f} s"
                )


def find_hasty(
    it: Judge,
    changes: Sequence[Sequence[Change]],
    began_at: float,
    ended_at: float,
    found: Judgement,
) -> None:
    """Add each route to ``found`` that came back with another path than the longest."""
    had = [False] * len(changes)
    lost = -INF
    passing = set(itertools.chain(*map(list_passing, changes)))
    for change in sorted((each for own in changes for each in own), key=lambda each: each.at):
        back = change.route is not None and not any(had)
        had[change.peer] = change.route is not None
        lost = lost if any(had) else change.at
        if not (back and change.asns != STANDBY_LENGTH and began_at < change.at < ended_at):
            continue
        if (change.peer, change.at) in passing:
            continue
        if any(
            span.start <= change.at <= span.end + it.bounds.slack for span in it.unseen_losses()
        ):
            continue
        if not any(span.overlaps(max(lost, change.at - 2.0), change.at) for span in it.unmanaged()):
            found.violations.append(
                f"hasty: no peer had a route, then peer {change.peer} had '{change}' "
                f"at {change.at - began_at:.3f} s"
            )
