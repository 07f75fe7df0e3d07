"""HAProxy's servers, looks at them, and the decision: all that may happen to servers.

A `ServersWorld` is an immutable value.  After each event, and as time passes, one look is taken at
the model of HAProxy (``haproxy_model``) and one decision is made, and both are compared with what
the model knows.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from anycastd.decision.caps import Context
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.policy import decide_level
from anycastd.decision.verdict import judge_service
from anycastd.evidence.finding import OVERRULE_AFTER
from anycastd.evidence.haproxy.check_results import CHECK_WITHIN
from anycastd.evidence.haproxy.judged_rows import LEFT_COUNTS_FOR
from anycastd.evidence.haproxy.query import Query
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.evidence.haproxy.stats import parse_answer
from anycastd.evidence.sources import Evidence
from search.effort import InvariantError
from search.haproxy_model import INTER, ModelServer, build_answer
from support.profiles import profile

HERE, THERE = "10.0.3.4:80", "10.0.3.5:80"
STEP, LONG_STEP = 0.5, 5.0
"""Seconds between two looks, in short waits and in long ones."""
SETTLING = 10.0
"""Seconds after a worker's start in which names are resolved again."""
EVENTS = (
    "kill here",
    "kill there",
    "revive",
    "maint 0",
    "ready 0",
    "maint 1",
    "ready 1",
    "bounce 0",
    "move 0",
    "move 1",
    "gone 2",
    "found 2",
    "reload",
    "wait 0.5",
    "wait 2.5",
    "wait 61",
)
STORM_EVENTS = ("reload slowly", "wait 61", "storm", "kill here", "revive", "reload", "wait 2.5")
SLOW_CHECKS = 400.0
"""Seconds after a reload in which the checks of most servers do not come."""
SERVERS = (
    ModelServer("s0"),
    ModelServer("s1", fall=1),
    ModelServer("s2"),
    ModelServer("slot", address=""),
)
WATCHED = Context(session_up=True, vip_present=True, leased_level=Level.WITHDRAWN)


@dataclass(frozen=True, slots=True)
class ServersWorld:
    """The servers at ``now`` (own time, seconds), and what the agent makes of them.

    ``alive`` are the addresses at which something answers.  ``proved_at`` is when the service was
    last certain to have a server, as the model knows it, ``doubted_at`` since when it is not
    certain.  ``events`` is what has happened until now, for messages.
    """

    servers: tuple[ModelServer, ...] = SERVERS
    alive: frozenset[str] = frozenset({HERE, THERE})
    now: float = 1000.0
    pid: int = 1
    worker_began_at: float = 1000.0
    checked_until: float = 1000.0
    seen: Snapshot | None = None
    memory: Memory = field(default_factory=Memory)
    was_serving: bool = False
    doubted_at: float | None = None
    events: tuple[str, ...] = ()

    @classmethod
    def begin(cls) -> ServersWorld:
        """Build a world in which HAProxy and agent have just started, and all is well."""
        servers = tuple(each.restart(1000.0) for each in SERVERS)
        return cls(servers=servers).take_look()

    def apply(self, event: str) -> ServersWorld:
        """Apply one event, look at HAProxy and decide; raises InvariantError."""
        word, _, argument = event.partition(" ")
        if word == "wait":
            world = self.pass_time(float(argument))
        elif word == "storm":
            world = self
            for _ in range(140):  # faster than the checks, and longer than anything is waited for
                world = world.reload()
                world = replace(world, now=world.now + LONG_STEP).take_look()
        elif word == "reload":
            world = self.reload(SLOW_CHECKS if argument else 3 * INTER)
        elif word in {"kill", "revive"}:
            gone = {"here": {HERE}, "there": {THERE}, "": set[str]()}[argument]
            alive = self.alive - gone if gone else frozenset({HERE, THERE})
            world = replace(self, alive=alive).take_look()
        else:
            world = self._change(word, int(argument))
        return replace(world, events=(*self.events, event))

    def _change(self, word: str, number: int) -> ServersWorld:
        server, now = self.servers[number], self.now
        match word:
            case "maint":
                server = server.leave(now, in_maintenance=True)
            case "ready" if server.in_maintenance:
                server = server.enter(now, in_maintenance=False)
            case "bounce" if not server.in_maintenance:
                server = server.leave(now, in_maintenance=True)
                server = server.enter(now, in_maintenance=False)
            case "move" if server.address:
                server = server.move(now, THERE if server.address == HERE else HERE)
            case "gone" if server.address:
                server = server.leave(now, address="")
            case "found" if not server.address:
                server = server.enter(now, address=HERE)
        servers = list(self.servers)
        servers[number] = server
        return replace(self, servers=tuple(servers)).take_look()

    def reload(self, checked_after: float = 3 * INTER) -> ServersWorld:
        """Replace the worker; only the first server is checked at once."""
        now = self.now
        servers = tuple(each.restart(now) for each in self.servers)
        # The first server is checked at once, the others after a while, as HAProxy spreads them.
        servers = (servers[0].check(alive=servers[0].address in self.alive), *servers[1:])
        return replace(
            self,
            servers=servers,
            pid=self.pid + 1,
            worker_began_at=now,
            checked_until=now + checked_after,
        ).take_look()

    def pass_time(self, seconds: float) -> ServersWorld:
        """Let time pass, with checks and looks; ``seconds`` of own time."""
        world, end = self, self.now + seconds
        step = STEP if seconds < 2 * LONG_STEP else LONG_STEP
        while world.now < end:
            world = replace(world, now=min(end, world.now + step))
            rounds = math.floor((world.now - world.checked_until) / INTER)
            if rounds > 0:  # further rounds in between would find the same
                servers = world.servers
                for _ in range(min(rounds, 4)):
                    servers = tuple(s.check(alive=s.address in world.alive) for s in servers)
                at = world.checked_until + INTER * rounds
                world = replace(world, servers=servers, checked_until=at)
            world = world.take_look()
        return world

    def take_look(self) -> ServersWorld:
        """Look at HAProxy and decide; raises InvariantError where an invariant does not hold."""
        now, its = self.now, profile()
        seen = self.observe(Query.from_profile(its, "main"))
        service = its.services["web"]
        world, evidence = self.gather(seen)
        verdict = judge_service(its, service, evidence, now)
        decision, memory = decide_level(service, verdict, WATCHED, self.memory, now)
        serving = sum(each.passed and each.is_up for each in self.servers) > 0
        possible = any(each.is_up for each in self.servers)
        doubted = self.doubted_at if self.doubted_at is not None else now
        after = replace(
            world,
            seen=seen,
            memory=memory,
            was_serving=serving or (possible and self.was_serving),
            doubted_at=max(doubted, self.worker_began_at) if possible and not serving else None,
        )
        for holds, problem in after.check(decision.level, self.memory.level):
            if not holds:
                raise InvariantError(f"{problem}: {decision.level.label} at {now:g} s")
        return after

    def observe(self, query: Query) -> Snapshot:
        """Ask the model of HAProxy."""
        text = build_answer(self.servers, self.pid, self.worker_began_at, self.now)
        return parse_answer(text, self.now, query, before=self.seen)

    def gather(self, seen: Snapshot) -> tuple[ServersWorld, Evidence]:
        """Gather what is known besides: here the look alone."""
        return self, Evidence({"main": seen})

    # The invariants -------------------------------------------------------------------------------

    def check(self, level: Level, before: Level) -> Iterator[tuple[bool, str]]:
        """Check each invariant; ``before`` is the level before this look."""
        assert self.seen is not None
        found = {each.name: each for each in self.seen.backends["web"].servers}
        for server in self.servers:
            usable = found[server.name].usable
            is_old = server.hidden and self.now - server.changed_at >= CHECK_WITHIN
            proved = server.is_up and (server.passed or (is_old and server.result == "L4OK"))
            yield usable is not Usable.YES or proved, f"{server.name} counts without a check"
            late = server.hidden and not is_old
            fine = server.is_up and server.passed
            yield usable is Usable.YES or not fine or late, f"{server.name} does not count"
            yield (usable is Usable.NO) is not server.is_up, f"{server.name} is up, or is not"
        total = sum(self._is_in_share(each) for each in self.servers)
        yield self.seen.backends["web"].counts.active == total, "a share of other servers"
        yield self._may_announce(level, before), "announced, and no check has passed"
        lost = not any(each.is_up for each in self.servers)
        yield not lost or level is Level.WITHDRAWN, "announced without a server"

    def _is_in_share(self, server: ModelServer) -> bool:
        gone_for = self.now - server.began_at
        # Slots lose the address that they began with, so what leaves at once was one.
        at_once = server.began_at - self.worker_began_at <= SETTLING and server.times_gone == 1
        if not server.address and (at_once or gone_for >= LEFT_COUNTS_FOR):
            return False
        return server.served

    def _may_announce(self, level: Level, before: Level) -> bool:
        if level <= before or before is not Level.WITHDRAWN or self.was_serving:
            return True
        if self._has_old_results():
            return True
        return self.doubted_at is not None and self.now - self.doubted_at >= OVERRULE_AFTER

    def _has_old_results(self) -> bool:
        """Tell whether a server counts because nothing shows that its result is old."""
        return any(
            each.hidden and each.is_up and self.now - each.changed_at >= CHECK_WITHIN
            for each in self.servers
        )


def try_servers(world: ServersWorld, depth: int, events: tuple[str, ...]) -> int:
    """Try every sequence of up to ``depth`` events; returns how many were tried."""
    worlds = [world]
    tried = 0
    for _ in range(depth):
        reached = []
        for each in worlds:
            for event in events:
                with note_events(each, event):
                    reached.append(each.apply(event))
        worlds = reached
        tried += len(reached)
    return tried


def search_servers(worlds: type[ServersWorld]) -> None:
    """Try every sequence, the short ones first, from each start."""
    starts = build_starts(worlds).values()
    for depth in (1, 2, 3):
        for start in starts:
            try_servers(start, depth, EVENTS)
            try_servers(start, depth, STORM_EVENTS)


def try_random_servers(worlds: type[ServersWorld], sequences: int) -> None:
    """Try long random sequences; the same ones each time."""
    chance = random.Random(11)  # noqa: S311 - a search, no secret
    starts = [*build_starts(worlds).values()]
    for _ in range(sequences):
        world = chance.choice(starts)
        for event in chance.choices((*EVENTS, "storm"), [*[3] * len(EVENTS), 1], k=9):
            with note_events(world, event):
                world = world.apply(event)


@contextmanager
def note_events(world: ServersWorld, event: str) -> Iterator[None]:
    """Add to an error which events led to it."""
    try:
        yield
    except InvariantError as error:
        error.add_note(" / ".join((*world.events, event)))
        raise


def build_starts(worlds: type[ServersWorld]) -> Mapping[str, ServersWorld]:
    """Build the worlds that searches begin with: name of the start -> world."""
    fresh = worlds.begin()
    serving = fresh.apply("wait 9")
    dead = serving.apply("kill here").apply("wait 9")
    return {"serving": serving, "dead": dead, "fresh": fresh}
