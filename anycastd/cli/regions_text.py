"""Format what all regions announce: one table, with who wins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.cli.grid import Cell, Row, format_grid
from anycastd.cli.output import GREEN, SEVERITY_COLOURS, YELLOW, fold, paint, shorten_path
from anycastd.profile.best_path import Candidate, compare_candidates
from anycastd.views.severity import SEVERITIES
from anycastd.views.troubles import name_some

MAX_SERVICES = 40
"""Services that are listed, those that nobody announces first."""


def compute_regions_severity(answer: Mapping[str, Any]) -> int:
    """Compute the monitoring code: 2 where no region is known to announce a VIP.

    1 where a region does not answer, or does not announce every VIP.
    """
    counts = [len(_list_serving(answer, each["vip"])) for each in answer["services"].values()]
    regions = answer["regions"]
    if any(count == 0 for count in counts):
        return 2
    silent = any(each["detail"] for each in regions.values())
    return 1 if silent or any(count < len(regions) for count in counts) else 0


def summarize_regions(answer: Mapping[str, Any]) -> str:
    """Say in one sentence how many VIPs are announced, and how many regions answer."""
    regions, services = answer["regions"], answer["services"]
    served = sum(bool(_list_serving(answer, each["vip"])) for each in services.values())
    answering = sum(not each["detail"] for each in regions.values())
    return (
        f"{served} of {len(services)} VIPs announced; {answering} of {len(regions)} regions answer"
    )


def format_regions(answer: Mapping[str, Any], *, colour: bool = False) -> Iterator[str]:
    """Format the agent's answer as lines of 80 columns at most, unless a name is longer."""
    severity = compute_regions_severity(answer)
    word = SEVERITIES[severity].upper()
    shown = paint(word, SEVERITY_COLOURS[severity]) if colour else word
    yield f"{shown} all regions: {summarize_regions(answer)}"
    regions = answer["regions"]
    if len(regions) == 1:
        yield from fold("the profile has no `regions`, so only this one can be asked", "  ")
    for name, region in regions.items():
        if region["detail"]:
            yield from fold(f"{name} {region['detail']}", "  ", "    ")
    services = answer["services"]
    lost = [name for name, each in services.items() if not _list_serving(answer, each["vip"])]
    if lost:
        line = f"no region is known to announce {name_some(lost)}"
        first, *rest = fold(line, "  ", "    ")
        yield paint(first, SEVERITY_COLOURS[2]) if colour else first
        yield from rest
    yield ""
    names = list(services)
    if len(services) > MAX_SERVICES:
        names.sort(key=lambda name: len(_list_serving(answer, services[name]["vip"])))
    rows = [row for name in names[:MAX_SERVICES] for row in _list_rows(answer, name)]
    headings = ("SERVICE", "VIP", "REGION", "LEVEL", "PATH", "")
    yield from format_grid(headings, rows, names=2, colour=colour)
    if len(services) > MAX_SERVICES:
        yield f"and {len(services) - MAX_SERVICES} more"
    yield ""
    yield f"asked at {answer['at'].replace('T', ' ')}"


def _list_serving(answer: Mapping[str, Any], vip: str) -> list[str]:
    regions = answer["regions"]
    return [name for name in regions if regions[name]["vips"].get(vip, {}).get("serves")]


def _list_rows(answer: Mapping[str, Any], name: str) -> Iterator[Row]:
    """Yield one row for each region; the first one names the service."""
    service, regions = answer["services"][name], answer["regions"]
    vip = service["vip"]
    winners, sure = _find_winners(answer, vip, steers=service["steers"])
    shown = (name, vip.removesuffix("/32").removesuffix("/128"))
    for region, report in regions.items():
        here = answer.get("this", answer["region"])
        this = f"{region} (this)" if region == here else region
        wins = "" if region not in winners else "wins" if sure else "wins?"
        yield (*shown, this, *_describe(report, vip), wins)
        shown = ("", "")


def _describe(region: Mapping[str, Any], vip: str) -> tuple[Cell, str]:
    """Describe the level of a VIP in a region, and its path."""
    if region["detail"]:
        return Cell("no answer", YELLOW), ""
    found = region["vips"].get(vip)
    if found is None:
        return Cell("has no such VIP"), ""
    level = found["level"] or ("announced" if found["serves"] else "not announced")
    if not found["serves"]:
        text = "drained" if found["draining"] and level == "withdrawn" else level
        text = text if text in ("withdrawn", "drained", "not announced") else f"not {text}"
        return Cell(text, YELLOW), ""
    draining = ", draining" if found["draining"] else ""
    colour = GREEN if level == "preferred" else YELLOW
    return Cell(f"{level}{draining}", colour), shorten_path(found["path"] or None)


def _find_winners(
    answer: Mapping[str, Any], vip: str, *, steers: bool
) -> tuple[tuple[str, ...], bool]:
    """Return the regions that win at the far router, and whether all that counts is known."""
    regions = answer["regions"]
    serving = _list_serving(answer, vip)
    candidates = tuple(
        Candidate(name, regions[name]["vips"][vip]["level"], tuple(path), steers)
        for name in serving
        if (path := regions[name]["vips"][vip]["path"])
    )
    winners = compare_candidates(candidates).winners if candidates else ()
    silent = any(each["detail"] for each in regions.values())
    return winners, len(candidates) == len(serving) and not silent
