"""What regions tell each other of a VIP: both ends of one format (pure)."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

REPORT_PATH = "/serving"
"""Path of an agent's HTTP server at which the other regions' agents fetch the report."""
REPORT_MAX_AGE = 0.2
"""Seconds for which an agent may send the same report again before it builds a new one."""
MAX_REASON = 200
"""Characters of a reason and of a name; more is cut."""


@dataclass(frozen=True, slots=True)
class VipReport:
    """What another region says of a VIP: announced for good reason, and whether it is to leave."""

    serves: bool
    draining: bool


@dataclass(frozen=True, slots=True)
class RegionReport:
    """A region's newest answer, by VIP; ``asked`` when the question was; ``why`` there is none."""

    asked_at: float
    vips: Mapping[str, VipReport] = field(default_factory=dict)
    detail: str = ""


def clean_text(text: object, default: str = "") -> str:
    """Take a person's words: one line, printable, not too long."""
    words = " ".join(str(text or "").split()) or default
    return "".join(each if each.isprintable() else "?" for each in words)[:MAX_REASON]


def parse_region_report(text: str, region: str, asked: float) -> RegionReport:
    """Read what another agent says of itself (see ``status.serving``); never raises."""
    try:
        answer = json.loads(text)
        if answer["region"] != region:
            return RegionReport(asked, detail=f"is answered for by {clean_text(answer['region'])}")
        vips = {
            str(vip): VipReport(each["serves"] is True, each["draining"] is not False)
            for vip, each in answer["vips"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return RegionReport(asked, detail="gives an answer that is none of an agent's")
    return RegionReport(asked, vips)


def build_region_report(status: Mapping[str, Any], draining: Container[str]) -> dict[str, Any]:
    """Give what the other regions' agents want to know, of a status as JSON.

    ``draining`` names the services that are to leave, as of now.
    """
    return {
        "v": status["v"],
        "region": status["region"],
        "vips": {
            service["vip"]: {"serves": service["serves"], "draining": name in draining}
            for name, service in status["services"].items()
        },
    }
