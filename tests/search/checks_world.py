"""A service that rests on a check alone, and everything that may happen to the check.

A `ChecksWorld` is an immutable value.  The check runs each second; after each run there is one pass
of `advance`.  What the passes may do is told from the raw results alone, and from nothing of ours.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from anycastd.bgp.session import Session
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, VipState, advance
from anycastd.evidence.checks.observation import CheckObservation, CheckResult, add_result
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import NeighborReport, Report
from search.effort import InvariantError
from support.profiles import profile

RISE, FALL, DEADLINE = 2, 3, 10.0
RECOVERY_TIME = 900.0
"""Seconds after which a service whose check passes is preferred: no wait is longer."""
EVENTS = (
    *("up", "down", "blind", "stuck", "flap"),
    *("wait 1", "wait 2", "wait 4", "wait 12", "freeze up", "freeze down"),
)
"""What the check finds from now on, and time."""
RETURN = "{rise: 4, hold_down: 5, hold_down_max: 6, spacing: 6}"
HAPROXY = "haproxy:\n  main: {socket: /run/haproxy/anycastd.sock, ring: anycastd}\n"
PROFILE = (
    (HAPROXY, f"checks: {{app: {{tcp: 'a:1', rise: {RISE}, fall: {FALL}, deadline: 10}}}}\n"),
    ("serve: {all: [{backend: web, usable: 1}, {frontend: web}]}", "serve: {check: app}"),
    ("    healthy: {backend: web, usable: 50%}\n", ""),
    ("    degraded: {prepend: 3, fall: 5}\n", ""),
    # Shorter than the deadline: a wait may end while the last result still counts.
    ("{prepend: 6, after: 1}", "{prepend: 6, after: 3}"),
    ("{rise: 10, hold_down: 60, hold_down_max: 900, spacing: 35}", RETURN),
)
PEERS = {each: NeighborReport(Session.UP, 12.0) for each in ("192.0.2.4", "192.0.2.5")}
ITS = profile(*PROFILE)


@dataclass(frozen=True, slots=True)
class ChecksWorld:
    """The service at ``now`` (own time, seconds).

    ``finds`` is what a run finds: up, down, blind, flap (up and down in turn) or stuck (runs never
    end).  ``results`` are all results so far: when, and what (None: blind).
    """

    finds: str = "up"
    now: float = 1000.0
    results: tuple[tuple[float, bool | None], ...] = ()
    known: CheckObservation | None = None
    memory: Mapping[str, Memory] = field(default_factory=dict)
    level: Level = Level.WITHDRAWN
    frozen_until: float | None = None
    events: tuple[str, ...] = ()

    def apply(self, event: str) -> ChecksWorld:
        """Apply one event, and run passes; raises InvariantError."""
        word, _, argument = event.partition(" ")
        world = self
        if word == "wait":
            for _ in range(int(argument)):
                world = world.run_check()
        elif word == "freeze":
            # This process did not run for a while, and the next run has not ended yet.
            thawed_at = world.now + 0.1
            world = replace(world, finds=argument, frozen_until=thawed_at, now=thawed_at + 0.9)
            world = world.run_pass()
        else:
            world = replace(world, finds=word).run_check()
        return replace(world, events=(*self.events, event))

    def run_check(self) -> ChecksWorld:
        """Let a second pass, in which the check runs once."""
        world = replace(self, now=self.now + 1.0)
        if self.finds == "stuck":
            return world.run_pass()
        found = {"up": True, "down": False, "flap": not self._found_last()}.get(self.finds)
        result = CheckResult(world.now, found, "x")
        known = add_result(ITS.checks["app"], self.known, result)
        results = (*self.results[-60:], (world.now, found))
        return replace(world, known=known, results=results).run_pass()

    def _found_last(self) -> bool | None:
        return self.results[-1][1] if self.results else False

    def run_pass(self) -> ChecksWorld:
        """Run a pass, and compare its level with the results; raises InvariantError."""
        evidence = Evidence(checks={} if self.known is None else {"app": self.known})
        lease = LeaseView(True, Report("i", 7, 7, 4.0, PEERS), ())
        inputs = Inputs(
            evidence,
            {"203.0.113.10/32": VipState(True)},
            lease,
            frozen_until=self.frozen_until,
        )
        result = advance(ITS, self.memory, inputs, self.now)
        after = replace(self, memory=dict(result.memory), level=result.decisions["web"].level)
        for holds, problem in after.check(self.level):
            if not holds:
                raise InvariantError(f"{problem}: {after.level.label} at {self.now:g} s")
        return after

    # The invariants -------------------------------------------------------------------------------

    def check(self, before: Level) -> Iterator[tuple[bool, str]]:
        """Check each invariant; ``before`` is the level before this pass."""
        seen = [(at, found) for at, found in self.results if found is not None]
        newest = [found for _, found in seen]
        failed = len(newest) >= FALL and not any(newest[-FALL:])
        silent = not seen or self.now - seen[-1][0] >= DEADLINE
        announced = self.level is not Level.WITHDRAWN
        yield not (announced and failed), f"announced after {FALL} failures in a row"
        yield not (announced and silent), "announced, and nothing was seen for the deadline"
        if announced and before is Level.WITHDRAWN:
            yield self._is_proved(seen), "announced without a proof"
            yield self.level is Level.STANDBY, "back at once at a shorter path"
        if self.level > before:
            yield self.results[-1][1] is not None, "promoted by a run that could not see"
            fresh = self.frozen_until is None or seen[-1][0] >= self.frozen_until
            yield fresh, "promoted by what was asked before the freeze"
        if not announced and before is not Level.WITHDRAWN:
            # A result that comes at the end of the deadline comes too late: it begins again.
            yield silent or not self._is_proved(seen), "withdrawn without a reason"

    def _is_proved(self, seen: list[tuple[float, bool]]) -> bool:
        """Tell whether the check passed `rise` times in a row since it last failed as a whole.

        Where nothing was seen for the deadline, it has failed as well.
        """
        passes = failures = 0
        proved = False
        before = seen[0][0]
        for at, found in seen:
            if at - before >= DEADLINE:
                passes, proved = 0, False
            before = at
            passes, failures = (passes + 1, 0) if found else (0, failures + 1)
            if passes >= RISE:
                proved = True
            if failures >= FALL:
                proved = False
        return proved


def assert_recovery(world: ChecksWorld) -> None:
    """Assert that a service whose check passes from now on is preferred after all waits."""
    world = replace(world, finds="up")
    end = world.now + RECOVERY_TIME
    while world.level is not Level.PREFERRED:
        world = world.run_check()
        if world.now > end:
            raise InvariantError(f"not preferred {RECOVERY_TIME:g} s after all is well")


def build_starts(worlds: type[ChecksWorld]) -> Mapping[str, ChecksWorld]:
    """Build the worlds that searches begin with: name of the start -> world."""
    new = worlds()
    serving = replace(new, finds="up")
    for _ in range(60):
        serving = serving.run_check()
    return {"new": new, "serving": serving, "failed": serving.apply("down").apply("wait 4")}


def try_checks(world: ChecksWorld, depth: int) -> int:
    """Try every sequence of up to ``depth`` events; returns how many were tried."""
    worlds, tried = [world], 0
    for _ in range(depth):
        reached = []
        for each in worlds:
            for event in EVENTS:
                with note_events(each, event):
                    reached.append(each.apply(event))
        worlds = reached
        tried += len(reached)
    for each in worlds[:: max(1, len(worlds) // 20)]:
        with note_events(each, "up for ever"):
            assert_recovery(each)
    return tried


def try_random_checks(worlds: type[ChecksWorld], sequences: int) -> None:
    """Try long random sequences; the same ones each time."""
    chance = random.Random(15)  # noqa: S311 - a search, no secret
    starts = [*build_starts(worlds).values()]
    for _ in range(sequences):
        world = chance.choice(starts)
        for event in chance.choices(EVENTS, k=12):
            with note_events(world, event):
                world = world.apply(event)


def search_checks(worlds: type[ChecksWorld]) -> None:
    """Try every sequence, the short ones first, from each start; then long random ones."""
    for depth in (1, 2):
        for start in build_starts(worlds).values():
            try_checks(start, depth)
    try_random_checks(worlds, 200)


@contextmanager
def note_events(world: ChecksWorld, event: str) -> Iterator[None]:
    """Add to an error which events led to it."""
    try:
        yield
    except InvariantError as error:
        error.add_note(" / ".join((*world.events, event)))
        raise
