"""What the lab tells: steps and checks as values, as text for a person, as JSON for a program."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any, TextIO

from anycastd.lab.network.routers import Row


@dataclass(frozen=True, slots=True)
class Check:
    """A criterion in words, whether it was met, and what was seen."""

    criterion: str
    passed: bool
    saw: str


@dataclass(frozen=True, slots=True)
class Time:
    """How long after the step's event something was seen; ``name`` is for programs."""

    name: str
    title: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Table:
    """What the MSEE knew about the VIP; ``name`` is for programs."""

    name: str
    title: str
    rows: tuple[Row, ...]


@dataclass(slots=True)
class StepReport:
    """One step of the story.

    ``times`` count from the step's event (a fault, or something started again); ``answers`` counts
    good answers by region and server, ``failed`` the failed requests by how they failed, ``outage``
    is in seconds (None: nothing failed); ``agents`` is what `anycastd status` says by region.
    """

    name: str
    title: str
    times: list[Time] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    outage: float | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every criterion was met."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def time(self, name: str, title: str, seconds: float | None) -> None:
        """Add a measured time; None was not seen and is left out."""
        if seconds is not None:
            self.times.append(Time(name, title, seconds))

    def table(self, name: str, title: str, rows: tuple[Row, ...]) -> None:
        """Add a table of the MSEE."""
        self.tables.append(Table(name, title, rows))

    def check(self, criterion: str, passed: bool, saw: str) -> None:
        """Add a criterion's result."""
        self.checks.append(Check(criterion, passed, saw))


def build_document(steps: Sequence[StepReport], about: dict[str, Any]) -> dict[str, Any]:
    """Return the story as one JSON-able object; times in seconds."""
    return {
        "v": 1,
        **about,
        "steps": [{**asdict(step), "passed": step.passed} for step in steps],
        "passed": bool(steps) and all(step.passed for step in steps),
    }


class Progress:
    """A line while something is awaited: rewritten on a terminal, else one each few seconds."""

    def __init__(self, stream: TextIO, every: float = 5.0) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._every = every
        self._what = ""
        self._last = 0.0
        self._shown = False

    def __call__(self, what: str, waited: float, allowed: float) -> None:
        """Show what is awaited, for how long so far and for how long at most (seconds)."""
        now = monotonic()
        if what != self._what:
            # What happens at once needs no line.
            self._what, self._last = what, now - (self._every - 1 if not self._terminal else -0.2)
        if now - self._last < (0.1 if self._terminal else self._every):
            return
        self._last = now
        line = f"  ... {what}: {waited:.1f} s (at most {allowed:g} s)"
        self._stream.write(f"\r\033[K{line}" if self._terminal else f"{line}\n")
        self._stream.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the line away before something else is written."""
        self._what = ""
        if self._terminal and self._shown:
            self._stream.write("\r\033[K")
            self._stream.flush()
        self._shown = False


class TextReport:
    """Writes the story for a person; modest colour on a terminal, none elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._use_color = stream.isatty() and "NO_COLOR" not in os.environ

    def line(self, text: str = "") -> None:
        """Write a line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def heading(self, text: str) -> None:
        """Write a heading, with an empty line before it."""
        self.line()
        self.line(self._color("1", text))

    def step(self, step: StepReport) -> None:
        """Write what was seen in a step, below its heading."""
        if step.times:
            width = max(len(time.title) for time in step.times)
            for time in step.times:
                self.line(f"  {time.title:<{width}}  {format_seconds(time.seconds):>10}")
        for table in step.tables:
            self.line(f"  {table.title}")
            for row in table.rows or ("(no route)",):
                self.line(f"    {row}")
        if step.answers or step.failed:
            good, bad = sum(step.answers.values()), sum(step.failed.values())
            self.line(f"  the client's requests: {good} good, {bad} failed")
            for words, number in (*step.answers.items(), *step.failed.items()):
                self.line(f"    {number:>5}  {words}")
        for region, said in step.agents.items():
            self.line(f"  the agent of {region} says: {said}")
        for check in step.checks:
            word = self._color("32", "pass") if check.passed else self._color("31", "FAIL")
            self.line(f"  {word}  {check.criterion}: {check.saw}")

    def verdict(self, steps: Sequence[StepReport], planned: int, seconds: float) -> None:
        """Write the last line."""
        good = sum(step.passed for step in steps)
        word = self._color("32", "all seen") if good == planned else self._color("31", "FAILED")
        self.line()
        self.line(f"{word}: {good} of {planned} steps passed in {seconds:.0f} s")

    def _color(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._use_color else text


def format_seconds(seconds: float) -> str:
    """Return seconds as a person reads them."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def print_error(text: str) -> None:
    """Write a message to standard error."""
    sys.stderr.write(f"anycastd lab: {text}\n")
