"""Periods of a journal, and what can be said of them; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from support.machine import Entry
from support.route_log import Change

INF = float("inf")
AT_ONCE = 0.1
"""Seconds within which a new session loses what ExaBGP had at its beginning."""


@dataclass(frozen=True, slots=True)
class Span:
    """A period from ``start`` to ``end`` (``time.monotonic()``)."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Duration in seconds."""
        return self.end - self.start

    def overlaps(self, start: float, end: float) -> bool:
        """Return whether it overlaps another period."""
        return self.start <= end and self.end >= start

    def overlap(self, start: float, end: float) -> float:
        """Return the seconds that it shares with another period."""
        return max(0.0, min(self.end, end) - max(self.start, start))


def find_spans(journal: Sequence[Entry], part: str, start: str, end: str) -> list[Span]:
    """Return the periods in which ``part`` was in the state between ``start`` and ``end``."""
    found: list[Span] = []
    began_at: float | None = None
    for entry in journal:
        if entry.part != part:
            continue
        if entry.what == start and began_at is None:
            began_at = entry.at
        elif entry.what == end and began_at is not None:
            found.append(Span(began_at, entry.at))
            began_at = None
    return found if began_at is None else [*found, Span(began_at, INF)]


def find_touches(journal: Sequence[Entry], part: str, lasts: float) -> list[Span]:
    """Return a period of ``lasts`` seconds for each short disturbance of ``part``."""
    return [
        Span(entry.at, entry.at + lasts)
        for entry in journal
        if entry.part == part and entry.what == "touch"
    ]


def intersect(first: Iterable[Span], second: Sequence[Span]) -> list[Span]:
    """Return the periods that lie in a period of both lists."""
    return [
        Span(max(one.start, other.start), min(one.end, other.end))
        for one in first
        for other in second
        if one.overlaps(other.start, other.end)
    ]


def merge(found: Iterable[Span], gap: float) -> list[Span]:
    """Merge periods that are at most ``gap`` seconds apart."""
    whole: list[Span] = []
    for span in sorted(found, key=lambda span: span.start):
        if whole and span.start - whole[-1].end <= gap:
            whole[-1] = Span(whole[-1].start, max(whole[-1].end, span.end))
        else:
            whole.append(span)
    return whole


def find_end(start: float, seconds: float, taken: Iterable[Span], again: float = 0.0) -> float:
    """Return when ``seconds`` after ``start`` are over that none of the periods ``taken`` took.

    After each of them what takes time begins anew in part: that costs ``again`` seconds more.
    """
    end = start + seconds
    for span in merge(taken, gap=0.0):
        if span.end > start and span.start <= end:
            end += span.overlap(start, INF) + again
    return end


def find_route_spans(changes: Sequence[Change], ended_at: float) -> list[Span]:
    """Return the periods in which a peer had a route."""
    found: list[Span] = []
    began_at: float | None = None
    for change in changes:
        if change.route is not None and began_at is None:
            began_at = change.at
        elif change.route is None and began_at is not None:
            found.append(Span(began_at, change.at))
            began_at = None
    return found if began_at is None else [*found, Span(began_at, ended_at)]


def list_passing(own: Sequence[Change]) -> Iterator[tuple[int, float]]:
    """List what a new session of a peer got and lost again at once: (peer, when).

    ExaBGP fills a new session with what it has at that moment, and a withdrawal may be on its way.
    """
    for before, change, after in zip(own, own[1:], own[2:], strict=False):
        if before.closed and after.route is None and after.at - change.at < AT_ONCE:
            yield change.peer, change.at
