"""What the journal of a chaos run allows; pure.

The journal says which part was dead, stopped or away, and when.  ``Judge`` knows from it when no
route may stand, for how long one may stand all the same, and when a route may change.
``violations`` compares that with what the peers saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from chaos.spans import (
    INF,
    Span,
    find_end,
    find_spans,
    find_touches,
    intersect,
    merge,
)
from support.http_load import Request
from support.machine import Entry

PARTS = ("agent", "lease", "exabgp")
SOCKET_CAUSES = ("haproxy dead", "haproxy stopped", "no server", "frontend closed", "no backend")
"""Causes that an agent without a connection to the stats socket cannot see."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Times of the profile and promised bounds, in seconds; ``slack`` allows for a busy machine."""

    ttl: float = 5.0
    deadline: float = 3.0
    hung: float = 5.0
    hold_time: float = 9.0
    slack: float = 0.5
    restart: float = 2.0
    """From an agent's start to its first pass, on an idle CPU."""
    checks: float = 0.6
    """Until HAProxy itself has found that a server is dead."""
    reload: float = 1.5
    """From the signal until the new worker serves."""
    short_hold_time: float = 6.0
    """What a peer chose that negotiates anew."""
    recovery: float = 8.0
    """From the end of a cause until everything is preferred again."""
    late: float = 1.0
    """For how long after its cause a request may fail."""

    def scale(self, factor: float) -> Bounds:
        """Return the bounds for a machine on which much else runs: what takes CPU takes longer."""
        names = ("slack", "restart", "checks", "reload", "recovery", "late")
        return replace(self, **{name: getattr(self, name) * factor for name in names})


class Judge:
    """The periods of one journal, and what they allow."""

    def __init__(self, journal: Sequence[Entry], bounds: Bounds | None = None) -> None:
        self.bounds = it = bounds or Bounds()
        self.dead = find_spans(journal, "haproxy", "down", "up")
        self.frozen = find_spans(journal, "haproxy", "stop", "cont")
        # A server that is dead, or in maintenance, or both.
        self.servers = [
            merge(
                [
                    span
                    for part in (f"server {number}", f"maintenance {number}")
                    for span in find_spans(journal, part, "down", "up")
                ],
                gap=0.0,
            )
            for number in (0, 1)
        ]
        self.serverless = intersect(*self.servers)
        self.reloads = find_touches(journal, "haproxy", 1.0)
        self.storms = find_spans(journal, "haproxy", "storm", "calm")
        self.scarce = find_spans(journal, "haproxy", "scarce", "free")
        self.nameless = find_spans(journal, "backend", "down", "up")
        self.closed = find_spans(journal, "frontend", "down", "up")
        self.failed_reloads = find_spans(journal, "reload", "down", "up")
        self.leftovers = find_spans(journal, "leftover", "up", "down")
        self.lost = find_spans(journal, "socket", "down", "up")
        self.slow = {part: find_spans(journal, part, "slow", "fast") for part in PARTS}
        self.hurt = {part: find_spans(journal, part, "hurt", "whole") for part in PARTS}
        self.short_hold = find_spans(journal, "hold time", "short", "long")
        self.cluttered = find_spans(journal, "cli", "down", "up")
        self.full = find_spans(journal, "haproxy", "full", "free")
        self.starved = find_spans(journal, "cpu", "down", "up")
        self.paused = find_spans(journal, "machine", "stop", "cont")
        self.vip = find_touches(journal, "vip", 0.0)
        self.agent_killed = self.list_starts(find_touches(journal, "agent", 0.0))
        self.agent_held = find_spans(journal, "agent", "down", "up")
        self.agent_away = self.list_starts(self.agent_held)
        self.agent_stopped = find_spans(journal, "agent", "stop", "cont")
        self.lease_killed = [
            Span(span.start, find_end(span.start, 1.0, self.paused))
            for span in find_touches(journal, "lease", 0.0)
        ]
        # It is found by its silence, but those who listen may be paused as well.
        self.lease_stopped = [
            Span(span.start, min(span.end, find_end(span.start, it.hung + 1.5, self.paused)))
            for span in find_spans(journal, "lease", "stop", "cont")
        ]
        self.exabgp_killed = find_touches(journal, "exabgp", 0.0)
        self.exabgp_stopped = find_spans(journal, "exabgp", "stop", "cont")
        self.away = [find_spans(journal, f"peer {number}", "down", "up") for number in (0, 1)]
        self.agent_ended = merge([*self.agent_killed, *self.agent_away], gap=0.3)
        self.agentless = merge([*self.agent_ended, *self.agent_stopped], gap=0.3)

    def list_starts(self, gone: Iterable[Span]) -> list[Span]:
        """Return the periods until another agent has done its first pass.

        It starts after each of ``gone``.  A pause delays it, and so does a CPU that is starved.
        """
        return [
            Span(
                span.start,
                find_end(span.end, self.bounds.restart, self.paused)
                + 2.0 * any(each.overlaps(span.end, span.end + 1.0) for each in self.starved),
            )
            for span in gone
        ]

    # Stale ----------------------------------------------------------------------------------------

    def causes(self) -> list[tuple[str, Span, float]]:
        """Return why no route may stand: (cause, period, bound in s without other faults)."""
        it = self.bounds
        found = self.own_causes()
        ends = [*self.agent_held, *self.agent_stopped]
        found += [("no agent", span, it.ttl + it.slack) for span in ends]
        for span in self.exabgp_stopped:
            # Its lease process ends it; without one the peer's own hold time is left.
            leases = [*self.lease_killed, *self.lease_stopped]
            alone = any(each.overlaps(span.start, span.start + it.hung) for each in leases)
            found.append(
                ("exabgp stopped", span, (it.hold_time if alone else it.hung) + 2 * it.slack)
            )
        return found

    def own_causes(self) -> list[tuple[str, Span, float]]:
        """Return those of ``causes`` that are of what the service needs to serve."""
        it = self.bounds
        found = [("haproxy dead", span, it.slack) for span in self.dead]
        found += [("no server", span, it.checks + it.slack) for span in self.serverless]
        found += [("frontend closed", span, it.slack) for span in self.closed]
        found += [("no backend", span, it.slack) for span in self.nameless]
        silent = it.deadline + min(it.deadline / 3, it.ttl / 4) + it.slack
        found += [("haproxy stopped", span, silent) for span in self.frozen]
        # What its event stream said just before counts as its last word.
        found += [("stats socket lost", span, silent + 0.5) for span in self.lost]
        return found

    def allowed_seconds(self, cause: str, start: float, bound: float) -> float:
        """Return for how many seconds after ``start`` a route may stand, with all other faults."""
        total = bound
        while True:
            more = bound + self._extensions(cause, start, start + total)
            if more <= total:
                return total
            total = more

    def _extensions(self, cause: str, start: float, end: float) -> float:
        it = self.bounds
        agentless = any(span.overlaps(start, end) for span in self.agentless)
        # A route that only an agent would withdraw stands for one more lease without an agent.
        inherited = it.ttl if agentless else 0.0
        more: list[tuple[Iterable[Span], Callable[[Span], float]]] = [
            (self.lease_killed, lambda _: 1.0 + inherited),
            (self.lease_stopped, lambda span: min(span.length, it.hung) + 1.0 + inherited),
            (self.exabgp_stopped, lambda span: min(left(span), it.hung + 0.5) + 0.5),
            (self.hurt["lease"], lambda span: min(left(span), it.hung) + 1.0 + inherited),
            (self.hurt["exabgp"], lambda span: min(left(span), it.hung) + 0.5),
        ]
        always: list[tuple[Iterable[Span], Callable[[Span], float]]] = [
            (self.paused, lambda span: left(span) + 0.5),
            (self.starved, lambda _: 2.0),
            *((found, lambda _: 1.5) for found in self.slow.values()),
        ]

        def left(span: Span) -> float:
            return span.overlap(start, INF)

        if cause == "exabgp stopped":  # the agent cannot shorten it
            more = []
        elif cause != "no agent":
            more += [(found, left) for found in self.unseeing(cause)]
            again = self.begins_anew(cause)
            # One that was stopped knows what it knew; one that is hurt may end.
            more.append((self.agent_stopped, lambda span: min(left(span), it.ttl + it.slack)))
            for found in (self.agent_ended, self.hurt["agent"]):
                more.append((found, lambda span: min(left(span), it.ttl + it.slack) + again))
            if cause in SOCKET_CAUSES:
                more.append((self.cluttered, lambda span: left(span) + 1.0))
        if cause in ("no server", "frontend closed", "no backend"):
            more.append((self.frozen, lambda span: min(left(span), it.deadline + 1.0) + 1.0))
        if cause == "no server":
            more.append((self.reloads, lambda _: it.reload))
            # Each worker is believed until it has checked its servers.
            more.append((self.storms, lambda span: left(span) + it.reload))
        return sum(
            seconds(span)
            for found, seconds in (*more, *always)
            for span in found
            if span.overlaps(start, end)
        )

    def begins_anew(self, cause: str) -> float:  # noqa: ARG002 - of checks only
        """Return for how many seconds an agent that starts anew has to look at this cause."""
        return 0.0

    def unseeing(self, cause: str) -> list[list[Span]]:  # noqa: ARG002 - of checks only
        """Return the periods in which an agent that runs cannot see this cause."""
        return []

    # Needless -------------------------------------------------------------------------------------

    def excuses(self) -> list[list[Span]]:
        """Return for each peer the periods in which its route may change."""
        it = self.bounds
        all_peers = [*self.own_excuses(), *self.exabgp_killed, *self.hurt["exabgp"]]
        slow = 2.0 if self.starved else 0.0
        chain = [
            Span(
                span.start,
                span.end + slow * any(each.overlaps(*_ends(span)) for each in self.starved),
            )
            for span in (
                *(*self.agentless, *self.lease_killed, *self.lease_stopped),
                *(span for part in ("agent", "lease") for span in self.hurt[part]),
                *(span for found in self.slow.values() for span in found),
            )
        ]
        all_peers += [span for span in merge(chain, gap=0.3) if span.length > 0.65 * it.ttl]
        all_peers += [span for span in self.exabgp_stopped if span.length > it.hung - 2.0]
        all_peers += self._overslept()
        # A peer that is back may take as long as ExaBGP's next attempt to connect.
        absent = [[Span(span.start, span.end + 6.5) for span in away] for away in self.away]
        all_peers += intersect(*absent)
        delays = self.delays()
        return [
            merge(
                [
                    Span(span.start, find_end(span.end, it.recovery, delays, 1.0))
                    for span in (*all_peers, *peer)
                ],
                gap=0.0,
            )
            for peer in absent
        ]

    def delays(self) -> list[Span]:
        """Return the periods in which no recovery goes on: nobody can prove or announce."""
        weak = [
            span for part in ("agent", "lease") for span in (*self.slow[part], *self.hurt[part])
        ]
        gone = [*self.agentless, *self.lease_killed, *self.lease_stopped, *self.exabgp_stopped]
        return [*gone, *weak, *self.paused, *self.frozen, *self.cluttered]

    def own_excuses(self) -> list[Span]:
        """Return the periods in which what the service needs to serve may fail."""
        found = [*self.dead, *self.serverless]
        found += [*self.closed, *self.failed_reloads, *self.nameless]
        # An agent whose calls fail gets no answer either.
        unseen = merge([*self.frozen, *self.cluttered, *self.hurt["agent"]], gap=1.0)
        return found + [span for span in unseen if span.length > self.bounds.deadline - 1.0]

    def _overslept(self) -> list[Span]:
        """Return the pauses that are too long for BGP itself, merged with those shortly before.

        The last keepalive before a pause may be a third of the hold time old.
        """
        whole = merge(self.paused, gap=0.5)
        return [span for span in whole if span.length > self._hold_time(span) * 2 / 3 - 0.5]

    def _hold_time(self, span: Span) -> float:
        it = self.bounds
        # The session with it may live for a moment longer.
        short = any(span.overlaps(each.start, each.end + 6.5) for each in self.short_hold)
        return min(it.hold_time, it.short_hold_time) if short else it.hold_time

    def unseen_losses(self) -> list[Span]:
        """Return the periods after which ExaBGP may have its sessions again before the agent runs.

        It waits a second before it connects again: too short for an agent that is paused once more
        meanwhile, or that gets little CPU.
        """
        return [
            span
            for span in self.paused
            if any(other.end <= span.start <= other.end + 2.0 for other in self.paused)
            or any(each.overlaps(span.start - 2.0, span.end + 1.0) for each in self.starved)
        ]

    def unmanaged(self) -> list[Span]:
        """Return the periods in which no process could give ExaBGP another path."""
        weak = [span for part in PARTS for span in (*self.slow[part], *self.hurt[part])]
        gone = [*self.agentless, *self.lease_killed, *self.lease_stopped, *self.exabgp_stopped]
        # An agent that starts while the CPU is starved may find the sessions up already.
        late = [
            Span(span.start, span.end + 5.0)
            for span in self.agentless
            if any(each.overlaps(*_ends(span)) for each in self.starved)
        ]
        return [*gone, *weak, *late]

    # The clients ----------------------------------------------------------------------------------

    def is_explained(self, request: Request) -> bool:
        """Return whether the journal explains why a request failed."""
        starved = any(span.overlaps(request.sent_at - 1, request.sent_at) for span in self.starved)
        late = self.bounds.late * (2.5 if starved else 1.0)
        start, end = request.sent_at - late, request.sent_at + request.duration + 0.1
        reasons = [*self.dead, *self.full, *self.reloads, *self.servers[0], *self.servers[1]]
        reasons += [*self.storms, *self.scarce, *self.nameless, *self.closed, *self.leftovers]
        reasons += self.failed_reloads
        if any(span.overlaps(start, end) for span in reasons):
            return True
        # Afterwards all requests that waited reach the servers at once.
        if any(span.overlaps(start - 3.0, end) for span in (*self.frozen, *self.paused)):
            return True
        for span in self.vip:
            # Only an agent puts the VIP back.
            agents = [each.end for each in self.agentless if each.overlaps(*_ends(span))]
            # It may start together with the speaker, after a pause.
            put_back_at = max(agents) + self.bounds.restart if agents else span.end
            if Span(span.start, put_back_at + late).overlaps(start, end):
                return True
        return False


def _ends(span: Span) -> tuple[float, float]:
    return span.start, span.end
