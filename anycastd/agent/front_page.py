"""The page for people, at ``/``: the status as HTML, with what the other regions say.

The other regions' agents are asked while somebody looks, every ``REGIONS_MAX_AGE`` seconds at
most, and nobody waits for them longer than ``REGIONS_TIMEOUT``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import replace

from anycastd.agent.event_log import EventLog
from anycastd.agent.json_cache import ByteCache, Costs, JsonCache
from anycastd.agent.page import Fields, WebAnswer
from anycastd.agent.region_client import RegionClient
from anycastd.decision.region_report import RegionReport
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime
from anycastd.views.page import CONTENT_TYPE, render_page
from anycastd.views.page_style import CONTENT_SECURITY_POLICY

PAGE_MAX_AGE = 1.0
"""Seconds for which the page is reused at least."""
REGIONS_MAX_AGE = 3.0
"""Seconds for which the reports of the other regions are reused."""
REGIONS_TIMEOUT = 0.5
"""Seconds that a page waits for new reports; else it shows the last ones, with their age."""
FIELDS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
"""Fields of the answer: nothing but the page's own style and script is used."""


class FrontPage:
    """The page for people.  ``status`` is the encoded status, ``costs`` as in ``ByteCache``."""

    def __init__(
        self, profile: Profile, clock: OwnTime, status: JsonCache, events: EventLog, costs: Costs
    ) -> None:
        self._clock = clock
        self._status = status
        self._events = events
        self._body = ByteCache(self._build, costs=costs)
        self._client = RegionClient(profile, clock)
        regions = [each for each in profile.regions if each.name != profile.agent_name]
        self._has_regions = bool(regions)
        # What is behind a proxy on this machine (TLS) is not there for a browser elsewhere.
        self._links = {
            each.name: f"http://{each.agent}/"
            for each in regions
            if not each.agent.address.is_loopback
        }
        self._reports: Mapping[str, RegionReport] = {}
        self._asked_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def answer(self, _: Fields) -> WebAnswer:
        """Answer with the page."""
        if self._has_regions:
            await self._ask_regions()
        return WebAnswer(200, self._body.read(PAGE_MAX_AGE), CONTENT_TYPE, FIELDS)

    async def _ask_regions(self) -> None:
        """Ask the other regions, if nobody does already and the last answers are too old."""
        now = time.monotonic()
        if self._task is None and now - self._asked_at >= REGIONS_MAX_AGE:
            self._asked_at = now
            self._task = asyncio.create_task(self._fetch())
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=REGIONS_TIMEOUT)

    async def _fetch(self) -> None:
        try:
            self._reports = await self._client.fetch_reports()
        finally:
            self._task = None

    def _build(self) -> bytes:
        now, own_now = time.time(), self._clock.now()
        reports = {
            name: replace(report, asked_at=now - (own_now - report.asked_at))
            for name, report in self._reports.items()
        }
        status = json.loads(self._status.read(PAGE_MAX_AGE))
        page = render_page(status, self._events.recent(), reports, now, self._links)
        return page.encode("utf-8", "replace")
