"""Brief looks at a large backend, searched: single servers and HAProxy's own count, not all rows.

A `BriefWorld` is a `ServersWorld` whose agent asks as it does for a large backend.  HAProxy
announces what happens to servers (``Announced``), or it does not (``Silent``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from anycastd.decision.levels import Level
from anycastd.evidence.haproxy.brief_look import (
    WHOLE_EVERY,
    WHOLE_EVERY_POLLED,
    DisagreementError,
    choose_brief,
)
from anycastd.evidence.haproxy.query import Query, build_request
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.evidence.haproxy.stats import parse_answer
from search.haproxy_model import ModelServer, build_answer
from search.servers_world import ServersWorld, build_starts, try_servers

BRIEF_EVENTS = (
    "kill here",
    "revive",
    "maint 0",
    "maint 1",
    "swap 0",
    "swap 1",
    "bounce 1",
    "move 0",
    "gone 2",
    "found 2",
    "reload",
    "wait 0.5",
    "wait 2.5",
    "wait 12",
)


@dataclass(frozen=True, slots=True)
class BriefWorld(ServersWorld):
    """Servers of a large backend; ``asked`` are those at the last look."""

    asked: tuple[ModelServer, ...] = ()

    @classmethod
    def begin(cls) -> ServersWorld:
        """Build a world in which HAProxy and agent have just started, and all is well."""
        servers = ServersWorld.begin().servers
        return cls(servers=servers).take_look()

    def apply(self, event: str) -> ServersWorld:
        """Apply one event a moment later.

        ``swap N``: server N leaves, and all that are in maintenance come back, at once.
        """
        word, _, argument = event.partition(" ")
        now = self.now + 0.05
        if word != "swap":
            return ServersWorld.apply(replace(self, now=now), event)
        chosen = int(argument)
        servers = [
            each.leave(now, in_maintenance=True)
            if number == chosen
            else each.enter(now, in_maintenance=False)
            if each.in_maintenance
            else each
            for number, each in enumerate(self.servers)
        ]
        world = replace(self, now=now, servers=tuple(servers)).take_look()
        return replace(world, events=(*self.events, event))

    def take_look(self) -> ServersWorld:
        """Look at HAProxy and decide; raises InvariantError where an invariant does not hold."""
        after = ServersWorld.take_look(self)
        return replace(after, asked=self.servers)  # type: ignore[call-arg]

    def observe(self, query: Query) -> Snapshot:
        """Ask as a `Looker` does: briefly where that can be, and as a whole where it must be."""
        query = replace(query, brief_from=2)
        every = self.whole_every()
        while True:
            last = self.seen
            if last is not None and last.worker.pid != self.pid:
                last = None
            brief = {} if last is None else self.choose(last, query, every)
            request = build_request(query, last, brief)
            text = build_answer(
                self.servers, self.pid, self.worker_began_at, self.now, request.stats
            )
            try:
                return parse_answer(text, self.now, query, request, before=self.seen)
            except DisagreementError:
                every = 0.0

    def choose(self, last: Snapshot, query: Query, every: float) -> dict[str, tuple[int, ...]]:
        """Choose what to ask briefly."""
        return dict(choose_brief(last, query, {"web": self.list_named()}, self.now, every))

    def list_named(self) -> set[str]:
        """List the servers of which HAProxy has announced a change since the last look."""
        return {
            now.name
            for before, now in zip(self.asked, self.servers, strict=False)
            if before.is_up is not now.is_up
            or before.in_maintenance is not now.in_maintenance
            or (before.changed_at, before.address) != (now.changed_at, now.address)
        }

    def whole_every(self) -> float:
        """Return the seconds after which all rows are asked for."""
        return WHOLE_EVERY


@dataclass(frozen=True, slots=True)
class Silent(BriefWorld):
    """HAProxy announces nothing: two changes at once may hide for WHOLE_EVERY_POLLED seconds."""

    def list_named(self) -> set[str]:
        """List nothing."""
        return set()

    def whole_every(self) -> float:
        """Return the seconds after which all rows are asked for."""
        return WHOLE_EVERY_POLLED

    def check(self, level: Level, before: Level) -> Iterator[tuple[bool, str]]:
        """Check what holds of the number of servers at each look, and of each at whole ones."""
        assert self.seen is not None
        backend = self.seen.backends["web"]
        late = self.now - backend.asked_at
        yield late < WHOLE_EVERY_POLLED, "the last whole look is too old"
        if not late:
            yield from ServersWorld.check(self, level, before)
        shown = sum(each.usable is not Usable.NO for each in backend.servers)
        up = sum(each.is_up for each in self.servers)
        yield shown == up, "another number of servers than HAProxy has"
        yield bool(up) or level is Level.WITHDRAWN, "announced without a server"


def search_brief_looks(worlds: type[BriefWorld], depth: int = 3) -> None:
    """Try every sequence, the short ones first, from each start."""
    starts = build_starts(worlds)
    for steps in range(1, depth + 1):
        for start in ("serving", "dead"):
            try_servers(starts[start], steps, BRIEF_EVENTS)
