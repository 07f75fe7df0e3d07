"""Draw the levels of services over time as strips of SVG (pure).

A strip has no text and no fixed width: it is stretched to the width of the page, and its scale and
names are text beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from anycastd.system.instants import format_day_and_time, format_duration
from anycastd.views.events import Event, EventKind
from anycastd.views.page_parts import escape

WIDTH, HEIGHT = 1000, 20
"""The units of a strip, which is stretched to the width of the page."""
MIN_WIDTH = 4.0
"""Units that a segment has at least: a short withdrawal is seen on a long strip too."""
MAX_SEGMENTS, MAX_MARKS = 60, 40
"""Segments and marks of one strip at most; the newest are drawn."""
SPANS = (600, 3600, 6 * 3600, 24 * 3600)
"""The lengths of time (s) that a timeline may show; the shortest that has every event is used."""
UNKNOWN = "unknown"
"""What is shown where no agent ran, or nothing is on record."""
_NO_AGENT = (EventKind.AGENT_STOPPED, EventKind.LEASE_EXPIRED)


@dataclass(frozen=True, slots=True)
class Segment:
    """A time (Unix, s) at one level; ``level`` may be ``unknown``."""

    began_at: float
    ends_at: float
    level: str


def choose_span(events: Iterable[Event], now: float) -> int:
    """Return the shortest of ``SPANS`` that has every event, or the longest; ``now`` is Unix."""
    oldest = min((each.at for each in events if each.at > now - SPANS[-1]), default=now)
    return next((span for span in SPANS if oldest >= now - span), SPANS[-1])


def build_segments(
    events: Sequence[Event], service: str, level: str, began_at: float, now: float
) -> list[Segment]:
    """Build the segments of a service from the events, which are ordered by time.

    ``level`` is its level now, ``began_at`` the Unix time since which it has it.  Nothing is known
    from before the first event, nor while no agent ran.
    """
    segments: list[Segment] = []
    since: float | None = None
    current = UNKNOWN
    watched_from = events[0].at if events else now
    for event in events:
        if event.kind is EventKind.AGENT_STARTED:
            watched_from = event.at
        new = _level_after(event, service)
        if new is None:
            continue
        if since is None:
            since, current = watched_from, str(event.fields.get("from", UNKNOWN))
        if event.at > since:
            segments.append(Segment(since, event.at, current))
        since, current = event.at, new
    if since is not None and current != level and began_at > since:
        segments.append(Segment(since, began_at, current))
        since = began_at
    first = began_at if since is None else since
    segments.append(Segment(min(first, now), now, level))
    return segments[-MAX_SEGMENTS:]


def _level_after(event: Event, service: str) -> str | None:
    """Return the level of a service after an event; None: the event does not change it."""
    if event.kind in _NO_AGENT:
        return UNKNOWN
    if event.kind is EventKind.TRANSITION and event.service == service:
        return str(event.fields.get("to", UNKNOWN))
    return None


def draw_strip(
    segments: Iterable[Segment],
    marks: Mapping[float, str],
    began_at: float,
    now: float,
    label: str,
) -> str:
    """Draw segments, and marks (Unix time -> text), from ``began_at`` to ``now`` as one SVG."""
    scale = WIDTH / (now - began_at)

    def place(at: float) -> float:
        return round((max(at, began_at) - began_at) * scale, 1)

    drawn = [_rectangle(0.0, WIDTH, UNKNOWN, "nothing is on record")]
    for each in segments:
        if each.ends_at <= began_at:
            continue
        x, end = place(each.began_at), place(each.ends_at)
        width = max(end - x, MIN_WIDTH)
        shown = each.level if each.level in _LEVELS else UNKNOWN
        drawn.append(_rectangle(min(x, WIDTH - width), width, shown, _describe(each, now)))
    for at, text in sorted(marks.items())[-MAX_MARKS:]:
        if at >= began_at:
            x = place(at)
            title = f"<title>{escape(text)}</title>"
            drawn.append(
                f'<line x1="{x:g}" x2="{x:g}" y1="0" y2="{HEIGHT}" '
                f'vector-effect="non-scaling-stroke">{title}</line>'
            )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{"".join(drawn)}</svg>'
    )


_LEVELS = ("preferred", "degraded", "standby", "withdrawn")


def _describe(each: Segment, now: float) -> str:
    """Describe a segment, for whoever points at it."""
    span = format_duration(each.ends_at - each.began_at)
    return f"{each.level} since {format_day_and_time(each.began_at, now)} UTC, for {span}"


def _rectangle(x: float, width: float, level: str, title: str) -> str:
    return (
        f'<rect class="{level}" x="{x:g}" width="{width:g}" height="{HEIGHT}">'
        f"<title>{escape(title)}</title></rect>"
    )


def draw_key() -> str:
    """Draw the key of the colours."""
    names = {**dict.fromkeys(_LEVELS), UNKNOWN: "no record"}
    each = (
        f'<span><svg viewBox="0 0 10 10" aria-hidden="true">'
        f'<rect class="{name}" width="10" height="10"/></svg> {text or name}</span>'
        for name, text in names.items()
    )
    return f'<div class="key">{"".join(each)}</div>'
