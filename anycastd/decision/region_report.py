"""The report that an agent gives to the other agents: both ends of one format (pure).

An agent serves its report at ``REPORT_PATH``, as JSON from `build_region_report`.  The agents of
the other regions fetch it while a drain needs it, and read it with `parse_region_report`.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anycastd.profile.model import Profile
from anycastd.profile.regions import format_agent_name
from anycastd.system.printable import make_printable

VERSION = 1
"""Version of the format; keys are only ever added."""
REPORT_PATH = "/serving"
"""Path of the report on an agent's HTTP server."""
REPORT_MAX_AGE = 0.2
"""Seconds for which an agent may send the same report before it builds a new one."""
MAX_TEXT = 200
"""Maximum length of an operator's reason or name, in characters; the rest is cut."""


@dataclass(frozen=True, slots=True)
class VipReport:
    """What a region reports of one VIP.

    ``serves``: it is announced to a neighbor, and `serve` is not false.  ``draining``: a drain
    covers it.  ``level``: the name of its level, ``path``: its AS path (both empty: not known).
    """

    serves: bool
    draining: bool
    level: str = ""
    path: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RegionReport:
    """The newest report of one agent.

    ``asked_at`` (own time) is when it was requested.  ``vips``: prefix -> what it reports of it.
    ``detail`` says why there is no report, as the end of a sentence about the region; else empty.
    """

    asked_at: float
    vips: Mapping[str, VipReport] = field(default_factory=dict)
    detail: str = ""


def build_region_report(
    profile: Profile,
    serving: Mapping[str, bool],
    draining: Container[str],
    announced: Mapping[str, tuple[str, Sequence[int]]],
) -> dict[str, Any]:
    """Build the report of this region, as JSON values.

    ``serving``: service name -> whether it is served.  ``draining``: the names of the services that
    a drain covers now.  ``announced``: service name -> its level, and its AS
    path (empty: not announced).
    """
    return {
        "v": VERSION,
        "region": profile.region,
        "appliance": profile.appliance,
        "vips": {
            profile.services[name].prefix: {
                "serves": serves,
                "draining": name in draining,
                "level": announced[name][0],
                "path": announced[name][1],
            }
            for name, serves in serving.items()
        },
    }


def parse_region_report(text: str, name: str, asked_at: float) -> RegionReport:
    """Parse the answer of the agent ``name`` to a request at ``asked_at`` (own time).

    ``name`` is that of `RegionAgent.name`: the region, and its appliance if it has several.

    Never raises: `RegionReport.detail` says what is wrong.  A value of `serves` or `draining` that
    is not a boolean counts against the region.
    """
    try:
        answer = json.loads(text)
        # An agent of an earlier release names no appliance; its region then has only one.
        found = format_agent_name(answer["region"], answer.get("appliance"))
        if found != name:
            other = clean_text(found)
            return RegionReport(asked_at, detail=f"has the address of the agent of {other}")
        vips = {
            str(vip): VipReport(
                each["serves"] is True,
                each["draining"] is not False,
                clean_text(each.get("level")),
                _parse_path(each.get("path")),
            )
            for vip, each in answer["vips"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return RegionReport(asked_at, detail="gives an answer that is not an agent's report")
    return RegionReport(asked_at, vips)


def _parse_path(path: object) -> tuple[int, ...]:
    """Return an AS path; empty where it is none, as from an agent of an earlier release."""
    if not isinstance(path, list) or len(path) > _MAX_PATH:
        return ()
    if not all(type(asn) is int and 0 < asn < 1 << 32 for asn in path):
        return ()
    return tuple(path)


_MAX_PATH = 255


def clean_text(text: object, default: str = "") -> str:
    """Return text that is safe to show: one line, printable, cut to ``MAX_TEXT`` characters.

    ``default`` is returned if ``text`` is empty.
    """
    # Cut before it is split: a text may be as long as its source likes.
    line = " ".join(str(text or "")[: 4 * MAX_TEXT].split()) or default
    return make_printable(line, MAX_TEXT)
