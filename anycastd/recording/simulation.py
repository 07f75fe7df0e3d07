"""Run the passes of a recording again, in virtual time (pure).

With the profile of the recording a pass runs whenever one was recorded, with the same inputs: so
the same course comes out, unless this release decides differently from the one that recorded.

With another profile a pass also runs at each ``wake_at`` between two lines, since its timers end at
other times.  What surrounds the service is as recorded: looks, self-tests, sessions, other regions,
what operators did, expiries of the lease.  The lease is a model: what the simulation wants is
leased, and confirmed at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from anycastd.bgp.route import Route
from anycastd.decision.drains import DrainTable
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, PassResult, advance, restart_at_withdrawn
from anycastd.decision.policy import Transition
from anycastd.profile.model import Profile
from anycastd.reasons import Reason
from anycastd.recording.reader import Step

MAX_LATE = 0.15
"""Seconds (own time) by which a recorded pass may be late for a timer and still be its pass."""
MAX_TIMERS = 10_000
"""Passes between two lines at most: far more than the few timers of a service need."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of level.  ``at`` is own time and ``wall`` Unix time, in seconds."""

    at: float
    wall: float
    service: str
    old: Level
    new: Level
    reason: Reason
    detail: str


def to_change(transition: Transition, offset: float) -> Change:
    """Convert a transition; ``offset`` is what its own time lacks to Unix time."""
    at = transition.decided_at
    return Change(
        at,
        at + offset,
        transition.service,
        transition.old,
        transition.new,
        transition.reason,
        transition.detail,
    )


def list_expired(levels: Mapping[str, Level], step: Step) -> Iterator[Change]:
    """Yield the withdrawals by an expiry of the lease before ``step``; ``levels`` are those before.

    They are no decisions: the lease process withdrew the routes.
    """
    reason = Reason.LEASE_EXPIRED
    for name, level in levels.items():
        if level is not Level.WITHDRAWN:
            yield Change(step.at, step.wall, name, level, Level.WITHDRAWN, reason, "")


class Simulation:
    """One course through the steps of a recording, with ``profile``.

    ``memory`` is that of the recording's header; services that the profile does not have are left
    out.  ``own``: the profile is the one that was recorded.  ``levels``: service -> its level now.
    """

    def __init__(self, profile: Profile, memory: Mapping[str, Memory], *, own: bool) -> None:
        self.profile = profile
        self.memory: dict[str, Memory] = {}
        self._own = own
        self._drains: DrainTable = {}
        self._wanted: tuple[Route, ...] | None = None
        self._wake_at: float | None = None
        self._inputs = Inputs()
        self._restart(memory)

    @property
    def levels(self) -> dict[str, Level]:
        """Return service -> its level now."""
        return {
            name: self.memory[name].level if name in self.memory else Level.WITHDRAWN
            for name in self.profile.services
        }

    def run(self, step: Step) -> Iterator[Change]:
        """Run the pass of ``step``, and those that are due before it; yield the changes."""
        offset = step.wall - step.at
        if not self._own:
            for at in self._iter_due(step):
                yield from self._pass(self._age(self._inputs, step), at, offset)
        self._inputs = step.inputs
        if step.memory is not None:
            self._restart(step.memory)
        if step.expired:
            levels = self.levels
            self.memory |= restart_at_withdrawn(self.memory, step.at)
            yield from list_expired(levels, step)
        if step.drains:
            drains = {**self._drains, **step.drains}
            self._drains = {key: each for key, each in drains.items() if each is not None}
        yield from self._pass(step.inputs, step.at, offset)

    def _restart(self, memory: Mapping[str, Memory]) -> None:
        self.memory = {name: each for name, each in memory.items() if name in self.profile.services}
        self._wanted = None

    def _iter_due(self, step: Step) -> Iterator[float]:
        """Yield the times before ``step`` at which time alone may change something."""
        last = -1.0
        for _ in range(MAX_TIMERS):
            at = self._wake_at
            if at is None or at <= last or at > step.at - MAX_LATE:
                return
            yield at
            last = at

    @staticmethod
    def _age(inputs: Inputs, step: Step) -> Inputs:
        """Return the inputs between two lines: where looks went on, none of them gets too old."""
        if not step.steady:
            return inputs
        return replace(
            inputs, evidence=step.inputs.evidence, region_reports=step.inputs.region_reports
        )

    def _pass(self, inputs: Inputs, at: float, offset: float) -> Iterator[Change]:
        lease = inputs.lease
        if not self._own and self._wanted is not None and lease.leased is not None:
            lease = replace(lease, leased=self._wanted, levels=None)
        inputs = replace(inputs, lease=lease, drains=self._drains)
        result: PassResult = advance(self.profile, self.memory, inputs, at)
        self.memory = dict(result.memory)
        self._drains, self._wake_at = result.drains, result.wake_at
        if result.wanted is not None:
            self._wanted = result.wanted
        for transition in result.transitions:
            yield to_change(transition, offset)
