"""The report of a story: one HTML file with a timeline for each fault, and what was measured."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

from anycastd.lab.network.topology import Site, Topology
from anycastd.lab.stories.recording import BEFORE, LANES, Mark, Recording
from anycastd.lab.stories.report import StepReport, format_seconds

WIDTH, LANE, MARGIN = 960, 26, 110
"""The width of a timeline, the height of a lane, and the width of the lanes' names."""
MAX_SPAN = 60.0
"""Seconds after the fault that a timeline shows at most."""
MAX_MARKS, MAX_BARS, MAX_TICKS = 40, 600, 10
"""Marks, bars and ticks of the scale of a timeline at most."""
_STYLE = """
:root{color-scheme:light dark;--fg:#1f2328;--bg:#fff;--dim:#59636e;--line:#d1d9e0;--ok:#1a7f37;
--other:#0969da;--crit:#cf222e}
@media(prefers-color-scheme:dark){:root{--fg:#e6edf3;--bg:#0d1117;--dim:#9198a1;--line:#30363d;
--ok:#3fb950;--other:#58a6ff;--crit:#f85149}}
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:0 auto;padding:1rem;
background:var(--bg);color:var(--fg)}
h2{font-size:1.1rem;margin:2rem 0 .3rem;border-top:1px solid var(--line);padding-top:1rem}
pre{font:13px ui-monospace,monospace;overflow-x:auto}
table{border-collapse:collapse}td,th{text-align:left;padding:.15rem 1rem .15rem 0}
.pass{color:var(--ok)}.fail{color:var(--crit);font-weight:600}.dim{color:var(--dim)}
svg{display:block;width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--fg)}
svg .dim{fill:var(--dim)}svg .axis{stroke:var(--line)}svg .mark{fill:var(--fg)}
svg .near{fill:var(--ok)}svg .far{fill:var(--other)}svg .bad{fill:var(--crit)}
svg .third{fill:#8250df}svg .fourth{fill:#bf8700}
"""


_BARS = ("near", "far", "third", "fourth")


def build_report(
    recordings: Sequence[Recording], document: dict[str, Any], topology: Topology
) -> str:
    """Return the report as HTML; ``document`` is the JSON of the story (``build_document``)."""
    verdict = "PASSED" if document["passed"] else "FAILED"
    good = sum(step["passed"] for step in document["steps"])
    notes = "".join(
        f"<tr><th>{html.escape(name)}<td>{html.escape(str(text))}"
        for name, text in document.get("notes", {}).items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{verdict}: anycastd lab</title><style>{_STYLE}</style></head><body>"
        f"<h1>anycastd lab: {verdict.lower()}</h1>"
        f"<p>{good} of {len(document['steps'])} steps passed in {document['seconds']:.0f} s.</p>"
        f"<pre>{html.escape(topology.picture)}</pre><table>{notes}</table>"
        f"{''.join(_show_step(each, topology.sites) for each in recordings)}</body></html>\n"
    )


def _show_step(recording: Recording, sites: Sequence[Site]) -> str:
    step = recording.step
    return "".join(
        (
            f"<h2>{html.escape(step.title)}</h2>",
            draw_timeline(recording, sites),
            *_times(step),
            *_checks(step),
        )
    )


def _times(step: StepReport) -> Iterator[str]:
    if step.times:
        yield '<table><tr><th class="dim">measured<th class="dim">after the fault'
        for each in step.times:
            yield f"<tr><td>{html.escape(each.title)}<td>{format_seconds(each.seconds)}"
        yield "</table>"


def _checks(step: StepReport) -> Iterator[str]:
    yield "<ul>"
    for check in step.checks:
        word = "pass" if check.passed else "fail"
        yield f'<li><b class="{word}">{word}</b> {html.escape(check.criterion)}: '
        yield f'<span class="dim">{html.escape(check.saw)}</span>'
    yield "</ul>"


def draw_timeline(recording: Recording, sites: Sequence[Site]) -> str:
    """Draw the timeline of a fault as SVG: a lane for each stage, the client's answers below.

    Its scale is in seconds.  It ends soon after the last thing that moved.
    """
    marks = [mark for mark in recording.marks if mark.at <= MAX_SPAN]
    span = _choose_span(recording, marks)
    scale = (WIDTH - MARGIN - 10) / (span + BEFORE)

    def place(seconds: float) -> float:
        return round(MARGIN + (min(seconds, span) + BEFORE) * scale, 1)

    height = LANE * (len(LANES) + 1) + 54
    parts = [_draw_axis(span, place(0.0), scale, height)]
    for number, lane in enumerate(LANES):
        y = LANE * number + 18
        parts.append(f'<text class="dim" x="0" y="{y + 4}">{lane}</text>')
        parts += _draw_marks([mark for mark in marks if mark.lane == lane], y, place)
    y = LANE * len(LANES) + 10
    parts.append(f'<text class="dim" x="0" y="{y + 12}">client</text>')
    parts += _draw_requests(recording, y, span, place, sites)
    label = html.escape(f"Timeline: {recording.step.title}")
    body = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{body}</svg>'


def _choose_span(recording: Recording, marks: Sequence[Mark]) -> float:
    """Return the seconds after the fault to show: until the last change, and a bit more."""
    bad = [each.ended_at - recording.acted_at for each in recording.requests if not each.ok]
    last = max([0.5, *bad, *(mark.at for mark in marks)])
    return min(MAX_SPAN, last * 1.25)


def _draw_axis(span: float, zero: float, scale: float, height: int) -> str:
    step = next(each for each in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if span / each <= MAX_TICKS)
    bottom = height - 46
    parts = []
    for number in range(int(span / step) + 1):
        x = round(zero + number * step * scale, 1)
        text = "fault" if not number else f"{number * step:g} s"
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="4" y2="{bottom}"/>')
        at = f'x="{x}" y="{height - 4}" text-anchor="middle"'
        parts.append(f'<text class="dim" {at}>{text}</text>')
    return "".join(parts)


def _draw_marks(marks: Sequence[Mark], y: int, place: Any) -> Iterator[str]:  # noqa: ANN401
    """Draw the marks of a lane; a text is left out where the one before it needs its place."""
    free_from = 0.0
    for mark in marks[:MAX_MARKS]:
        x = place(mark.at)
        told = html.escape(f"{format_seconds(mark.at)}: {mark.text}")
        yield f'<circle class="mark" cx="{x}" cy="{y}" r="4"><title>{told}</title></circle>'
        width = 6.2 * len(told)
        left = x + 8 if x + 8 + width < WIDTH else x - 8 - width
        if left >= free_from:
            yield f'<text x="{left:.1f}" y="{y + 4}">{told}</text>'
            free_from = left + width + 12


def _draw_requests(
    recording: Recording,
    y: int,
    span: float,
    place: Any,  # noqa: ANN401
    sites: Sequence[Site],
) -> Iterator[str]:
    """Draw the client's requests as bars: by site, and those that failed."""
    styles = {site.name: _BARS[number % len(_BARS)] for number, site in enumerate(sites)}
    names = {site.name: site.title for site in sites}
    bars: list[tuple[str, float, float, int]] = []
    for each in sorted(recording.requests, key=lambda one: one.sent_at):
        began, ended = each.sent_at - recording.acted_at, each.ended_at - recording.acted_at
        if began > span or began < -BEFORE:
            continue
        what = each.region if each.ok else ""
        if bars and bars[-1][0] == what:
            bars[-1] = (what, bars[-1][1], max(bars[-1][2], ended), bars[-1][3] + 1)
        else:
            bars.append((what, began, ended, 1))
    for what, began, ended, number in bars[:MAX_BARS]:
        x = place(began)
        told = f"{number} answered by {names.get(what, what)}" if what else f"{number} failed"
        told = html.escape(f"{told}, from {began:.3f} s to {ended:.3f} s")
        yield (
            f'<rect class="{styles.get(what, "bad")}" x="{x}" y="{y}" '
            f'width="{max(1.5, place(ended) - x):.1f}" height="16"><title>{told}</title></rect>'
        )
    x = MARGIN
    for style, text in (*((styles[site.name], site.title) for site in sites), ("bad", "failed")):
        yield f'<rect class="{style}" x="{x}" y="{y + 24}" width="9" height="9"/>'
        yield f'<text class="dim" x="{x + 13}" y="{y + 33}">{text}</text>'
        x += 130
