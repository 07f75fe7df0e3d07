"""The picture of docs/comparison.md: each system's outages on a logarithmic scale, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape

from compare.faults import FAULTS, Fault
from compare.report import (
    Figures,
    find_median,
    format_seconds,
    list_seconds,
    list_systems,
    list_trials,
)
from compare.systems import System

WIDTH, LEFT, RIGHT, ROW, HEAD = 760, 160, 70, 18, 30
SHORTEST, LONGEST = 0.01, 100.0
"""The ends of the scale, in seconds."""
ROLE = 'role="img" aria-labelledby="t d"'
SCALE = "seconds, logarithmic; dot: the median; line: from the shortest to the longest trial"
STYLE = """\
  <style>
    svg { --line: #d0d7de; --text: #1f2328; --dim: #57606a; --other: #57606a; --ours: #1a7f37;
          --page: #ffffff; font: 13px sans-serif; background: var(--page); }
    @media (prefers-color-scheme: dark) {
      svg { --line: #3d444d; --text: #f0f6fc; --dim: #9198a1; --other: #9198a1; --ours: #3fb950;
            --page: #0d1117; }
    }
    text { fill: var(--text); }
    .dim { fill: var(--dim); font-size: 11px; text-anchor: middle; }
    .name { text-anchor: end; }
    .bold { font-weight: bold; }
    .grid { stroke: var(--line); }
    .other { fill: var(--other); stroke: var(--other); }
    .ours { fill: var(--ours); stroke: var(--ours); }
    .span { stroke-width: 3; stroke-linecap: round; }
    .never { fill: var(--page); stroke-width: 2; }
  </style>"""


def draw_picture(figures: Figures) -> str:
    """Draw the outages: a panel for each fault, a row for each system, median and range."""
    systems = list_systems(figures)
    faults = [fault for fault in FAULTS if not fault.stays]
    panel = HEAD + ROW * len(systems) + 14
    height = panel * len(faults) + 24
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {ROLE}>',
        '  <title id="t">The outage that a client sees, by fault and system</title>',
        f'  <desc id="d">{escape(_describe(figures, systems))}</desc>',
        STYLE,
    ]
    for number, fault in enumerate(faults):
        top = number * panel
        lines.append(
            f'  <text x="{LEFT}" y="{top + 18}" class="bold">{escape(fault.describes)}</text>'
        )
        lines += _draw_scale(top + HEAD, ROW * len(systems))
        for row, system in enumerate(systems):
            times = list_seconds(list_trials(figures, system.name, fault.name))
            lines += _draw_row(system, fault, times, top + HEAD + ROW * row + ROW // 2)
    lines.append(
        f'  <text x="{(LEFT + WIDTH - RIGHT) // 2}" y="{height - 6}" class="dim">{SCALE}</text>'
    )
    return "\n".join([*lines, "</svg>", ""])


def _place(seconds: float) -> float:
    """Return the x of a time; what is outside of the scale is at its end."""
    part = math.log(min(max(seconds, SHORTEST), LONGEST) / SHORTEST) / math.log(LONGEST / SHORTEST)
    return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)


def _draw_scale(top: int, height: int) -> Iterator[str]:
    for seconds in (0.01, 0.1, 1, 10, 100):
        x = _place(seconds)
        yield f'  <line x1="{x}" y1="{top}" x2="{x}" y2="{top + height}" class="grid"/>'
        yield f'  <text x="{x}" y="{top + height + 12}" class="dim">{seconds:g}</text>'


def _draw_row(system: System, fault: Fault, times: list[float], y: int) -> Iterator[str]:
    kind = "ours" if system.name.startswith("anycastd") else "other"
    bold = " bold" if kind == "ours" else ""
    yield f'  <text x="{LEFT - 10}" y="{y + 4}" class="name{bold}">{escape(system.title)}</text>'
    if not times:
        return
    middle = find_median(times)
    first, last, x = _place(times[0]), _place(times[-1]), _place(middle)
    if first != last:
        yield f'  <line x1="{first}" y1="{y}" x2="{last}" y2="{y}" class="{kind} span"/>'
    never = " never" if middle == float("inf") else ""
    yield f'  <circle cx="{x}" cy="{y}" r="5" class="{kind}{never}"/>'
    text = escape(format_seconds(middle, fault.limit))
    yield f'  <text x="{max(x, last) + 10}" y="{y + 4}">{text}</text>'


def _describe(figures: Figures, systems: list[System]) -> str:
    parts = []
    for system in systems:
        found = [
            f"{fault.describes} {format_seconds(find_median(times), fault.limit)} s"
            for fault in FAULTS
            if not fault.stays
            and (times := list_seconds(list_trials(figures, system.name, fault.name)))
        ]
        parts.append(f"{system.title}: {', '.join(found)}")
    return "Medians. " + ". ".join(parts) + "."
