"""The page at `/`: how often it is built, and that nobody waits for the other regions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from anycastd.agent import front_page
from anycastd.agent.event_log import EventLog
from anycastd.agent.front_page import FrontPage
from anycastd.agent.json_cache import JsonCache
from anycastd.decision.region_report import RegionReport, VipReport
from anycastd.profile.model import Profile
from anycastd.profile.regions import Endpoint, RegionAgent
from anycastd.system.clock import OwnTime
from anycastd.views.events import Event, EventKind
from support import page_samples as samples
from support.profiles import profile as build_profile

REPORTED = b'data-label="westeurope"'
OTHERS = (
    RegionAgent("northeurope", Endpoint(IPv4Address("10.0.2.10"), 9480)),
    RegionAgent("westeurope", Endpoint(IPv4Address("10.1.2.10"), 9480)),
    RegionAgent("uksouth", Endpoint(IPv4Address("127.0.0.1"), 9482)),
)


class Regions:
    """Other regions that answer when they are told to; ``asked`` counts the questions."""

    def __init__(self, *_: object) -> None:
        self.asked = 0
        self.answer = asyncio.Event()

    async def fetch_reports(self) -> Mapping[str, RegionReport]:
        """Answer as soon as it is allowed."""
        self.asked += 1
        await self.answer.wait()
        vips = {"203.0.113.10/32": VipReport(serves=True, draining=False)}
        return {"westeurope": RegionReport(0.0, vips)}


def build(monkeypatch: pytest.MonkeyPatch, regions: Regions, **changes: Any) -> FrontPage:
    """Build a page of a profile with another region."""
    monkeypatch.setattr(front_page, "RegionClient", lambda *_: regions)
    profile: Profile = replace(build_profile(), region="northeurope", regions=OTHERS, **changes)
    events = EventLog()
    events.record(Event(time.time(), EventKind.SESSION_LOST, "neighbor 10.0.1.5: down & out"))
    return FrontPage(profile, OwnTime(0.05), JsonCache(samples.at_three), events, {})


def test_it_shows_status_events_and_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is HTML with a policy, and has all three."""

    async def scene() -> None:
        regions = Regions()
        regions.answer.set()
        answer = await build(monkeypatch, regions).answer({})
        assert answer.code == 200
        assert answer.content_type == "text/html; charset=utf-8"
        fields = dict(answer.fields)
        assert fields["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256")
        text = answer.body.decode()
        assert "neighbor 10.0.1.5: down &amp; out" in text
        assert '<td class="ok" data-label="westeurope">serves' in text
        assert 'href="http://10.1.2.10:9480/"' in text
        assert "127.0.0.1" not in text

    asyncio.run(scene())


def test_nobody_waits_for_a_region_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A region is asked once at a time, and the page comes without it; later with it."""
    monkeypatch.setattr(front_page, "REGIONS_TIMEOUT", 0.01)
    monkeypatch.setattr(front_page, "REGIONS_MAX_AGE", 0.0)
    monkeypatch.setattr(front_page, "PAGE_MAX_AGE", 0.0)

    async def scene() -> None:
        regions = Regions()
        page = build(monkeypatch, regions)
        answers = await asyncio.gather(*(page.answer({}) for _ in range(20)))
        assert all(REPORTED not in answer.body for answer in answers)
        assert regions.asked == 1
        regions.answer.set()
        while REPORTED not in (await page.answer({})).body:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(scene(), 60))


def test_without_other_regions_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile without `regions` has no such table."""

    async def scene() -> None:
        regions = Regions()
        page = build(monkeypatch, regions)
        page._has_regions = False  # noqa: SLF001 - as of a profile without regions
        answer = await page.answer({})
        assert b"<h2>Regions</h2>" not in answer.body
        assert not regions.asked

    asyncio.run(scene())


def test_it_is_built_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, one page is made for all of them."""

    async def scene() -> None:
        regions = Regions()
        regions.answer.set()
        page = build(monkeypatch, regions)
        monkeypatch.setattr(front_page, "PAGE_MAX_AGE", 1000.0)
        bodies = {id((await page.answer({})).body) for _ in range(50)}
        assert len(bodies) == 1

    asyncio.run(scene())
