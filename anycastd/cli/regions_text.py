"""Format what all regions announce: one table, with who wins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anycastd.cli.grid import Cell, Row, format_grid
from anycastd.cli.output import GREEN, SEVERITY_COLOURS, YELLOW, fold, paint, shorten_path
from anycastd.profile.best_path import Candidate, compare_candidates
from anycastd.views.severity import SEVERITIES

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
    yield ""
    services = answer["services"]
    names = sorted(services, key=lambda name: len(_list_serving(answer, services[name]["vip"])))
    names = list(services) if len(services) <= MAX_SERVICES else names[:MAX_SERVICES]
    rows = [_row(answer, name) for name in names]
    this = answer["region"]
    heads = [f"{name} (this)" if name == this else name for name in regions]
    yield from format_grid(("SERVICE", "VIP", *heads, "WINS"), rows, names=2, colour=colour)
    if len(services) > len(names):
        yield f"and {len(services) - len(names)} more"
    yield ""
    yield f"asked at {answer['at'].replace('T', ' ')}"


def _list_serving(answer: Mapping[str, Any], vip: str) -> list[str]:
    regions = answer["regions"]
    return [name for name in regions if regions[name]["vips"].get(vip, {}).get("serves")]


def _row(answer: Mapping[str, Any], name: str) -> Row:
    service = answer["services"][name]
    vip, regions = service["vip"], answer["regions"]
    cells = [_cell(regions[region], vip) for region in regions]
    short = vip.removesuffix("/32").removesuffix("/128")
    return (name, short, *cells, _find_winner(answer, vip, steers=service["steers"]))


def _cell(region: Mapping[str, Any], vip: str) -> Cell:
    if region["detail"]:
        return Cell("no answer", YELLOW)
    found = region["vips"].get(vip)
    if found is None:
        return Cell("has no such VIP")
    level = found["level"] or ("announced" if found["serves"] else "not announced")
    if not found["serves"]:
        text = "drained" if found["draining"] and level == "withdrawn" else level
        return Cell(text if text == "withdrawn" else f"not announced ({text})", YELLOW)
    draining = ", draining" if found["draining"] else ""
    path = f" {shorten_path(found['path'])}" if found["path"] else ""
    return Cell(f"{level}{path}{draining}", GREEN if level == "preferred" else YELLOW)


def _find_winner(answer: Mapping[str, Any], vip: str, *, steers: bool) -> str:
    """Say which region wins at the far router; with a question mark where not all is known."""
    regions = answer["regions"]
    serving = _list_serving(answer, vip)
    if not serving:
        return "nobody"
    candidates = tuple(
        Candidate(name, regions[name]["vips"][vip]["level"], tuple(path), steers)
        for name in serving
        if (path := regions[name]["vips"][vip]["path"])
    )
    winners = compare_candidates(candidates).winners if candidates else ()
    unknown = len(candidates) < len(serving) or any(each["detail"] for each in regions.values())
    return " + ".join(winners or ("?",)) + (" ?" if unknown and winners else "")
