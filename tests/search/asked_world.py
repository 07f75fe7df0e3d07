"""Servers that are asked by TCP, beside HAProxy's checks of them: what may be concluded.

The agent's connections find what the model of the network says: an address answers, refuses, is
silent, or refuses the agent alone (`lies`: HAProxy connects from elsewhere).  The observer keeps
its own record of the answers, and compares it with what the agent makes of them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from anycastd.decision.levels import Level
from anycastd.evidence.haproxy.check_results import CHECK_WITHIN
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.evidence.servers.addresses import iter_askable
from anycastd.evidence.servers.doubts import find_doubts
from anycastd.evidence.servers.refusals import (
    Asked,
    Reached,
    judge_errors,
    note_asked,
    note_look,
)
from anycastd.evidence.sources import Evidence
from search.servers_world import HERE, LONG_STEP, THERE, ServersWorld

EVENTS = (
    "kill here",
    "kill there",
    "mute here",
    "lie here",
    "revive",
    "maint 0",
    "ready 0",
    "move 0",
    "reload",
    "wait 0.5",
    "wait 2.5",
    "wait 9",
)
LONG_EVENTS = ("kill here", "kill there", "lie here", "revive", "wait 2.5", "wait 75")
ASK_TIME = 0.02
"""Seconds between the two connections to a server."""


@dataclass(frozen=True, slots=True)
class Known:
    """The observer's record of one server at one address.

    ``refused``: it has refused since ``refused_at``, and did so at ``asked_at`` last; no answer and
    no DOWN of HAProxy's has come between.  ``based``: there was a look since then.  ``result`` is
    that of its newest check.  ``fine_at`` is since when it answers, is up and has a check that
    passed (None: it does not).  ``recovered``: a check of HAProxy's has been seen to fail and then
    to pass since the refusal, after the first look.  ``contradicted``: it refused once more after
    such a pass.
    """

    address: str
    refused: bool = False
    refused_at: float = 0.0
    asked_at: float = 0.0
    based: bool = False
    result: str = "INI"
    fine_at: float | None = None
    recovered: bool = False
    contradicted: bool = False


@dataclass(frozen=True, slots=True)
class AskedWorld(ServersWorld):
    """Servers, and an agent that asks them when it has reason to doubt.

    ``silent`` and ``lies`` are addresses that do not answer anybody, or refuse the agent alone;
    ``lied`` are those that ever did.
    """

    silent: frozenset[str] = frozenset()
    lies: frozenset[str] = frozenset()
    lied: frozenset[str] = frozenset()
    reached: Reached = field(default_factory=Reached)
    known: Mapping[str, Known] = field(default_factory=dict)
    all_refused: bool = False

    def apply(self, event: str) -> AskedWorld:
        """Apply one event, look at HAProxy, ask and decide; raises InvariantError."""
        word, _, place = event.partition(" ")
        address = frozenset({HERE if place == "here" else THERE})
        world = self
        if word in {"kill", "mute"}:
            world = replace(self, silent=self.silent | address if word == "mute" else self.silent)
            word, event = "kill", f"kill {place}"
        elif word == "lie":
            lying = replace(self, lies=self.lies | address, lied=self.lied | address)
            return replace(lying.take_look(), events=(*self.events, event))  # type: ignore[return-value]
        elif word == "revive":
            world = replace(self, silent=frozenset(), lies=frozenset())
        return super(AskedWorld, world).apply(event)  # type: ignore[return-value]

    def gather(self, seen: Snapshot) -> tuple[AskedWorld, Evidence]:
        """Take the look, ask whom there is reason to ask, and record the answers."""
        reached = note_look(self.reached, seen)
        known = {each.name: self._observe(each.name) for each in self.servers}
        doubt = any(find_doubts(self.seen, seen, "web")) or not self._self_test_passes()
        overrides = reached.build_report().refused.get("web", {})
        for key, target in iter_askable(seen, "web", overrides):
            wanted = key in reached.unverified or key in reached.refusals
            if not (doubt or wanted):
                continue
            error = self._connect(target.address)
            at = self.now + ASK_TIME / 2
            asked = Asked(target.address, judge_errors(error, error)[0], at, at, "refuses")
            reached = note_asked(reached, key, asked)
            known[key[1]] = _record(known[key[1]], error, self.now)
        up = [known[each.name] for each in self.servers if each.is_up]
        dead = [each.address not in self.lied and each.asked_at == self.now for each in up]
        world = replace(
            self,
            reached=reached,
            known=known,
            all_refused=bool(up) and all(dead),
        )
        return world, Evidence({"main": seen}, reached={"main": reached.build_report()})

    def _connect(self, address: str) -> int:
        """Connect as the agent does: the errno, 0 where it stands, -1 where nothing answers."""
        if address in self.lies:
            return errno.ECONNREFUSED
        if address in self.alive:
            return 0
        return -1 if address in self.silent else errno.ECONNREFUSED

    def _self_test_passes(self) -> bool:
        return all(each.address in self.alive for each in self.servers if each.is_up)

    def _observe(self, name: str) -> Known:
        """Bring the record of a server up to date with what the model knows of it."""
        server = next(each for each in self.servers if each.name == name)
        known = self.known.get(name, Known(server.address))
        if known.address != server.address:
            known = Known(server.address)
        if server.health == 0:
            known = replace(known, refused=False, recovered=False)
        fine = server.is_up and server.passed and server.address in self.alive
        recovered = known.based and known.result == "L4CON" and server.result == "L4OK"
        return replace(
            known,
            based=known.refused,
            result=server.result,
            fine_at=(self.now if known.fine_at is None else known.fine_at) if fine else None,
            recovered=known.recovered or (recovered and fine),
        )

    # The invariants -------------------------------------------------------------------------------

    def check(self, level: Level, before: Level) -> Iterator[tuple[bool, str]]:
        """Check each invariant; ``before`` is the level before this look."""
        yield from super(AskedWorld, self).check(level, before)
        overrides = self.reached.build_report().refused.get("web", {})
        for name, override in overrides.items():
            known = self.known[name]
            yield known.refused_at > 0, f"{name} does not count, and has never refused"
            out = override.usable is Usable.NO
            yield not out or known.refused, f"{name} does not count, and has not refused"
            yield not known.recovered, f"{name} does not count, and a check has passed since"
            yield not known.contradicted, f"{name} does not count, and HAProxy reaches it"
            fine_at = self.now if known.fine_at is None else known.fine_at
            fine_for = self.now - max(fine_at, known.refused_at)
            yield fine_for < CHECK_WITHIN + 2 * LONG_STEP, f"{name} does not count for too long"
        yield (
            not self.all_refused or level is Level.WITHDRAWN,
            "announced, and every server refuses",
        )


def _record(known: Known, error: int, now: float) -> Known:
    """Record an answer as the observer understands it."""
    if error == 0:
        return replace(known, refused=False, contradicted=False)
    if error != errno.ECONNREFUSED:
        return known
    if known.recovered and known.refused:
        return replace(known, contradicted=True, recovered=False, refused=False)
    if known.contradicted:
        return known
    if known.refused:
        return replace(known, asked_at=now)
    return replace(known, refused=True, refused_at=now, asked_at=now, based=False, recovered=False)
