"""The reports of the lab: steps and checks as values, as text and as JSON."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

from anycastd.lab.network.table import TableRow

MIN_WIDTH = 40
"""Columns of a terminal to which lines are folded, at least."""


@dataclass(frozen=True, slots=True)
class Check:
    """A criterion, whether it was met, and what was seen instead or as proof."""

    criterion: str
    passed: bool
    saw: str


@dataclass(frozen=True, slots=True)
class Time:
    """Seconds from the step's event to something that was seen; ``name`` is for programs."""

    name: str
    title: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Table:
    """A router's routes to the VIP; ``name`` is for programs."""

    name: str
    title: str
    rows: tuple[TableRow, ...]


@dataclass(slots=True)
class StepReport:
    """What was seen in one step of a story; its fields are the keys of the JSON.

    ``times`` count from the step's event (a fault or its repair).  ``answers`` counts the good
    answers by region and server, ``failed`` the failed requests by reason.  ``outage`` is in
    seconds, None if no request failed.  ``agents``: site -> level and reason that its agent
    reports.  ``published`` is what the system's own write-up says of this step.  ``acted_at`` is
    when the step broke or repaired something (monotonic clock, s); it is not in the JSON.
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
    published: str = ""
    acted_at: float | None = None

    @property
    def passed(self) -> bool:
        """Whether every criterion was met."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def add_time(self, name: str, title: str, seconds: float | None) -> None:
        """Add a measured time in seconds; None means that it was not seen and is ignored."""
        if seconds is not None:
            self.times.append(Time(name, title, seconds))

    def add_table(self, name: str, title: str, rows: tuple[TableRow, ...]) -> None:
        """Add a table of a router."""
        self.tables.append(Table(name, title, rows))

    def add_check(self, criterion: str, passed: bool, saw: str) -> None:
        """Add a criterion, whether it was met, and what was seen."""
        self.checks.append(Check(criterion, passed, saw))


def build_document(steps: Sequence[StepReport], about: dict[str, Any]) -> dict[str, Any]:
    """Build one JSON object of a story: the keys of ``about`` and the steps; times in seconds."""
    return {
        "v": 1,
        **about,
        "steps": [_step_to_json(step) for step in steps],
        "passed": bool(steps) and all(step.passed for step in steps),
    }


def _step_to_json(step: StepReport) -> dict[str, Any]:
    values = {**asdict(step), "passed": step.passed}
    del values["acted_at"]
    return values


class TextReport:
    """A writer of a story as text, with colours on a terminal unless NO_COLOR is set."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._use_color = self._is_terminal and not os.environ.get("NO_COLOR")

    def write_line(self, text: str = "", *, fold: bool = True) -> None:
        """Write a line, or several; on a terminal they are folded to its width."""
        self._write(self._fold(text) if fold else text)

    def _write(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def _fold(self, text: str) -> str:
        if not self._is_terminal:
            return text
        width = max(MIN_WIDTH, shutil.get_terminal_size().columns - 1)
        return "\n".join(_fold_line(line, width) for line in text.split("\n"))

    def write_heading(self, text: str) -> None:
        """Write a heading, with an empty line before it."""
        self.write_line()
        self._write(self._color("1", self._fold(text)))

    def write_step(self, step: StepReport) -> None:
        """Write the report of a step, below its heading."""
        if step.times:
            width = max(len(time.title) for time in step.times)
            for time in step.times:
                self.write_line(f"  {time.title:<{width}}  {format_seconds(time.seconds):>10}")
        if step.published:
            self.write_line(f"  the write-up: {step.published}")
        for table in step.tables:
            self.write_line(f"  {table.title}")
            for row in table.rows:
                self.write_line(f"    {row.describe()}")
            if not table.rows:
                self.write_line("    (no route)")
        if step.answers or step.failed:
            good, bad = sum(step.answers.values()), sum(step.failed.values())
            self.write_line(f"  the client's requests: {good} good, {bad} failed")
            for what, number in (*step.answers.items(), *step.failed.items()):
                self.write_line(f"    {number:>5}  {what}")
        for region, reason in step.agents.items():
            self.write_line(f"  the agent of {region} reports {reason}")
        for check in step.checks:
            word, code = ("pass", "32") if check.passed else ("FAIL", "31")
            text = self._fold(f"  {word}  {check.criterion}: {check.saw}")
            self._write(text.replace(word, self._color(code, word), 1))

    def write_verdict(self, steps: Sequence[StepReport], planned: int, seconds: float) -> None:
        """Write the last line: how many of the ``planned`` steps passed, in how many seconds."""
        good = sum(step.passed for step in steps)
        word = self._color("32", "PASSED") if good == planned else self._color("31", "FAILED")
        self.write_line()
        self.write_line(f"{word}: {good} of {planned} steps passed in {seconds:.0f} s")

    def _color(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._use_color else text


def _fold_line(line: str, width: int) -> str:
    """Fold a line to a width; its rest stands below its last column, or is indented."""
    if len(line) <= width:
        return line
    start = line[: len(line) - len(line.lstrip())]
    column = re.match(r"\s*\S.{0,20}?\s{2,}", line)
    rest = " " * (column.end() if column else len(start) + 2)
    words = line[len(start) :].split(" ")
    folded = [start + words[0]]
    for word in words[1:]:
        if len(folded[-1]) + 1 + len(word) <= width or not word:
            folded[-1] += f" {word}"
        else:
            folded.append(rest + word)
    return "\n".join(folded)


def format_seconds(seconds: float) -> str:
    """Format a duration: in ms below one second, else in s."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def print_error(text: str) -> None:
    """Write a message to standard error."""
    sys.stderr.write(f"anycastd lab: {text}\n")
