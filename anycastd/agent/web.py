"""All pages of the agent by HTTP, and the server for them; loaded only where there is ``web``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from anycastd.agent.answers import Answers
from anycastd.agent.decision_loop import DecisionLoop
from anycastd.agent.event_log import EventLog
from anycastd.agent.front_page import FrontPage
from anycastd.agent.http_server import HttpServer
from anycastd.agent.json_cache import ByteCache, Costs, JsonCache, encode_json
from anycastd.agent.metrics import Collector, MetricSources, MetricsPage
from anycastd.agent.page import ComputedPage, Fields, Page, WebAnswer, WebPage, answer_json, refuse
from anycastd.decision.region_report import REPORT_MAX_AGE, REPORT_PATH, VERSION
from anycastd.evidence.haproxy.watcher import Watcher
from anycastd.profile.model import Profile
from anycastd.system.counters import LoopCounters

PAGE_MAX_AGE = 1.0
"""Seconds for which a page is reused at least."""


@dataclass(frozen=True, slots=True)
class AgentParts:
    """The parts of an agent that its pages show."""

    profile: Profile
    profile_text: str
    answers: Answers
    loop: DecisionLoop
    watchers: Mapping[str, Watcher]
    events: EventLog


class WebPages:
    """The pages of one agent: ``pages`` maps path -> page."""

    def __init__(self, parts: AgentParts) -> None:
        self._parts = parts
        self._profile = parts.profile
        # What all pages cost together is bounded, not what each of them costs.
        self._costs: Costs = parts.answers.costs
        self._encoded: list[tuple[float, int, bytes]] = []
        self._history = ByteCache(self._encode_events, costs=self._costs)
        # Whoever asks may rely on its age, whatever it costs.
        self._report = JsonCache(self._build_report, max_share=1.0)
        self._serving: dict[str, Any] = {}
        sources = MetricSources(
            parts.loop, parts.watchers, parts.events, self._judge, parts.profile_text
        )
        self.collector = Collector(sources)
        front = FrontPage(
            parts.profile, parts.loop.clock, parts.answers.status, parts.events, self._costs
        )
        self.pages: dict[str, WebPage] = {
            "/": front,
            "/healthz": ComputedPage(self._answer_health),
            "/history": ComputedPage(self._answer_history),
            "/metrics": MetricsPage(self.collector, self._costs),
            "/readyz": ComputedPage(self._answer_ready),
            REPORT_PATH: ComputedPage(self._answer_serving),
            "/status": Page(parts.answers.status, PAGE_MAX_AGE),
        }

    def _judge(self) -> tuple[int, int]:
        judged = self._parts.answers.judge(PAGE_MAX_AGE)
        return judged.severity, judged.problems

    async def _answer_health(self, _: Fields) -> WebAnswer:
        """Tell whether the decision loop turns: 200, or 503 where its last pass is too old."""
        age = find_pass_age(self._parts.loop.counters)
        healthy = age is not None and age < self._profile.ttl
        answer = {"healthy": healthy, "last_pass_age": age, "max_age": self._profile.ttl}
        return answer_json(200 if healthy else 503, answer)

    async def _answer_ready(self, _: Fields) -> WebAnswer:
        """Tell whether all is as wanted: 200, or 503 with the first problem."""
        judged = self._parts.answers.judge(PAGE_MAX_AGE)
        answer = {"ready": not judged.severity, "severity": judged.severity, "why": judged.first}
        return answer_json(503 if judged.severity else 200, answer)

    async def _answer_serving(self, fields: Fields) -> WebAnswer:
        """Answer with all VIPs; with ``vip`` the status code says whether that one is served."""
        body = self._report.read(REPORT_MAX_AGE)
        if "vip" not in fields:
            return WebAnswer(200, body)
        vips = self._serving["vips"]
        try:
            vip = str(ip_network(fields["vip"], strict=False))
        except ValueError:
            return refuse(400, "write an address or a prefix: /serving?vip=203.0.113.10")
        if vip not in vips:
            return refuse(404, f"there is no such VIP; this profile has: {', '.join(vips)}")
        answer = {"v": VERSION, "region": self._profile.region, "vip": vip, **vips[vip]}
        return answer_json(200 if vips[vip]["serves"] else 503, answer)

    def _build_report(self) -> dict[str, Any]:
        self._serving = self._parts.answers.build_report()
        return self._serving

    async def _answer_history(self, fields: Fields) -> WebAnswer:
        """List the newest events, oldest first; ``since`` is Unix time, ``after`` a number."""
        body = self._history.read(PAGE_MAX_AGE)
        if not fields.keys() & {"since", "after"}:
            return WebAnswer(200, body)
        try:
            since, after = float(fields.get("since", "0")), int(fields.get("after", "0"))
        except ValueError:
            return refuse(400, "since is Unix time in seconds, after is the number of an event")
        chosen = (each for at, number, each in self._encoded if at >= since and number > after)
        return WebAnswer(200, self._join_events(chosen))

    def _encode_events(self) -> bytes:
        self._encoded = [
            (round(event.at, 3), event.number, encode_json(event.to_json()))
            for event in self._parts.events.recent()
        ]
        return self._join_events(each for _, _, each in self._encoded)

    def _join_events(self, events: Iterable[bytes]) -> bytes:
        region = encode_json(self._profile.region)
        return b'{"v": 1, "region": %s, "events": [%s]}\n' % (region, b", ".join(events))


def find_pass_age(counters: LoopCounters) -> float | None:
    """Return the seconds since the newest pass of the decision loop; None: there was none yet."""
    at = counters.passed_at
    return None if at is None else round(time.monotonic() - at, 3)


class WebPart:
    """The HTTP server of an agent with all its pages, as ``web`` of the profile says."""

    def __init__(self, parts: AgentParts) -> None:
        self._pages = WebPages(parts)
        agents = [ip_network(region.agent.address) for region in parts.profile.regions]
        self._server = HttpServer(parts.profile.web, self._pages.pages, agents)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pages.collector.measure_lag())
            group.create_task(self._server.run())

    def list_problems(self) -> tuple[str, ...]:
        """List the problems, for the status: one sentence each."""
        return self._server.list_problems()
