"""Tests of the strips of the timeline."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from anycastd.views.events import Event, EventKind
from anycastd.views.timeline_svg import (
    MAX_MARKS,
    MAX_SEGMENTS,
    MIN_WIDTH,
    WIDTH,
    Segment,
    build_segments,
    choose_span,
    draw_strip,
)

NOW = 1_000_000.0


def moved(at: float, old: str, new: str, service: str = "web") -> Event:
    """Return a change of level."""
    return Event(at, EventKind.TRANSITION, "", service, fields={"from": old, "to": new})


def levels(*events: Event, level: str, began_at: float) -> list[tuple[float, float, str]]:
    """Return the segments of `web`, relative to now."""
    found = build_segments(events, "web", level, began_at, NOW)
    return [(each.began_at - NOW, each.ends_at - NOW, each.level) for each in found]


def test_changes_become_segments() -> None:
    """Each level lasts until the next change, the last one until now."""
    assert levels(
        Event(NOW - 90, EventKind.AGENT_STARTED, ""),
        moved(NOW - 60, "standby", "preferred"),
        moved(NOW - 50, "preferred", "withdrawn", "api"),
        moved(NOW - 40, "preferred", "withdrawn"),
        level="withdrawn",
        began_at=NOW - 40,
    ) == [(-90, -60, "standby"), (-60, -40, "preferred"), (-40, 0, "withdrawn")]


def test_without_a_change_there_is_what_the_status_knows() -> None:
    """A service without events has its level since it has it."""
    assert levels(level="preferred", began_at=NOW - 5) == [(-5, 0, "preferred")]


def test_while_no_agent_runs_nothing_is_known() -> None:
    """The time between two agents is no level."""
    assert levels(
        moved(NOW - 60, "standby", "preferred"),
        Event(NOW - 50, EventKind.AGENT_STOPPED, ""),
        Event(NOW - 45, EventKind.AGENT_STARTED, ""),
        moved(NOW - 40, "withdrawn", "standby"),
        level="standby",
        began_at=NOW - 40,
    ) == [(-60, -50, "preferred"), (-50, -40, "unknown"), (-40, 0, "standby")]


def test_the_shortest_span_that_has_every_event_is_used() -> None:
    """Ten minutes, an hour, six hours or a day."""
    assert choose_span([], NOW) == 600
    assert choose_span([moved(NOW - 599, "a", "b")], NOW) == 600
    assert choose_span([moved(NOW - 601, "a", "b")], NOW) == 3600
    assert choose_span([moved(NOW - 90000, "a", "b"), moved(NOW - 30000, "a", "b")], NOW) == 86400


def test_a_short_withdrawal_is_seen() -> None:
    """A segment of a tenth of a second on a day has a width that can be seen."""
    segments = [
        Segment(NOW - 86400, NOW - 0.1, "preferred"),
        Segment(NOW - 0.1, NOW, "withdrawn"),
    ]
    drawn = ET.fromstring(draw_strip(segments, {}, NOW - 86400, NOW, "web"))  # noqa: S314 - our own
    last = drawn.findall("rect")[-1]
    assert last.get("class") == "withdrawn"
    assert float(last.get("width", "0")) == MIN_WIDTH
    assert float(last.get("x", "0")) + MIN_WIDTH == WIDTH


def test_a_strip_is_bounded_and_well_formed() -> None:
    """Thousands of changes and marks, with hostile words, make one small SVG."""
    events = [moved(NOW - n, "preferred", "withdrawn") for n in range(5000, 0, -1)]
    marks = {NOW - n: '"><script>&' for n in range(5000)}
    segments = build_segments(events, "web", '"><script>', NOW - 1, NOW)
    drawn = ET.fromstring(draw_strip(segments, marks, NOW - 3600, NOW, '"><script>'))  # noqa: S314
    assert len(drawn.findall("rect")) <= MAX_SEGMENTS + 1
    assert len(drawn.findall("line")) <= MAX_MARKS
    assert {each.tag for each in drawn} == {"rect", "line"}
