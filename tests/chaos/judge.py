"""Whether what the peers saw was right: from what was done to what may have been seen; pure.

The truth is the journal's: who was dead, stopped, away, and when.  Three questions
are asked.

*Stale*: while the appliance could not serve, or nobody could know whether it can, a peer held its
route for longer than the bound of that fault allows.  Another fault at the same time may make it
take longer, by what that fault's own bound is; nothing else may.

*Needless*: a peer's route changed although nothing was wrong that it may change for.

*Hasty*: a route that nobody had any more came back at another path than the longest.

And the clients' failures must be explained by the journal, or the journal is not the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from support.http_load import Request
from support.machine import Entry
from support.route_log import Change

INF = float("inf")
LONGEST = 7
"""ASNs of the path at standby."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the profile says and what is promised, in seconds; ``slack`` is for a noisy machine."""

    ttl: float = 5.0
    deadline: float = 3.0
    hung: float = 5.0
    hold: float = 9.0
    slack: float = 0.5
    again: float = 2.0
    """An agent's start, until its first pass, with nobody else on the CPU."""
    back: float = 8.0
    """From the end of a cause until everything is preferred again."""


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` to ``end`` this was so (``time.monotonic()``)."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start

    def meets(self, start: float, end: float) -> bool:
        """Whether it overlaps."""
        return self.start <= end and self.end >= start

    def within(self, start: float, end: float) -> float:
        """Seconds of it in another span."""
        return max(0.0, min(self.end, end) - max(self.start, start))


@dataclass(slots=True)
class Judgement:
    """``violations`` in words.

    ``stale`` is the longest time (s) that a route outlived a cause, pauses of the whole machine
    left out.  ``unexplained`` are failed requests that the journal does not explain.
    """

    violations: list[str] = field(default_factory=list)
    stale: dict[str, float] = field(default_factory=dict)
    changes: int = 0
    failed: int = 0
    unexplained: list[Request] = field(default_factory=list)


def spans(journal: Sequence[Entry], part: str, start: str, end: str) -> list[Span]:
    """When ``part`` was in a state that ``start`` begins and ``end`` ends."""
    found: list[Span] = []
    since: float | None = None
    for entry in journal:
        if entry.part != part:
            continue
        if entry.what == start and since is None:
            since = entry.at
        elif entry.what == end and since is not None:
            found.append(Span(since, entry.at))
            since = None
    return found if since is None else [*found, Span(since, INF)]


def touches(journal: Sequence[Entry], part: str, lasts: float) -> list[Span]:
    """When ``part`` was disturbed for a moment."""
    return [
        Span(entry.at, entry.at + lasts)
        for entry in journal
        if entry.part == part and entry.what == "touch"
    ]


def both(first: Iterable[Span], second: Sequence[Span]) -> list[Span]:
    """When both were so."""
    return [
        Span(max(one.start, other.start), min(one.end, other.end))
        for one in first
        for other in second
        if one.meets(other.start, other.end)
    ]


def merged(found: Iterable[Span], gap: float) -> list[Span]:
    """Spans that follow each other by at most ``gap`` seconds are one."""
    whole: list[Span] = []
    for span in sorted(found, key=lambda span: span.start):
        if whole and span.start - whole[-1].end <= gap:
            whole[-1] = Span(whole[-1].start, max(whole[-1].end, span.end))
        else:
            whole.append(span)
    return whole


class Judge:
    """One journal, read for both questions."""

    def __init__(self, journal: Sequence[Entry], bounds: Bounds | None = None) -> None:
        self.bounds = it = bounds or Bounds()
        self.dead = spans(journal, "haproxy", "down", "up")
        self.frozen = spans(journal, "haproxy", "stop", "cont")
        self.servers = [spans(journal, f"server {number}", "down", "up") for number in (0, 1)]
        self.serverless = both(*self.servers)
        self.reloads = touches(journal, "haproxy", 1.0)
        self.cluttered = spans(journal, "cli", "down", "up")
        self.full = spans(journal, "haproxy", "full", "free")
        self.starved = spans(journal, "cpu", "down", "up")
        self.paused = spans(journal, "machine", "stop", "cont")
        self.vip = touches(journal, "vip", 0.0)
        self.agent_killed = touches(journal, "agent", it.again)
        self.agent_held = spans(journal, "agent", "down", "up")
        self.agent_away = [Span(span.start, span.end + it.again) for span in self.agent_held]
        self.agent_stopped = spans(journal, "agent", "stop", "cont")
        self.lease_killed = touches(journal, "lease", 1.0)
        self.lease_stopped = [
            Span(span.start, min(span.end, span.start + it.hung + 1.5))
            for span in spans(journal, "lease", "stop", "cont")
        ]
        self.exabgp_killed = touches(journal, "exabgp", 0.0)
        self.exabgp_stopped = spans(journal, "exabgp", "stop", "cont")
        self.away = [spans(journal, f"peer {number}", "down", "up") for number in (0, 1)]
        self.agentless = merged(
            [*self.agent_killed, *self.agent_away, *self.agent_stopped], gap=0.3
        )

    # Stale ----------------------------------------------------------------------------------------

    def causes(self) -> list[tuple[str, Span, float]]:
        """Why no route may stand: what, when, and the bound (s) when nothing else is wrong."""
        it = self.bounds
        found = [("haproxy dead", span, it.slack) for span in self.dead]
        found += [("no server", span, it.slack) for span in self.serverless]
        look = min(it.deadline / 3, it.ttl / 4)
        found += [("haproxy stopped", span, it.deadline + look + it.slack) for span in self.frozen]
        ends = [*self.agent_held, *self.agent_stopped]
        found += [("no agent", span, it.ttl + it.slack) for span in ends]
        for span in self.exabgp_stopped:
            # Its lease process ends it; without one the peer's own hold time is left.
            leases = [*self.lease_killed, *self.lease_stopped]
            alone = any(each.meets(span.start, span.start + it.hung) for each in leases)
            found.append(("exabgp stopped", span, (it.hold if alone else it.hung) + 2 * it.slack))
        return found

    def allowed(self, cause: str, start: float, bound: float) -> float:
        """Seconds after ``start`` for which a route may stand, all other faults considered."""
        total = bound
        while True:
            more = bound + self._extensions(cause, start, start + total)
            if more <= total:
                return total
            total = more

    def _extensions(self, cause: str, start: float, end: float) -> float:
        it = self.bounds
        agentless = any(span.meets(start, end) for span in self.agentless)
        # What an agent that is there says no to lasts for one lease more where there is none.
        inherited = it.ttl if agentless else 0.0
        more: list[tuple[Iterable[Span], Callable[[Span], float]]] = [
            (self.lease_killed, lambda _: 1.0 + inherited),
            (self.lease_stopped, lambda span: min(span.length, it.hung) + 1.0 + inherited),
            (self.exabgp_stopped, lambda span: min(left(span), it.hung + 0.5) + 0.5),
            (self.paused, lambda span: left(span) + 0.5),
            (self.starved, lambda _: 2.0),
        ]

        def left(span: Span) -> float:
            return span.within(start, INF)

        if cause == "exabgp stopped":  # what an agent wants is of no use to it
            more = more[3:]
        elif cause != "no agent":
            more.append((self.agentless, lambda span: min(left(span), it.ttl + it.slack)))
            more.append((self.cluttered, lambda span: left(span) + 1.0))
        if cause == "no server":
            more.append((self.frozen, lambda span: min(left(span), it.deadline + 1.0) + 1.0))
            more.append((self.reloads, lambda _: 1.5))
        return sum(
            seconds(span) for found, seconds in more for span in found if span.meets(start, end)
        )

    # Needless -------------------------------------------------------------------------------------

    def excuses(self) -> list[list[Span]]:
        """For each of the peers: when its route may change."""
        it = self.bounds
        everybody = [*self.dead, *self.serverless, *self.exabgp_killed]
        unseen = merged([*self.frozen, *self.cluttered], gap=1.0)
        everybody += [span for span in unseen if span.length > it.deadline - 1.0]
        slow = 2.0 if self.starved else 0.0
        chain = [
            Span(
                span.start, span.end + slow * any(each.meets(*_ends(span)) for each in self.starved)
            )
            for span in (*self.agentless, *self.lease_killed, *self.lease_stopped)
        ]
        everybody += [span for span in merged(chain, gap=0.3) if span.length > 0.65 * it.ttl]
        everybody += [span for span in self.exabgp_stopped if span.length > it.hung - 2.0]
        everybody += self._overslept()
        # A peer that is back may take as long as ExaBGP's next attempt to connect.
        absent = [[Span(span.start, span.end + 6.5) for span in away] for away in self.away]
        everybody += both(*absent)
        return [
            merged([Span(span.start, span.end + it.back) for span in (*everybody, *peer)], gap=0.0)
            for peer in absent
        ]

    def _overslept(self) -> list[Span]:
        """Pauses that BGP itself does not survive: with those shortly before, near the hold time.

        The last keepalive before a pause may be a third of the hold time old.
        """
        it = self.bounds
        whole = merged(self.paused, gap=0.5)
        return [span for span in whole if span.length > it.hold * 2 / 3 - 0.5]

    def mute(self) -> list[Span]:
        """When nobody was there who could tell ExaBGP of another path."""
        return [*self.agentless, *self.lease_killed, *self.lease_stopped, *self.exabgp_stopped]

    # The clients ----------------------------------------------------------------------------------

    def explained(self, request: Request) -> bool:
        """Whether the journal explains why a request failed."""
        starved = any(span.meets(request.at - 1, request.at) for span in self.starved)
        late = 2.5 if starved else 1.0
        start, end = request.at - late, request.at + request.took + 0.1
        reasons = (*self.dead, *self.full, *self.reloads, *self.servers[0], *self.servers[1])
        if any(span.meets(start, end) for span in reasons):
            return True
        # What had waited meanwhile floods the servers afterwards.
        if any(span.meets(start - 3.0, end) for span in (*self.frozen, *self.paused)):
            return True
        for span in self.vip:
            # Without an agent nobody puts the VIP back.
            until = max((a.end for a in self.agentless if a.meets(*_ends(span))), default=span.end)
            if Span(span.start, until + late).meets(start, end):
                return True
        return False


def _ends(span: Span) -> tuple[float, float]:
    return span.start, span.end


def judge(
    journal: Sequence[Entry],
    changes: Sequence[Sequence[Change]],
    requests: Sequence[Request],
    *,
    since: float,
    until: float,
    bounds: Bounds | None = None,
) -> Judgement:
    """Judge what was seen from ``since`` to ``until``; ``changes`` are each peer's from the start.

    ``journal`` must reach back to a time when all was well.
    """
    it = Judge(journal, bounds)
    found = Judgement()
    _stale(it, changes, since, until, found)
    _needless(it, changes, since, until, found)
    _hasty(it, changes, since, until, found)
    for request in requests:
        if request.wrong and since < request.at < until:
            found.failed += 1
            if not it.explained(request):
                found.unexplained.append(request)
    return found


def _stale(
    it: Judge, changes: Sequence[Sequence[Change]], since: float, until: float, found: Judgement
) -> None:
    for name, span, bound in it.causes():
        if span.end < since or span.start > until:
            continue
        allowed = it.allowed(name, span.start, bound)
        end = min(span.end, until)
        for peer, own in enumerate(changes):
            # What comes later is another ExaBGP's: one that is stopped announces nothing.
            latest = span.start if name == "exabgp stopped" else end
            over = max(
                (
                    min(held.end, end)
                    for held in _held(own, until)
                    if held.within(span.start, end) and held.start <= latest
                ),
                default=span.start,
            )
            stood = over - span.start
            own_time = stood - sum(pause.within(span.start, over) for pause in it.paused)
            told = name if allowed == bound else f"{name}, among other faults"
            found.stale[told] = max(found.stale.get(told, 0.0), own_time)
            if stood > allowed:
                found.violations.append(
                    f"stale: peer {peer} had the route {stood:.2f} s into '{name}' of "
                    f"{span.length:.2f} s; {allowed:.2f} s were allowed"
                )


def _needless(
    it: Judge, changes: Sequence[Sequence[Change]], since: float, until: float, found: Judgement
) -> None:
    for peer, (own, excuses) in enumerate(zip(changes, it.excuses(), strict=True)):
        for change in own:
            if not since < change.at < until:
                continue
            found.changes += 1
            if not any(span.start <= change.at <= span.end for span in excuses):
                why = f" ({change.closed.why or change.closed})" if change.closed else ""
                found.violations.append(
                    f"needless: peer {peer}'s route became '{change}'{why} "
                    f"at {change.at - since:.3f} s"
                )


def _hasty(
    it: Judge, changes: Sequence[Sequence[Change]], since: float, until: float, found: Judgement
) -> None:
    had = [False] * len(changes)
    lost = -INF
    for change in sorted((each for own in changes for each in own), key=lambda each: each.at):
        back = change.route is not None and not any(had)
        had[change.peer] = change.route is not None
        lost = lost if any(had) else change.at
        if not (back and change.asns != LONGEST and since < change.at < until):
            continue
        if not any(span.meets(max(lost, change.at - 2.0), change.at) for span in it.mute()):
            found.violations.append(
                f"hasty: nobody had a route, then peer {change.peer} had '{change}' "
                f"at {change.at - since:.3f} s"
            )


def _held(changes: Sequence[Change], until: float) -> list[Span]:
    """When a peer had a route."""
    found: list[Span] = []
    since: float | None = None
    for change in changes:
        if change.route is not None and since is None:
            since = change.at
        elif change.route is None and since is not None:
            found.append(Span(since, change.at))
            since = None
    return found if since is None else [*found, Span(since, until)]
