"""A watcher's service in a search: failures, silences, restarts in any order, a load that jumps.

An observer sees what is announced, and knows what the checks would find.  It uses none of the code
of the decision.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from anycastd.decision.levels import Level
from search.effort import InvariantError
from support.watcher_world import FIRST, SECOND, THIRD, Watcher, watcher_profile

HOPS = {FIRST: "c1", SECOND: "c2", THIRD: "c3"}
"""Address of each next hop -> its check."""
DEADLINE, RISE, HOLD_DOWN, HOLD_DOWN_MAX, SPACING = 4.5, 10.0, 60.0, 900.0, 35.0
"""Seconds, as in the profile."""
TOLERANCE = 0.01
MEDS = (50, 100, 200)
STEP = 2.0
"""Seconds between two passes at most: a check has a result more often than its deadline."""


@dataclass
class HopRecord:
    """What the observer knows of a next hop; times are own time.

    ``serves_from``: since when its check has been true (None: it is not).  ``unseen_from``: since
    when it cannot be seen.  ``failures`` in a row, the last one at ``failed_at``.
    """

    serves_from: float | None = None
    unseen_from: float | None = None
    failures: int = 0
    failed_at: float | None = None

    def note(self, passed: bool | None, now: float) -> None:
        """Note what the check finds now."""
        if passed is None:
            self.unseen_from = now if self.unseen_from is None else self.unseen_from
            if self.serves_from is not None and now - self.unseen_from >= DEADLINE - TOLERANCE:
                self._fail(now)
            return
        self.unseen_from = None
        if passed and self.serves_from is None:
            self.serves_from = now
        elif not passed and self.serves_from is not None:
            self._fail(now)

    def _fail(self, now: float) -> None:
        self.serves_from, self.failed_at = None, now
        self.failures += 1


@dataclass
class World:
    """A watcher, and an observer of its routes; ``apply`` takes one event."""

    watcher: Watcher = field(default_factory=lambda: Watcher(watcher_profile()))
    hops: dict[str, HopRecord] = field(default_factory=lambda: {each: HopRecord() for each in HOPS})
    announced: str | None = None
    med: int | None = None
    level: Level = Level.WITHDRAWN
    changed_at: float = 0.0
    med_changed_at: float = 0.0

    def apply(self, event: str) -> None:
        """Apply an event: `c1 up|down|unseen`, `load N`, `wait S`, `expire`, `restart KIND`."""
        word, _, argument = event.partition(" ")
        watcher = self.watcher
        if word in HOPS.values():
            watcher.checks[word] = {"up": True, "down": False, "unseen": None}[argument]
            self._pass()
        elif word == "load":
            watcher.step = None if argument == "unseen" else int(argument)
            self._pass()
        elif word == "expire":
            # Nothing is on the lease any more, whatever the next pass wants.
            self.announced, self.level, self.med = None, Level.WITHDRAWN, None
            watcher.expire()
            self._observe()
        elif word == "restart":
            in_time = argument != "late"
            if not in_time:
                self.announced, self.level, self.med = None, Level.WITHDRAWN, None
            self.watcher = watcher.restart(kept=argument != "forgotten", in_time=in_time)
            self._forget(failures=argument == "forgotten")
            self._pass()
        else:
            self._wait(float(argument))

    def _forget(self, *, failures: bool) -> None:
        """Note what a new agent cannot know: what it has not seen itself, and lost failures."""
        for address, record in self.hops.items():
            if record.unseen_from is not None:
                record.unseen_from = self.watcher.now
                if address != self.announced:
                    record.serves_from = None
            if failures:
                record.failures, record.failed_at = 0, None

    def _wait(self, seconds: float) -> None:
        end = self.watcher.now + seconds
        while self.watcher.now < end:
            due = None if self.watcher.result is None else self.watcher.result.wake_at
            later = min(self.watcher.now + STEP, end)
            early = due is not None and self.watcher.now < due < later
            self.watcher.now = due if early and due is not None else later
            self._pass()

    def _pass(self) -> None:
        for address, check in HOPS.items():
            self.hops[address].note(self.watcher.checks[check], self.watcher.now)
        self.watcher.run_pass()
        self._observe()

    def _observe(self) -> None:
        watcher, now = self.watcher, self.watcher.now
        result = watcher.result
        assert result is not None
        level = result.decisions["voip"].level
        hop, med = watcher.next_hop, watcher.med
        if len({(each.next_hop, each.med) for each in watcher.routes}) > 1:
            raise InvariantError("two neighbors have different routes")
        if hop is not None:
            self._check_serving(hop)
            self._check_med(med, level, now)
        if self.announced is not None and hop != self.announced:
            self._check_change(hop, level, now)
        if hop != self.announced or level is not self.level:
            self.changed_at = now
        if hop is not None and self.med not in (None, med) and level is self.level:
            self.med_changed_at = now
        self.announced, self.med, self.level = hop, med, level

    def _check_serving(self, hop: str) -> None:
        """What is announced serves; what is chosen anew is known to serve now."""
        record = self.hops[hop]
        if record.serves_from is None:
            raise InvariantError(f"{hop} is announced and does not serve")
        if hop != self.announced and self.watcher.checks[HOPS[hop]] is not True:
            raise InvariantError(f"{hop} is chosen and is not known to serve")

    def _check_change(self, hop: str | None, level: Level, now: float) -> None:
        """Away only from one that fails; back only after rise, hold-down and spacing."""
        before = self.hops[str(self.announced)]
        others = [each for each in HOPS if self.watcher.checks[HOPS[each]] is True]
        if hop is None:
            if before.serves_from is not None or others:
                raise InvariantError("withdrawn although a next hop serves")
            return
        if before.serves_from is None:
            if level is not self.level:
                raise InvariantError("another next hop at another level")
            return
        record, order = self.hops[hop], list(HOPS)
        if order.index(hop) > order.index(str(self.announced)):
            raise InvariantError(f"a later next hop, {hop}, replaces one that serves")
        if now - (record.serves_from or now) < RISE - TOLERANCE:
            raise InvariantError(f"{hop} is back before its rise")
        if now - self.changed_at < SPACING - TOLERANCE:
            raise InvariantError(f"{hop} is back before the spacing")
        hold_down = _find_hold_down(record.failures)
        if record.failed_at is not None and now - record.failed_at < hold_down - TOLERANCE:
            raise InvariantError(f"{hop} is back before its hold-down")

    def _check_med(self, med: int | None, level: Level, now: float) -> None:
        if med not in MEDS:
            raise InvariantError(f"the MED is {med}")
        if self.med in (None, med) or level is not self.level or self.announced is None:
            return
        since = max(self.med_changed_at, self.changed_at)
        if now - since < SPACING - TOLERANCE:
            raise InvariantError("the MED changes before the spacing")

    def recover(self) -> None:
        """Make all well and wait: the first next hop, preferred, with the first MED."""
        for each in HOPS.values():
            self.watcher.checks[each] = True
        self.watcher.step = 0
        self._pass()
        most = max(record.failures for record in self.hops.values())
        self._wait(_find_hold_down(most + 2) + 3 * SPACING)
        if (self.announced, self.level, self.med) != (FIRST, Level.PREFERRED, MEDS[0]):
            raise InvariantError(f"it stays {self.level.label} at {self.announced}, {self.med}")


def _find_hold_down(failures: int) -> float:
    return float(min(HOLD_DOWN * 2.0 ** (max(failures, 1) - 1), HOLD_DOWN_MAX))


def run_events(events: list[str]) -> None:
    """Run the events on a service that is preferred, and let all be well at the end."""
    world = World()
    world.apply("wait 60")
    for event in events:
        world.apply(event)
    world.recover()
