"""A service with its agent, its surroundings and an observer, and all events that may happen to it.

A `World` is an immutable value: a search continues from it in many ways.  Each pass is one call of
`advance`, the only composition of the stages, and the observer checks it.  A search begins with a
class of worlds, so that it can also be given one of code with a planted fault (``planting``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from anycastd.bgp.route import Route
from anycastd.decision.drains import (
    SETTLE_TIME,
    Drain,
    DrainTable,
    needs_region_reports,
)
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory, dump_memory, load_memory
from anycastd.decision.pipeline import (
    Inputs,
    PassResult,
    VipState,
    advance,
    restart_at_withdrawn,
)
from anycastd.decision.region_report import RegionReport
from anycastd.decision.stored_drains import dump_drains, load_drains
from anycastd.evidence.finding import OVERRULE_AFTER
from anycastd.evidence.sources import Evidence
from search.effort import InvariantError
from search.invariants import (
    HOLD_DOWN_MAX,
    RISE,
    SPACING,
    TOLERANCE,
    Observer,
    Pass,
    level_without_servers,
)
from search.surroundings import OTHER_REGION, VIP, HaproxyState, Surroundings, build_profile

REPORT_INTERVAL = 1.0
DRAIN_TIME = 30.0
"""Seconds after which a drain with `--for` ends."""
RECOVERY_TIME = HOLD_DOWN_MAX + SPACING + RISE + OVERRULE_AFTER
"""Seconds after which no wait is left."""
MAX_PASSES = 200
"""Passes that one wait may take."""


NotePass = Callable[[float, Mapping[str, Memory], Inputs, PassResult, bool], object]
"""Is told of a pass: its time, memory, inputs and result, and whether the lease had expired."""


@dataclass(frozen=True, slots=True)
class World:
    """The service at ``now`` (own time, seconds).

    ``drains`` and ``memory`` are as the last pass left them.  ``region_report`` is the other
    region's newest report, ``leased`` the routes on the lease when this agent started, ``routes``
    the wanted routes.  ``events`` is what has happened until now, for messages.  ``note_pass`` is
    told of each pass (``counterexample`` writes them down).
    """

    surroundings: Surroundings = field(default_factory=Surroundings)
    now: float = 1000.0
    memory: Mapping[str, Memory] = field(default_factory=dict)
    drains: DrainTable = field(default_factory=dict)
    region_report: RegionReport | None = None
    leased: tuple[Route, ...] = ()
    routes: tuple[Route, ...] = ()
    returned_at: float | None = None
    observer: Observer = field(default_factory=Observer)
    wake_at: float | None = None
    events: tuple[str, ...] = field(default=(), compare=False)
    note_pass: NotePass | None = field(default=None, compare=False)

    def __hash__(self) -> int:
        """Compute a hash from some of the fields; tables cannot be hashed."""
        announced, memory = self.observer.announced, self.memory.get("web")
        return hash((self.now, self.surroundings, announced, memory))

    @classmethod
    def begin(cls, variant: str = "plain", note_pass: NotePass | None = None) -> World:
        """Build a world with a new agent, in which all is well."""
        return cls(Surroundings(variant), note_pass=note_pass).run_pass()

    # Events ---------------------------------------------------------------------------------------

    def apply(self, event: str) -> World:
        """Apply one event, such as `haproxy failed`, and run a pass.

        The first word of the event names the method, the rest is its argument.
        """
        word, _, argument = event.partition(" ")
        world: World = getattr(self, f"_{word}")(argument)
        return replace(world, events=(*self.events, event))

    def _haproxy(self, argument: str) -> World:
        around, state = self.surroundings, HaproxyState(argument)
        began_at = around.haproxy_began_at if state is around.haproxy else self.now
        return self._change(haproxy=state, haproxy_began_at=began_at, looks_stopped_at=None)

    def _looks(self, _: str) -> World:
        """Stop the looks: the watcher hangs, and the newest look gets older."""
        if self.surroundings.looks_stopped_at is not None:
            return self
        return self._change(looks_stopped_at=self.now)

    def _sessions(self, argument: str) -> World:
        return self._change(sessions=argument)

    def _vip(self, argument: str) -> World:
        return self._change(vip=argument == "present")

    def _maintenance(self, argument: str) -> World:
        return self._change(maintenance=argument == "on", looks_stopped_at=None)

    def _region(self, argument: str) -> World:
        return self._change(other_region=argument)

    def _change(self, **changes: Any) -> World:
        return replace(self, surroundings=replace(self.surroundings, **changes)).run_pass()

    def _wait(self, argument: str) -> World:
        return self.advance_to(self.now + float(argument))

    def _stall(self, argument: str) -> World:
        """Stall this machine: of that time, own time counts two ticks at most."""
        world = replace(self, now=self.now + min(float(argument), 0.1)).run_pass()
        changed = world.observer.announced is not self.observer.announced
        if changed and not self.is_pass_due(world.now):
            raise InvariantError("a stall of this machine changed the level")
        return world

    def _return(self, _: str) -> World:
        observer = replace(self.observer, returned_at=self.now)
        return replace(self, returned_at=self.now, observer=observer).run_pass()

    def _drain(self, argument: str) -> World:
        """Start a drain as the commands do: of all services, of one service, or for a stop.

        The command is refused where no other region serves, but that is no protection: the region
        may fail right after it.  So it is never refused here.
        """
        timers = build_profile(self.surroundings.variant).drain
        stopping = argument == "stop"
        lasts = {"for": DRAIN_TIME, "stop": 2 * timers.stop + 60.0}.get(argument)
        drain = Drain(
            "new kernel",
            "me",
            began_at=self.now,
            wait=timers.stop / 2 if stopping else timers.wait,
            service="web" if argument == "own" else None,
            ends_at=None if lasts is None else self.now + lasts,
            force=argument == "force",
            stopping=stopping,
        )
        if drain.key in self.drains:
            return self
        drains = {**self.drains, drain.key: drain}
        return replace(self, drains=drains, observer=self.observer.add_drain(drain)).run_pass()

    def _undrain(self, argument: str) -> World:
        service = "web" if argument == "own" else None
        keys = {key for key, each in self.drains.items() if each.service == service}
        drains = {key: each for key, each in self.drains.items() if key not in keys}
        return replace(self, drains=drains, observer=self.observer.end_drains(*keys)).run_pass()

    def _expire(self, _: str) -> World:
        """Let the lease expire while the agent runs: the next report says so."""
        memory = {**self.memory, **restart_at_withdrawn(self.memory, self.now)}
        observer = self.observer.expire_lease(self.now)
        world = replace(self, memory=memory, routes=(), observer=observer)
        return world.run_pass(expired=True)

    def _restart(self, argument: str) -> World:
        """Replace the agent, before the lease expires or after it, with its memory or without.

        Drains are always kept: they are on the disk before the command ends.  With `damaged` each
        of them, or where there is none something else, cannot be read any more.
        """
        in_time, kept = argument.startswith("in-time"), argument.endswith("kept")
        damaged = argument.endswith("damaged")
        now = self.now
        memory = {}
        if kept:
            dumps = {name: dump_memory(each, now) for name, each in self.memory.items()}
            memory = {name: load_memory(each, now) for name, each in _pass_json(dumps).items()}
        observer = self.observer if in_time else self.observer.expire_lease(now)
        stored = _pass_json(dump_drains(self.drains, now))
        if damaged:
            # The name of the service is all that is left of them.
            stored = [{"service": each["service"]} for each in stored] or [None]
            observer = observer.damage_drains(now)
        world = replace(
            self,
            memory=memory,
            drains=load_drains(stored, now),
            region_report=None,
            leased=self.routes if in_time else (),
            routes=self.routes if in_time else (),
            returned_at=None,
            observer=observer.restart_agent(now, kept=kept),
        )
        looks = {"main": world.surroundings.look(now)}
        world = world.run_incomplete_pass(Inputs())
        return world.run_incomplete_pass(Inputs(Evidence(looks))).run_pass()

    def run_incomplete_pass(self, inputs: Inputs) -> World:
        """Run a pass that lacks inputs; it must not want any set of routes, not even none."""
        profile = build_profile(self.surroundings.variant)
        inputs = replace(inputs, drains=self.drains)
        result = advance(profile, self.memory, inputs, self.now)
        self._note(inputs, result)
        if result.wanted is not None:
            raise InvariantError("wants routes before a look at HAProxy and a report of the lease")
        return replace(self, memory=result.memory, drains=result.drains)

    # Passes ---------------------------------------------------------------------------------------

    def _note(self, inputs: Inputs, result: PassResult, *, expired: bool = False) -> None:
        if self.note_pass is not None:
            self.note_pass(self.now, self.memory, inputs, result, expired)

    def run_pass(self, *, expired: bool = False) -> World:
        """Run a pass on a look of this moment, and check its result.

        ``expired``: the lease has expired since the pass before it.
        """
        now, around = self.now, self.surroundings
        profile = build_profile(around.variant)
        report = self.region_report
        if self._needs_reports() and around.other_region != "hangs":
            report = around.region_report(now)
        inputs = Inputs(
            Evidence({"main": around.look(now)}),
            {VIP: VipState(around.vip)},
            around.lease_view(self.leased),
            drains=self.drains,
            region_reports={} if report is None else {OTHER_REGION: report},
            returned_at={} if self.returned_at is None else {"web": self.returned_at},
        )
        result = advance(profile, self.memory, inputs, now)
        self._note(inputs, result, expired=expired)
        if result.memory != self.memory or result.drains != self.drains:
            again = advance(profile, result.memory, replace(inputs, drains=result.drains), now)
            # A drain notes a withdrawal in the pass after it.
            same = again.drains == result.drains or not result.wanted
            if (again.wanted, again.memory) != (result.wanted, result.memory) or not same:
                raise InvariantError("the same pass, repeated, has another result")
        before = self.memory.get("web")
        adopted = before is not None and before.adopted
        return replace(
            self,
            memory=result.memory,
            drains=result.drains,
            region_report=report,
            routes=result.wanted or (),
            observer=self.observer.observe(Pass(now, around, report, adopted, result)),
            wake_at=result.wake_at,
        )

    def advance_to(self, end: float) -> World:
        """Advance the time to ``end``, with a pass whenever one is due, and at the end.

        A pass is due at `wake_at` of the pass before it, and with a new report of the other region.
        """
        world = self
        for _ in range(MAX_PASSES):
            at = min(filter(None, (world.wake_at, world.next_report_at())), default=end)
            if at >= end:
                break
            world = replace(world, now=at).run_pass()
        else:
            raise InvariantError("passes are due without end")
        ended = replace(world, now=end).run_pass()
        changed = ended.observer.announced is not world.observer.announced
        if changed and not world.is_pass_due(end):
            raise InvariantError("the level changed with time, and no pass was due")
        return ended

    def is_pass_due(self, now: float) -> bool:
        """Tell whether a pass at ``now`` may change the level."""
        due = self.wake_at is not None and self.wake_at <= now + TOLERANCE
        return due or self._needs_reports()

    def _needs_reports(self) -> bool:
        profile = build_profile(self.surroundings.variant)
        return bool(self.drains) and needs_region_reports(profile, self.drains)

    def next_report_at(self) -> float | None:
        """Return when the next report arrives that may change something; later ones are equal."""
        if self.surroundings.other_region == "hangs" or not self._needs_reports():
            return None
        settled = max(each.began_at + max(each.wait, SETTLE_TIME) for each in self.drains.values())
        at = self.now + REPORT_INTERVAL
        return at if at <= settled + 2 * REPORT_INTERVAL else None

    # The end --------------------------------------------------------------------------------------

    def recover(self) -> World:
        """Make all well around the service and wait: it must end at the level that fits.

        Drains without an end are ended, as by `anycastd undrain`; a manual return is confirmed.
        """
        endless = [key for key, each in self.drains.items() if each.ends_at is None]
        world = replace(
            self,
            surroundings=self.surroundings.recover(),
            drains={key: each for key, each in self.drains.items() if key not in endless},
            observer=self.observer.end_drains(*endless),
        )
        if self.surroundings.variant == "manual":
            observer = replace(world.observer, returned_at=self.now)
            world = replace(world, returned_at=self.now, observer=observer)
        world = world.run_pass().wait_until_stable()
        level, expected = world.observer.announced, _final_level(world.surroundings)
        if level is not expected:
            raise InvariantError(f"it stays {level.label} and does not become {expected.label}")
        return world

    def wait_until_stable(self) -> World:
        """Change nothing until no wait is left."""
        return self.advance_to(self.now + RECOVERY_TIME)


def _pass_json(value: Any) -> Any:
    """Return what is left of a value after it was written to the disk and read again."""
    return json.loads(json.dumps(value))


def _final_level(surroundings: Surroundings) -> Level:
    """Return the level that the service must reach when all is well around it."""
    match surroundings.haproxy:
        case HaproxyState.HEALTHY | HaproxyState.UNPROVED:  # after a time it counts as usable
            return Level.PREFERRED
        case HaproxyState.DEGRADED if surroundings.variant != "unsteered":
            return Level.DEGRADED
        case HaproxyState.FAILED:
            return level_without_servers(surroundings)
    return Level.WITHDRAWN
