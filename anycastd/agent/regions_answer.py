"""Answer `anycastd status --all`: what each region announces, as its agent reports it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from anycastd.agent.region_client import RegionClient
from anycastd.decision.region_report import parse_region_report
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime
from anycastd.system.instants import format_utc

VERSION = 1
"""Version of the JSON; keys are only ever added."""


class RegionsAnswer:
    """The reports of all regions of a profile; ``report`` builds that of this region."""

    def __init__(
        self, profile: Profile, clock: OwnTime, report: Callable[[], dict[str, Any]]
    ) -> None:
        self._profile = profile
        self._client = RegionClient(profile, clock)
        self._report = report
        self._one_answer = asyncio.Lock()

    async def answer(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Ask all other regions at once, and return what each of them announces.

        Returns ``this`` (the name of this agent), ``services`` (name -> ``vip``, ``steers``) and
        ``regions`` (`RegionAgent.name` -> ``agent``, its address; ``detail``, why it gave no
        report; ``vips``, prefix -> the fields of VipReport).
        """
        profile = self._profile
        async with self._one_answer:
            reports = dict(await self._client.fetch_reports())
        own = parse_region_report(json.dumps(self._report()), profile.agent_name, 0.0)
        agents = {region.name: str(region.agent) for region in profile.regions}
        found = {profile.agent_name: own} | reports
        return {
            "v": VERSION,
            "region": profile.region,
            "this": profile.agent_name,
            "at": format_utc(time.time(), "%Y-%m-%dT%H:%M:%SZ"),
            "services": {
                name: {"vip": each.prefix, "steers": each.prepends_steer}
                for name, each in profile.services.items()
            },
            "regions": {
                name: {
                    "agent": agents.get(name, ""),
                    "detail": report.detail,
                    "vips": {vip: asdict(each) for vip, each in report.vips.items()},
                }
                for name, report in found.items()
            },
        }
