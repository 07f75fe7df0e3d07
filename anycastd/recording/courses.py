"""Two courses side by side: what was recorded, and what a simulation makes of it (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anycastd.decision.levels import Level
from anycastd.profile.conditions import AllOf, AnyOf, BackendRule, FrontendRule, LimitRule
from anycastd.profile.model import Profile
from anycastd.recording.reader import RecordingReader, Step
from anycastd.recording.simulation import Change, Simulation, list_expired, to_change

VERSION = 1
"""Version of the JSON; keys are only ever added."""
SAME_TIME = 0.5
"""Seconds between two equal changes of two courses that still count as the same change."""
MAX_CHANGES = 100_000
"""Changes of a course that are kept."""


class TooManyChangesError(Exception):
    """A course has more than ``MAX_CHANGES`` changes of level."""


@dataclass(slots=True)
class Course:
    """One course: its changes in order, and for each service the seconds at each level.

    ``at_level``: service -> level -> seconds of own time.  ``levels``: service -> its level now.
    """

    changes: list[Change] = field(default_factory=list)
    at_level: dict[str, dict[Level, float]] = field(default_factory=dict)
    levels: dict[str, Level] = field(default_factory=dict)
    _until: float | None = None

    def advance(self, at: float) -> None:
        """Count the time until ``at`` (own time) to the levels of now."""
        if self._until is not None and at > self._until:
            for name, level in self.levels.items():
                spent = self.at_level.setdefault(name, dict.fromkeys(Level, 0.0))
                spent[level] += at - self._until
        self._until = at

    def set_levels(self, levels: Mapping[str, Level]) -> None:
        """Take over levels that no change tells: those of the start."""
        self.levels |= levels

    def add(self, change: Change) -> None:
        """Add a change; raises TooManyChangesError."""
        self.advance(change.at)
        self.levels[change.service] = change.new
        self.changes.append(change)
        if len(self.changes) > MAX_CHANGES:
            raise TooManyChangesError

    def to_json(self) -> dict[str, Any]:
        """Return the totals of each service, and all changes, as JSON values."""
        services = {}
        for name, spent in self.at_level.items():
            own = sum(change.service == name for change in self.changes)
            services[name] = {
                "seconds": {level.label: round(spent[level], 3) for level in reversed(Level)},
                "changes": own,
                "outage": round(spent[Level.WITHDRAWN], 3),
            }
        return {"services": services, "changes": [change_to_json(each) for each in self.changes]}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a change of both courses, or of one of them (the other is None)."""

    recorded: Change | None
    simulated: Change | None

    @property
    def same(self) -> bool:
        """Return whether both courses have this change."""
        return self.recorded is not None and self.simulated is not None

    @property
    def change(self) -> Change:
        """Return the change, that of the recorded course where both have it."""
        found = self.recorded or self.simulated
        if found is None:
            raise ValueError("a row has a change of one course at least")
        return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both courses.  ``began_at`` and ``ended_at`` are Unix time; ``ended`` says why it ends.

    ``passes`` counts those that were recorded.  ``notes`` are sentences about what the simulation
    cannot know.
    """

    region: str
    began_at: float
    ended_at: float
    ended: str
    passes: int
    recorded: Course
    simulated: Course
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def first_difference(self) -> Row | None:
        """Return the first change that only one of the courses has; None: they are the same."""
        return next((row for row in self.rows if not row.same), None)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; times are Unix time, in seconds."""
        first = self.first_difference
        return {
            "v": VERSION,
            "region": self.region,
            "began_at": round(self.began_at, 3),
            "ended_at": round(self.ended_at, 3),
            "ended": self.ended,
            "passes": self.passes,
            "same": first is None,
            "differs_at": None if first is None else round(first.change.wall, 3),
            "recorded": self.recorded.to_json(),
            "simulated": self.simulated.to_json(),
            "notes": list(self.notes),
        }


def compare_courses(reader: RecordingReader, own: Profile, other: Profile | None) -> Comparison:
    """Run all steps of a recording, and compare what was recorded with what comes out now.

    ``own`` is the profile of the recording, ``other`` the one to try (None: its own).  Raises
    RecordingError for a damaged line, and TooManyChangesError.
    """
    runner = _Runner(reader, own, other)
    for step in reader.iter_steps():
        runner.run(step)
    return runner.finish()


class _Runner:
    def __init__(self, reader: RecordingReader, own: Profile, other: Profile | None) -> None:
        self._reader = reader
        self._own = Simulation(own, reader.header.memory, own=True)
        self._other = None if other is None else Simulation(other, reader.header.memory, own=False)
        self._recorded, self._replayed, self._tried = Course(), Course(), Course()
        self._recorded.set_levels(self._own.levels)
        self._settled = False
        self._seen = _Seen()
        self._passes = 0
        self._wall = reader.header.wall

    def run(self, step: Step) -> None:
        """Run one step in all courses."""
        self._passes += step.steady or 1
        self._wall = step.wall
        self._seen.add(step)
        _follow(self._replayed, self._own, step)
        if self._other is not None:
            _follow(self._tried, self._other, step)
        self._recorded.advance(step.at)
        if step.expired:
            for change in list(list_expired(self._recorded.levels, step)):
                self._recorded.add(change)
        elif step.memory is not None or not self._settled:
            # A level that was adopted from the lease is no change: only a pass tells it.
            told = {each.service for each in step.transitions}
            levels = self._own.levels
            self._recorded.set_levels({n: each for n, each in levels.items() if n not in told})
        self._settled = all(each.adopted for each in self._own.memory.values())
        for transition in step.transitions:
            self._recorded.add(to_change(transition, step.wall - step.at))

    def finish(self) -> Comparison:
        """Compare the courses."""
        header = self._reader.header
        simulated = self._replayed if self._other is None else self._tried
        exact = self._other is None
        notes: list[str] = []
        if self._other is not None:
            notes += self._seen.describe_missing(self._other.profile)
            if any(not row.same for row in _join(self._recorded, self._replayed, exact=True)):
                notes.append(
                    f"this release decides otherwise than {header.version}, which recorded: "
                    "without --profile the differences are shown"
                )
        return Comparison(
            header.region,
            header.wall,
            max(self._wall, self._reader.ended_at or 0.0),
            self._reader.ended,
            self._passes,
            self._recorded,
            simulated,
            tuple(_join(self._recorded, simulated, exact=exact)),
            tuple(notes),
        )


def _follow(course: Course, simulation: Simulation, step: Step) -> None:
    for change in simulation.run(step):
        course.add(change)
    course.advance(step.at)
    course.set_levels(simulation.levels)


def _join(recorded: Course, simulated: Course, *, exact: bool) -> Iterator[Row]:
    """Join the changes of two courses in the order of time."""
    left, right = list(recorded.changes), list(simulated.changes)
    taken: set[int] = set()
    first = 0
    rows = []
    for change in left:
        while first < len(right) and right[first].at < change.at - SAME_TIME:
            first += 1
        found = None
        for number in range(first, len(right)):
            other = right[number]
            if other.at > change.at + SAME_TIME:
                break
            if number not in taken and _is_same(change, other, exact=exact):
                found = number
                break
        if found is not None:
            taken.add(found)
        rows.append(Row(change, None if found is None else right[found]))
    rows += [Row(None, change) for number, change in enumerate(right) if number not in taken]
    yield from sorted(rows, key=lambda row: row.change.at)


def _is_same(one: Change, other: Change, *, exact: bool) -> bool:
    if exact and (one.at != other.at or one.detail != other.detail):
        return False
    return (one.service, one.old, one.new, one.reason) == (
        other.service,
        other.old,
        other.new,
        other.reason,
    )


def change_to_json(change: Change) -> dict[str, Any]:
    """Return a change as JSON values; ``at`` is Unix time."""
    return {
        "at": round(change.wall, 3),
        "service": change.service,
        "from": change.old.label,
        "to": change.new.label,
        "reason": change.reason.name.lower(),
        "text": change.reason.sentence,
        "detail": change.detail,
    }


class _Seen:
    """The names that a recording has: a rule about another name proves nothing in it."""

    def __init__(self) -> None:
        self.instances: set[str] = set()
        self.proxies: set[tuple[str, str, str]] = set()
        self.tests: set[str] = set()
        self.checks: set[str] = set()

    def add(self, step: Step) -> None:
        evidence = step.inputs.evidence
        self.tests.update(evidence.self_test)
        self.checks.update(evidence.checks)
        for name, look in evidence.haproxy.items():
            self.instances.add(name)
            for kind in ("backend", "frontend"):
                for proxy in getattr(look, f"{kind}s", ()):
                    self.proxies.add((name, kind, proxy))

    def describe_missing(self, profile: Profile) -> Iterator[str]:
        """Yield a sentence for each thing that ``profile`` asks for and the recording lacks."""
        for name in profile.haproxy:
            if name not in self.instances:
                yield f"the recording has no look at the HAProxy {name}: nothing is decided"
        asked = {each for service in profile.services.values() for each in _iter_proxies(service)}
        for name, kind, proxy in sorted(asked - self.proxies):
            if name in self.instances:
                yield f"the recording has no {kind} {proxy}: it counts as missing"
        for name, service in profile.services.items():
            if service.self_test is not None and name not in self.tests:
                yield f"the recording has no self-test of {name}: it counts as unknown"
        for name in profile.checks:
            if name not in self.checks:
                yield f"the recording has no check {name}: it counts as unknown"


def _iter_proxies(service: Any) -> Iterable[tuple[str, str, str]]:  # noqa: ANN401 - a Service
    conditions: list[Any] = [condition for _, condition in service.conditions]
    while conditions:
        each = conditions.pop()
        if isinstance(each, AllOf | AnyOf):
            conditions += each.rules
        elif isinstance(each, BackendRule):
            yield each.instance, "backend", each.backend
        elif isinstance(each, FrontendRule):
            yield each.instance, "frontend", each.frontend
        elif isinstance(each, LimitRule):
            yield each.instance, "frontend" if each.frontend else "backend", each.proxy
