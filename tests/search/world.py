"""A world around one service's machine, for searches: what may happen to it.

A ``World`` is a value: a search may go on from it in many ways.  Each pass goes through the one
composition of the stages, and is held against what an ``Onlooker`` knows.  A search begins with a
class of worlds, so that it can be given one of code with a fault in it (``planting``), and be seen
to find it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from anycastd.bgp.route import Route
from anycastd.decision.drains import (
    ALL,
    SETTLE_TIME,
    STOP,
    Drain,
    Table,
    dump_drains,
    load_drains,
    needs_region_reports,
)
from anycastd.decision.memory import Memory, dump_memory, load_memory
from anycastd.decision.pipeline import Inputs, VipState, advance, restart_at_withdrawn
from anycastd.decision.region_report import RegionReport
from anycastd.evidence.finding import BELIEVE_UNPROVED_FOR
from anycastd.evidence.sources import Evidence
from search.effort import BrokenError
from search.invariants import (
    HOLD_DOWN_MAX,
    MOMENT,
    RISE,
    SPACING,
    Onlooker,
    Pass,
    fits,
)
from search.surroundings import OTHER, VIP, Shown, Weather, searched

ASK_EVERY = 1.0
LASTS = 30.0
"""Seconds that a drain with `--for` is asked for."""
SETTLES = HOLD_DOWN_MAX + SPACING + RISE + BELIEVE_UNPROVED_FOR
WAKES = 200


@dataclass(frozen=True, slots=True)
class World:
    """The machine with its surroundings, and what an onlooker has seen of it.

    ``drains`` are the agent's own, ``answer`` is the other region's newest, ``routes`` are what the
    agent wants, ``held`` what the lease held when this agent came.
    """

    weather: Weather = field(default_factory=Weather)
    now: float = 1000.0
    memory: Mapping[str, Memory] = field(default_factory=dict)
    drains: Table = field(default_factory=dict)
    answer: RegionReport | None = None
    held: tuple[Route, ...] = ()
    routes: tuple[Route, ...] = ()
    returned: float | None = None
    seen: Onlooker = field(default_factory=Onlooker)
    wake_at: float | None = None
    story: tuple[str, ...] = field(default=(), compare=False)

    def __hash__(self) -> int:
        """Tell most worlds apart; tables cannot be hashed."""
        return hash((self.now, self.weather, self.seen.told, self.memory.get("web")))

    @classmethod
    def begin(cls, variant: str = "plain") -> World:
        """Begin with an agent that is new, in good weather."""
        return cls(Weather(variant)).look()

    # What may happen -----------------------------------------------------------------------------

    def happen(self, what: str) -> World:
        """Let one thing happen, by its name, and run a pass where it is news."""
        word, _, argument = what.partition(" ")
        world: World = getattr(self, f"_{word}")(argument)
        return replace(world, story=(*self.story, what))

    def _see(self, argument: str) -> World:
        shown = Shown(argument)
        since = self.weather.since if shown is self.weather.shown else self.now
        return self._turn(shown=shown, since=since, blind=None)

    def _blind(self, _: str) -> World:
        """Let the watcher hang: what was seen last gets older."""
        return self if self.weather.blind is not None else self._turn(blind=self.now)

    def _sessions(self, argument: str) -> World:
        return self._turn(sessions=argument)

    def _vip(self, argument: str) -> World:
        return self._turn(vip=argument == "there")

    def _map(self, argument: str) -> World:
        return self._turn(planned=argument == "on", blind=None)

    def _other(self, argument: str) -> World:
        return self._turn(other=argument)

    def _turn(self, **changes: Any) -> World:
        return replace(self, weather=replace(self.weather, **changes)).look()

    def _wait(self, argument: str) -> World:
        return self.until(self.now + float(argument))

    def _stall(self, argument: str) -> World:
        """Be away ourselves: of that, own time counts two ticks, whoever else was away."""
        world = replace(self, now=self.now + min(float(argument), 0.1)).look()
        if world.seen.told is not self.seen.told and not self.due(world.now):
            raise BrokenError("a stall of our own changed the level")
        return world

    def _return(self, _: str) -> World:
        seen = replace(self.seen, returned=self.now)
        return replace(self, returned=self.now, seen=seen).look()

    def _drain(self, argument: str) -> World:
        """Ask for a drain as commands do: there is one of everything, of a service, for a stop.

        That the command is refused where nobody else serves is no protection: he may stop serving
        right after it.
        """
        times = searched(self.weather.variant).drain
        stopping = argument == "stop"
        lasts = {"for": LASTS, "stop": 2 * times.stop + 60.0}.get(argument)
        drain = Drain(
            "new kernel",
            "me",
            began_at=self.now,
            wait=times.stop / 2 if stopping else times.wait,
            service="web" if argument == "own" else None,
            ends_at=None if lasts is None else self.now + lasts,
            force=argument == "force",
            stopping=stopping,
        )
        if drain.key in self.drains:
            return self
        drains = {**self.drains, drain.key: drain}
        return replace(self, drains=drains, seen=self.seen.asked(drain)).look()

    def _undrain(self, argument: str) -> World:
        keys = {"web"} if argument == "own" else {ALL, STOP}
        drains = {key: each for key, each in self.drains.items() if key not in keys}
        return replace(self, drains=drains, seen=self.seen.undrained(*keys)).look()

    def _lapse(self, _: str) -> World:
        """Let the lease run out while the agent lives: it hears of that with the next report."""
        memory = {**self.memory, **restart_at_withdrawn(self.memory, self.now)}
        return replace(self, memory=memory, routes=(), seen=self.seen.lost(self.now)).look()

    def _restart(self, argument: str) -> World:
        """Lose the agent: inside its lease or not, and with what it kept or without.

        Drains are kept in any case: they are on the disk before the command ends.
        """
        in_time, kept = argument.startswith("in-time"), argument.endswith("kept")
        now = self.now
        memory = {}
        if kept:
            carried = {name: dump_memory(each, now) for name, each in self.memory.items()}
            memory = {name: load_memory(each, now) for name, each in _stored(carried).items()}
        seen = self.seen if in_time else self.seen.lost(now)
        world = replace(
            self,
            memory=memory,
            drains=load_drains(_stored(dump_drains(self.drains, now)), now),
            answer=None,
            held=self.routes if in_time else (),
            routes=self.routes if in_time else (),
            returned=None,
            seen=seen.restarted(now, kept=kept),
        )
        looks = {"main": world.weather.look(now)}
        return world.too_soon(Inputs()).too_soon(Inputs(Evidence(looks))).look()

    def too_soon(self, inputs: Inputs) -> World:
        """Run a pass before there is all that it needs; it may say nothing."""
        its = searched(self.weather.variant)
        inputs = replace(inputs, drains=self.drains)
        step = advance(its, self.memory, inputs, self.now)
        if step.wanted is not None:
            raise BrokenError("it speaks before it has seen HAProxy and heard the lease")
        return replace(self, memory=step.memory, drains=step.drains)

    # A pass ---------------------------------------------------------------------------------------

    def look(self) -> World:
        """Run a pass on a look that is taken now, and hold what it does against what must hold."""
        its, now, weather = searched(self.weather.variant), self.now, self.weather
        answer = self.answer
        if self._asking() and weather.other != "mute":
            answer = weather.answer(now)
        inputs = Inputs(
            Evidence({"main": weather.look(now)}),
            {VIP: VipState(weather.vip)},
            weather.lease(self.held),
            drains=self.drains,
            region_reports={} if answer is None else {OTHER: answer},
            returned_at={} if self.returned is None else {"web": self.returned},
        )
        step = advance(its, self.memory, inputs, now)
        if step.memory != self.memory or step.drains != self.drains:
            again = advance(its, step.memory, replace(inputs, drains=step.drains), now)
            # A drain takes note of a withdrawal with the pass after it.
            same = again.drains == step.drains or not step.wanted
            if (again.wanted, again.memory) != (step.wanted, step.memory) or not same:
                raise BrokenError("the same pass again decides otherwise")
        before = self.memory.get("web")
        adopted = before is not None and before.adopted
        return replace(
            self,
            memory=step.memory,
            drains=step.drains,
            answer=answer,
            routes=step.wanted or (),
            seen=self.seen.sees(Pass(now, weather, answer, adopted, step)),
            wake_at=step.wake_at,
        )

    def until(self, end: float) -> World:
        """Let time pass: passes run when the machine itself asked for them, and at the end.

        While a drain wants to know, the other region's answers are news as well.
        """
        world = self
        for _ in range(WAKES):
            at = min(filter(None, (world.wake_at, world.hears_at())), default=end)
            if at >= end:
                break
            world = replace(world, now=at).look()
        else:
            raise BrokenError("it wakes itself again and again")
        ended = replace(world, now=end).look()
        if ended.seen.told is not world.seen.told and not world.due(end):
            raise BrokenError("something changed with time, and it did not wake itself")
        return ended

    def due(self, now: float) -> bool:
        """Whether a pass at ``now`` may change something: it is time, or an answer has come."""
        return self._asking() or (self.wake_at is not None and self.wake_at <= now + MOMENT)

    def _asking(self) -> bool:
        return bool(self.drains) and needs_region_reports(
            searched(self.weather.variant), self.drains
        )

    def hears_at(self) -> float | None:
        """When the next answer comes that may say something new; later ones are like it."""
        if self.weather.other == "mute" or not self._asking():
            return None
        settled = max(each.began_at + max(each.wait, SETTLE_TIME) for each in self.drains.values())
        at = self.now + ASK_EVERY
        return at if at <= settled + 2 * ASK_EVERY else None

    # What it must come to -------------------------------------------------------------------------

    def settle(self) -> World:
        """Let calm weather last: whatever happened before, it ends at the level that fits.

        Drains with an end are left to end by themselves.
        """
        endless = [key for key, each in self.drains.items() if each.ends_at is None]
        world = replace(
            self,
            weather=self.weather.calm(),
            drains={key: each for key, each in self.drains.items() if key not in endless},
            seen=self.seen.undrained(*endless),
        )
        if self.weather.variant == "manual":
            seen = replace(world.seen, returned=self.now)
            world = replace(world, returned=self.now, seen=seen)
        world = world.look()
        world = world.until(world.now + SETTLES)
        told, right = world.seen.told, fits(world.weather)
        if told is not right:
            raise BrokenError(f"it stays {told.label}, and {right.label} would fit")
        return world

    def rest(self) -> World:
        """Let everything be as it is, for so long that nothing is left to come."""
        return self.until(self.now + SETTLES)


def _stored(value: Any) -> Any:
    """Give what is left of a value that was on the disk."""
    return json.loads(json.dumps(value))
