"""A world around one service's machine, for searches: what may happen to it, and what must hold.

A ``World`` is a value: a search may go on from it in many ways.  ``Core`` is the code under
search, so that a search can be shown code with a fault in it, and be seen to find it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import anycastd.policy
from anycastd.findings import UNPROVED_HOLD, Truth
from anycastd.haproxy import Gone, Observation, Snapshot, Unreadable
from anycastd.health import Verdict, judge
from anycastd.policy import Around, Cap, Decision, Kind, Level, Memory, Source
from anycastd.profile import Profile
from anycastd.reasons import Reason
from deciding import MAP
from looks import NO, UNPROVED, YES, snapshot
from profiles import profile

AFTER, FALL, RISE, HOLD_DOWN, HOLD_DOWN_MAX, SPACING = 1.0, 5.0, 10.0, 60.0, 900.0, 35.0
CALM = 3600.0
SILENT_HOLD = 6.0
STEP = 1e-6
"""What comparisons of sums of seconds are worth."""


class Shown(Enum):
    """What a look at HAProxy shows."""

    WELL = "well"
    LESS = "less"
    FAILED = "failed"
    UNPROVED = "unproved"
    GONE = "gone"
    SILENT = "silent"

    @property
    def known(self) -> bool | None:
        """Whether it proves that somebody serves, that nobody does, or nothing."""
        if self in (Shown.WELL, Shown.LESS):
            return True
        return False if self in (Shown.FAILED, Shown.GONE) else None


_LOOKS: dict[Shown, Observation] = {
    Shown.WELL: snapshot(YES, YES, YES, asked=0.0),
    Shown.LESS: snapshot(YES, NO, NO, asked=0.0),
    Shown.FAILED: snapshot(NO, NO, NO, asked=0.0),
    Shown.UNPROVED: snapshot(UNPROVED, UNPROVED, UNPROVED, asked=0.0),
    Shown.GONE: Gone(0.0, "refused"),
    Shown.SILENT: Unreadable(0.0, 0.0, 1, "no answer"),
}


@cache
def verdict(variant: str, shown: Shown, *, planned: bool) -> Verdict:
    """Judge what is shown; looks go on all the time, so none of them gets too old."""
    its, look = searched(variant), _LOOKS[shown]
    if isinstance(look, Snapshot):
        look = replace(look, entries={MAP: "on" if planned else None})
    found = judge(its, its.services["web"], {"main": look}, 0.0)
    return found._replace(until=None)


VARIANTS: dict[str, tuple[tuple[str, str], ...]] = {
    "plain": (),
    "standby": (("failed: withdraw", "failed: standby"),),
    "manual": (("return: {rise", "return: {manual: true, rise"),),
    "unsteered": (("  local_as: 65010", "  prepends_steer: false\n  local_as: 65010"),),
}


@cache
def searched(variant: str) -> Profile:
    """Give the profile under search: the tests' own with a maintenance map, or a variant of it."""
    mapped = ("    failed:", f"    maintenance: {{map: {MAP[0]}, key: {MAP[1]}}}\n    failed:")
    return profile(mapped, *VARIANTS[variant])


@dataclass(frozen=True, slots=True)
class Core:
    """The code under search: a policy module."""

    decide: Callable[..., tuple[Decision, Memory]]
    carry: Callable[..., dict[str, Any]]
    restore: Callable[..., Memory]
    memory: Callable[..., Memory]


def core_of(module: ModuleType | dict[str, Any]) -> Core:
    """Give the core of a policy module, or of its names."""
    names = module if isinstance(module, dict) else vars(module)
    return Core(names["decide"], names["carry"], names["restore"], names["Memory"])


def planted(old: str, new: str) -> Core:
    """Give the core with one text of its source replaced: a fault for a search to find."""
    path = anycastd.policy.__file__
    source = Path(path).read_text()
    assert source.count(old) == 1, f"policy.py has {source.count(old)} times: {old}"
    names: dict[str, Any] = {"__name__": "anycastd.policy"}
    exec(compile(source.replace(old, new), path, "exec"), names)  # noqa: S102 - our own source
    return core_of(names)


SOUND = core_of(anycastd.policy)
DRAIN = {
    None: None,
    "longer": Cap(Level.STANDBY, Reason.MAINTENANCE),
    "gone": Cap(Level.WITHDRAWN, Reason.MAINTENANCE),
}


# What these cap at depends on the profile.
_OTHERWISE = (Source.SERVE, Source.MAINTENANCE, Source.HEALTHY, Source.HEALTH)


class BrokenError(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class World:
    """The machine with its surroundings, and what an onlooker has seen of it.

    ``told`` is the level that stands on the wire, ``changed`` when it last changed, ``failed`` when
    (and how often in a row, seen from outside) it was withdrawn for not serving.
    """

    core: Core = SOUND
    variant: str = "plain"
    now: float = 1000.0
    memory: Memory | None = None
    shown: Shown = Shown.WELL
    sessions: bool | None = True
    vip: bool = True
    planned: bool = False
    drain: str | None = None
    held: Level | None = Level.WITHDRAWN
    returned: float | None = None
    told: Level = Level.WITHDRAWN
    changed: float | None = None
    failed: float | None = None
    failures: int = 0
    good_since: float | None = None
    proof_since: float | None = None
    healthy_since: float | None = None
    less_since: float | None = None
    unknown_since: float | None = None
    proved: bool = False
    wake_at: float | None = None
    story: tuple[str, ...] = field(default=(), compare=False)

    # What may happen -----------------------------------------------------------------------------

    def happen(self, what: str) -> World:
        """Let one thing happen, by its name, and run a pass where it is news."""
        word, _, argument = what.partition(" ")
        world: World = getattr(self, f"_{word}")(argument)
        return replace(world, story=(*self.story, what))

    def _see(self, argument: str) -> World:
        return replace(self, shown=Shown(argument)).look()

    def _wait(self, argument: str) -> World:
        return self.until(self.now + float(argument))

    def _stall(self, argument: str) -> World:
        """Be away ourselves: of that, own time counts two ticks, whoever else was away."""
        before = self.told
        world = replace(self, now=self.now + min(float(argument), 0.1)).look()
        timers = self.wake_at is not None and world.now >= self.wake_at
        if not timers and world.told is not before:
            raise BrokenError("a stall of our own changed the level")
        return world

    def _sessions(self, argument: str) -> World:
        known = {"up": True, "down": False, "unknown": None}
        return replace(self, sessions=known[argument]).look()

    def _vip(self, argument: str) -> World:
        return replace(self, vip=argument == "there").look()

    def _map(self, argument: str) -> World:
        return replace(self, planned=argument == "on").look()

    def _drain(self, argument: str) -> World:
        return replace(self, drain=argument).look()

    def _undrain(self, _: str) -> World:
        return replace(self, drain=None).look()

    def _return(self, _: str) -> World:
        return replace(self, returned=self.now).look()

    def _restart(self, argument: str) -> World:
        """Lose the agent: inside its lease or not, and with what it kept or without."""
        in_time, kept = argument.startswith("in-time"), argument.endswith("kept")
        adopted = in_time and self.told is not Level.WITHDRAWN
        memory = None
        if kept and self.memory is not None:
            carried = self.core.carry(self.memory, self.now)
            memory = self.core.restore(carried, self.now)
        world = replace(
            self,
            memory=memory,
            held=self.told if in_time else Level.WITHDRAWN,
            good_since=None,
            # What was announced a moment ago had been proved.
            proof_since=self.now - AFTER if adopted else None,
            healthy_since=None,
            less_since=None,
            unknown_since=None,
            proved=adopted,
            failed=self.failed if kept else None,
            failures=self.failures if kept else 0,
        )
        if not in_time and self.told is not Level.WITHDRAWN:
            world = replace(world, told=Level.WITHDRAWN, changed=self.now)
        return world.look()

    def until(self, end: float) -> World:
        """Let time pass: passes run when the machine itself asked for them, and at the end."""
        world = self
        for _ in range(200):
            at = world.wake_at
            if at is None or at >= end:
                break
            world = replace(world, now=at).look()
        else:
            raise BrokenError("it wakes itself again and again")
        return replace(world, now=end).look()

    # A pass ---------------------------------------------------------------------------------------

    def look(self) -> World:
        """Run a pass on a look that is taken now, and hold what it does against the invariants."""
        shown = verdict(self.variant, self.shown, planned=self.planned)
        found = shown._replace(asked=self.now)
        around = Around(self.sessions, self.vip, self.held, DRAIN[self.drain], self.returned)
        memory = self.core.memory(level_since=self.now) if self.memory is None else self.memory
        service = searched(self.variant).services["web"]
        decision, after = self.core.decide(service, found, around, memory, self.now)
        if after is not memory:
            again, same = self.core.decide(service, found, around, after, self.now)
            if again.level is not decision.level or again.transition is not None or same != after:
                raise BrokenError("the same pass again decides otherwise")
        world = replace(self, memory=after, wake_at=decision.wake_at).noted()
        world.check(decision)
        level = decision.level
        if level is self.told:
            return world
        failed = level is Level.WITHDRAWN and (self.shown.known is False or not self.vip)
        # Who keeps its 503 page at standby may never have served.
        if failed and self.proof_since is not None and not after.planned.value:
            calm = self.failed is None or self.now - self.failed >= CALM
            failures = 1 if calm else self.failures + 1
            world = replace(world, failed=self.now, failures=failures)
        return replace(world, told=level, changed=self.now)

    def noted(self) -> World:
        """Note since when it is well, serves with less, or is unknown."""
        known = self.shown.known if self.vip else False
        since = self.unknown_since
        if known is None:
            since = self.now if since is None else since
            good = None
        else:
            good = (self.good_since if self.good_since is not None else self.now) if known else None
            since = None
        proof = self.proof_since
        if known is False:
            proof = None
        elif known and proof is None:
            proof = self.now
        if known is None and self.shown is Shown.UNPROVED and since is not None and proof is None:
            # In the end HAProxy's word is believed.
            ends = since + UNPROVED_HOLD
            proof = ends if self.now >= ends - STEP else None
        less = self.less_since
        if known is not None:  # else the last known value is held, and its time goes on
            begun = self.now if less is None else less
            less = begun if self.shown is Shown.LESS else None
        healthy = self.now if self.healthy_since is None else self.healthy_since
        return replace(
            self,
            good_since=good,
            proof_since=proof,
            healthy_since=healthy if self.shown is Shown.WELL and self.vip else None,
            less_since=less,
            unknown_since=since,
            proved=self.proved if known is None else known,
        )

    # What must hold -------------------------------------------------------------------------------

    def check(self, decision: Decision) -> None:
        """Raise BrokenError where a decision breaks what must hold."""
        level, before = decision.level, self.told
        for holds, broken in (
            (self._drained(level), "announced while drained"),
            (self._fresh(level, before), "announced without fresh proof"),
            (self._proved_for(level, before), "announced after too short a proof"),
            (self._failed(level), "announced although nobody serves"),
            (self._well(level), "well, and not announced"),
            (self._calm(level, before), "changed inside the spacing"),
            (self._held_down(level), "promoted inside the hold-down"),
            (self._fell(level, before), "degraded before `fall`"),
            (self._lowered(decision, before), "lowered by a wait"),
            (self._tabled(decision), "caps otherwise than the table says"),
        ):
            if not holds:
                raise BrokenError(f"{broken}: {before.word} -> {level.word} at {self.now:g} s")

    def _drained(self, level: Level) -> bool:
        cap = DRAIN[self.drain]
        if self.planned and isinstance(_LOOKS[self.shown], Snapshot):
            most = Level.WITHDRAWN if self.variant == "unsteered" else Level.STANDBY
            if level > most:
                return False
        return cap is None or level <= cap.level

    def _fresh(self, level: Level, before: Level) -> bool:
        """Unknown promotes nothing for as long as it may be held, and then has an end."""
        if self.shown.known is not None or self.unknown_since is None:
            return True
        lasted = self.now - self.unknown_since
        hold = UNPROVED_HOLD if self.shown is Shown.UNPROVED else SILENT_HOLD
        if lasted < hold - STEP:
            return level <= before and (self.proved or level <= self._floor())
        return self.shown is Shown.UNPROVED or level is Level.WITHDRAWN

    def _proved_for(self, level: Level, before: Level) -> bool:
        if before is not Level.WITHDRAWN or level <= self._floor():
            return True
        return self.proof_since is not None and self.now - self.proof_since >= AFTER - STEP

    def _failed(self, level: Level) -> bool:
        if self.vip and self.shown is Shown.FAILED:
            return level <= self._floor()
        return (self.shown.known is not False and self.vip) or level is Level.WITHDRAWN

    def _floor(self) -> Level:
        """Give what may stand while nobody serves."""
        return Level.STANDBY if self.variant == "standby" else Level.WITHDRAWN

    def _well(self, level: Level) -> bool:
        good = self.good_since is not None and self.now - self.good_since > AFTER + STEP
        capped = self.drain == "gone" or not self.vip
        if self.variant == "unsteered":
            # Without a longer path it is announced while it is healthy, or not at all.
            capped = capped or self.planned or not self._healthy_for(AFTER)
        return not good or capped or level is not Level.WITHDRAWN

    def _healthy_for(self, seconds: float) -> bool:
        since = self.healthy_since
        return since is not None and self.now - since > seconds + STEP

    def _calm(self, level: Level, before: Level) -> bool:
        """A replaced path: a promotion, or a degradation; other ways down are not delayed."""
        replaced = Level.WITHDRAWN not in (level, before) and level is not before
        if not replaced or (level is Level.STANDBY) or self.changed is None:
            return True
        return self.now - self.changed >= SPACING - STEP

    def _held_down(self, level: Level) -> bool:
        if self.failed is None or level <= Level.STANDBY:
            return True
        if self.returned is not None and self.returned >= self.failed:
            return True
        least = min(HOLD_DOWN * float(2 ** (self.failures - 1)), HOLD_DOWN_MAX)
        return self.now - self.failed >= least - STEP

    def _fell(self, level: Level, before: Level) -> bool:
        if before is not Level.PREFERRED or level is not Level.DEGRADED:
            return True
        shown = verdict(self.variant, self.shown, planned=self.planned)
        held = shown.healthy.truth is Truth.UNKNOWN
        return held or (self.less_since is not None and self.now - self.less_since >= FALL - STEP)

    def _lowered(self, decision: Decision, before: Level) -> bool:
        if decision.level >= before:
            return True
        source = decision.cap.source
        return isinstance(source, Source) and source.kind is Kind.FACT

    def _tabled(self, decision: Decision) -> bool:
        """Each cap is in the table, at its level; a wait's is at the present one at least."""
        for cap in decision.caps:
            if cap.source is None:
                return False
            least = cap.source.level
            if self.variant in {"standby", "unsteered"} and cap.source in _OTHERWISE:
                continue
            if cap.source.kind is Kind.WAIT:
                least = max(least, self.told)
            if cap.level is not least and cap.source is not Source.DRAIN:
                return False
        return True

    # What it must come to -------------------------------------------------------------------------

    def settle(self) -> World:
        """Let calm weather last: whatever happened before, it ends at the level that fits."""
        world = replace(self, drain=None, planned=False, vip=True, sessions=True)
        if self.variant == "manual":
            world = replace(world, returned=self.now)
        world = world.look()
        world = world.until(world.now + HOLD_DOWN_MAX + SPACING + RISE + UNPROVED_HOLD)
        fits = {
            Shown.WELL: Level.PREFERRED,
            Shown.LESS: Level.DEGRADED,
            Shown.UNPROVED: Level.PREFERRED,  # HAProxy's word, in the end
        }.get(self.shown, Level.WITHDRAWN)
        if self.variant == "unsteered" and fits is Level.DEGRADED:
            fits = Level.WITHDRAWN
        if self.shown is Shown.FAILED:
            fits = self._floor()
        if world.told is not fits:
            raise BrokenError(f"it stays {world.told.word}, and {fits.word} would fit")
        return world
