"""The metrics: each one of the table, no text of others, and slices where there are many."""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from anycastd.agent.decision_loop import DecisionLoop
from anycastd.agent.event_log import EventLog
from anycastd.agent.inbox import Inbox
from anycastd.agent.metrics import SLICE, Collector, MetricSources, MetricsPage
from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.session import Session
from anycastd.decision.pipeline import LeaseView, VipState, advance
from anycastd.evidence.haproxy.servers import Server, Usable
from anycastd.evidence.haproxy.snapshot import Backend, Frontend, Snapshot, Unreadable, Worker
from anycastd.evidence.haproxy.watcher import Watcher
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import Profile
from anycastd.profile.validate import validate_profile
from anycastd.reasons import Reason
from anycastd.system.clock import OwnTime
from anycastd.system.counters import Durations, LeaseCounters, LookCounters, LoopCounters
from anycastd.views.events import Event, EventKind
from anycastd.views.judged import judge_status
from anycastd.views.metric_table import METRICS
from anycastd.views.severity import compute_severity
from anycastd.views.status import AgentFacts, build_status
from support.appliance import PROFILE
from support.tours import ROOT

HOSTILE = '\x1b[2J"} 1\nanycastd_service_serving{'
"""A text of others: it must be nowhere in the metrics."""


def build_profile(services: int = 1) -> Profile:
    """Build a profile with many services, each with its own VIP."""
    head, _, service = PROFILE.partition("services:\n")
    more = (
        service.replace("  web:", f"  web{n}:").replace(
            "203.0.113.10", f"10.{n // 250}.{n % 250}.1"
        )
        for n in range(1, services)
    )
    text = f"{head}services:\n{service}{''.join(more)}"
    text = text.format(ttl=5, socket="/run/haproxy.sock", ring="anycastd", deadline=3)
    found = validate_profile(text, "test")
    assert found.profile is not None, found
    return found.profile


def take_snapshot(clock: OwnTime) -> Snapshot:
    """Give an answer of HAProxy in which one of two servers is down."""
    servers = tuple(
        Server(name, usable, HOSTILE, HOSTILE, HOSTILE, 1, backup=False, checked=True)
        for name, usable in (("s1", Usable.YES), (HOSTILE, Usable.NO))
    )
    return Snapshot(
        clock.now(),
        Worker(1, 1.0, stopping=False, version=HOSTILE),
        {"web": Backend("web", HOSTILE, servers, clock.now())},
        {"web": Frontend("web", is_open=True, status=HOSTILE, sessions=7)},
    )


def report(**changes: Any) -> Report:
    """Give a report with one session that is up, and one that closed with a text of its peer."""
    agreed = Negotiated(("ipv4",), 9, four_octet_as=True)
    neighbors = {
        "192.0.2.4": NeighborReport(Session.UP, 10.0, rib="agrees", negotiated=agreed),
        "192.0.2.5": NeighborReport(Session.DOWN, 3.0, detail=HOSTILE),
    }
    values: dict[str, Any] = {
        "exabgp": "5.0.15",
        "expirations": 1,
        "repairs": 2,
        "errors": (HOSTILE,),
    }
    return Report("a", 1, 1, 5.0, neighbors, **(values | changes))


class Rig:
    """The parts that the metrics read, in a state that is set by hand."""

    def __init__(self, services: int = 1, **changes: Any) -> None:
        self.profile = build_profile(services)
        self.clock = OwnTime()
        inbox = Inbox()
        inbox.haproxy["main"] = take_snapshot(self.clock)
        for service in self.profile.services.values():
            inbox.vips[service.prefix] = VipState(usable=True)
        inbox.lease = LeaseView(connected=True, report=report(**changes), leased=())
        self.loop = SimpleNamespace(
            profile=self.profile,
            clock=self.clock,
            inbox=inbox,
            memory={},
            counters=LoopCounters(),
            sinks=SimpleNamespace(lease=SimpleNamespace(counters=LeaseCounters())),
        )
        self.run_pass()
        self.watcher = SimpleNamespace(counters=LookCounters(), polling=HOSTILE, answered_at=1.0)
        self.events = EventLog()
        sources = MetricSources(
            cast("DecisionLoop", self.loop),
            {"main": cast("Watcher", self.watcher)},
            self.events,
            lambda: (1, 3),
            "text",
        )
        self.collector = Collector(sources)
        self.page = MetricsPage(self.collector, {})

    def run_pass(self) -> None:
        """Decide anew."""
        loop = self.loop
        inputs = loop.inbox.copy_inputs()
        loop.last_result = advance(loop.profile, loop.memory, inputs, loop.clock.now())
        loop.memory = dict(loop.last_result.memory)
        loop.counters.count_pass(1.0, 1.5)

    def scrape(self) -> str:
        """Ask for the page, and return its text."""
        self.page = MetricsPage(self.collector, {})
        return asyncio.run(self.page.answer({})).body.decode()


def read(text: str) -> dict[str, float]:
    """Map each series, with its labels, to its value."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
    return {name: float(value) for name, _, value in lines}


@pytest.fixture(scope="module")
def rig() -> Rig:
    """Give a rig after a few events."""
    one = Rig()
    one.loop.sinks.lease.counters.count_renewal(1.0, 5.0)
    one.loop.sinks.lease.counters.count_renewal(3.0, 5.0)
    one.watcher.counters.count_look("answered", 0.002)
    fields: dict[str, Any] = {
        "from": "preferred",
        "to": "withdrawn",
        "decided_ms": 2.0,
        "sent_ms": 0.1,
    }
    one.events.record(
        Event(
            1.0,
            EventKind.TRANSITION,
            HOSTILE,
            service="web",
            reason="too_few_servers",
            fields={**fields, "detail": HOSTILE, "acknowledged_ms": None},
        )
    )
    one.events.record(Event(2.0, EventKind.SESSION_LOST, HOSTILE, neighbor="192.0.2.5"))
    return one


def test_the_page_has_every_metric_of_the_table(rig: Rig) -> None:
    """Names and types are those of the table, in whatever order."""
    found = dict(re.findall(r"^# TYPE (\S+) (\S+)$", rig.scrape(), re.MULTILINE))
    assert found == {metric.name: metric.type.value for metric in METRICS.values()}


def test_no_text_of_others_is_in_it(rig: Rig) -> None:
    """Whatever servers, HAProxy, peers and the speaker write, it is in no label and no line."""
    text = rig.scrape()
    assert "2J" not in text
    assert "\x1b" not in text
    spoilt = Rig(exabgp=HOSTILE)
    assert 'exabgp=""' in spoilt.scrape()


def test_what_the_values_are(rig: Rig) -> None:
    """The values are those of the state."""
    found = read(rig.scrape())
    web = '{service="web",vip="203.0.113.10/32"}'
    rule = '{rule="serve.all[0]",service="web"}'
    for name, value in {
        'service_level{level="withdrawn",service="web",vip="203.0.113.10/32"}': 1,
        'service_level{level="preferred",service="web",vip="203.0.113.10/32"}': 0,
        f"service_sessions{web}": 7,
        f"service_serving{web}": 0,
        f"service_vip_present{web}": 1,
        'service_capped{cap="proof",service="web"}': 1,
        'service_capped{cap="drain",service="web"}': 0,
        f"rule_true{rule}": 1,
        f"rule_servers_usable{rule}": 1,
        f"rule_servers{rule}": 2,
        f"rule_servers_needed{rule}": 1,
        'neighbor_up{neighbor="192.0.2.4",peer_as="65515"}': 1,
        'neighbor_up{neighbor="192.0.2.5",peer_as="65515"}': 0,
        'neighbor_hold_time_seconds{neighbor="192.0.2.4"}': 9,
        'neighbor_losses_total{neighbor="192.0.2.5"}': 1,
        'neighbor_losses_total{neighbor="192.0.2.4"}': 0,
        'haproxy_event_driven{haproxy="main"}': 0,
        'haproxy_looks_total{haproxy="main",outcome="answered"}': 1,
        'haproxy_look_duration_seconds_bucket{haproxy="main",le="0.001"}': 0,
        'haproxy_look_duration_seconds_bucket{haproxy="main",le="0.0025"}': 1,
        "lease_renewals_total": 2,
        "lease_renewal_lateness_seconds_sum": 0.75,
        "lease_expirations_total": 1,
        "lease_repairs_total": 2,
        "severity": 1,
        "problems": 3,
        'reaction_seconds_sum{direction="down",stage="evidence_to_decision"}': 0.002,
        'reaction_seconds_count{direction="down",stage="sent_to_acknowledged"}': 0,
        'events_total{kind="transition"}': 1,
    }.items():
        assert found[f"anycastd_{name}"] == pytest.approx(value), name
    change = '{from="preferred",reason="too_few_servers",service="web",to="withdrawn"}'
    assert found[f"anycastd_service_transitions_total{change}"] == 1
    assert math.isnan(found['anycastd_neighbor_routes_in_rib{neighbor="192.0.2.5"}'])
    since = found['anycastd_neighbor_since_timestamp_seconds{neighbor="192.0.2.4"}']
    assert since == pytest.approx(time.time() - 10, abs=60)


def test_without_a_speaker_no_level_is_claimed() -> None:
    """While the lease does not answer, nobody knows what the neighbors have."""
    rig = Rig()
    rig.loop.inbox.lease = LeaseView(connected=False, report=report(), leased=())
    rig.run_pass()
    found = read(rig.scrape())
    levels = [found[name] for name in found if name.startswith("anycastd_service_level{")]
    assert levels == [0.0] * 4
    assert found["anycastd_lease_connected"] == 0


def test_an_unknown_rule_is_not_a_number() -> None:
    """NaN keeps an alert on 0 quiet while nothing is known."""
    rig = Rig()
    at = rig.clock.now()
    rig.loop.inbox.haproxy["main"] = Unreadable(at, at, 1, HOSTILE, Reason.HAPROXY_SILENT)
    rig.run_pass()
    found = read(rig.scrape())
    assert math.isnan(found['anycastd_rule_true{rule="serve.all[0]",service="web"}'])
    assert found['anycastd_haproxy_up{haproxy="main"}'] == 0


def test_instants_stand_still() -> None:
    """An instant that does not move has one value in all answers."""
    rig = Rig()
    name = 'anycastd_service_level_since_timestamp_seconds{service="web",vip="203.0.113.10/32"}'
    values = {read(rig.scrape())[name] for _ in range(5)}
    assert len(values) == 1


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("session", Session)
def test_the_severity_is_that_of_the_status(connected: bool, session: Session) -> None:
    """It is the code with which `anycastd status` ends, read from the same status."""
    rig = Rig()
    neighbors = {each: NeighborReport(session, 3.0) for each in ("192.0.2.4", "192.0.2.5")}
    lease = LeaseView(connected=connected, report=report(), leased=())
    assert lease.report is not None
    rig.loop.inbox.lease = replace(lease, report=replace(lease.report, neighbors=neighbors))
    rig.run_pass()
    inputs, now = rig.loop.inbox.copy_inputs(), rig.clock.now()
    status = build_status(rig.profile, inputs, rig.loop.last_result, now, AgentFacts(1, "x"))
    judged = judge_status(status)
    assert judged.severity == compute_severity(status.to_json())
    assert judged.problems == len(status.problems)
    assert bool(judged.first) is bool(judged.severity)


def test_counters_never_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a rounding error either: Prometheus would count that as a restart."""
    rig = Rig()
    for stalled, shown in ((1.5, 1.5), (1.4999999, 1.5), (1.7, 1.7)):
        monkeypatch.setattr(OwnTime, "stalled", stalled)
        assert read(rig.scrape())["anycastd_stalled_seconds_total"] == shown


def test_many_services_are_built_in_slices() -> None:
    """With hundreds of services the loop goes on between pieces, and no line is lost."""
    rig = Rig(3 * SLICE)
    turns = 0

    async def scene() -> str:
        nonlocal turns

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count_turns())
        answers = await asyncio.gather(*(rig.page.answer({}) for _ in range(3)))
        counting.cancel()
        assert len({id(answer.body) for answer in answers}) == 1, "all three share one answer"
        return answers[0].body.decode()

    text = asyncio.run(scene())
    assert turns > 100
    assert len(re.findall(r"^anycastd_service_capped\{", text, re.MULTILINE)) == 3 * SLICE * 16
    assert text.count("# TYPE anycastd_service_capped gauge") == 1
    assert all(line.startswith(("# HELP ", "# TYPE ", "anycastd_")) for line in text.splitlines())
    assert len(read(text)) == len([line for line in text.splitlines() if line[0] != "#"])


def test_an_answer_is_reused() -> None:
    """Whoever scrapes without a pause gets the same answer for a second."""
    rig = Rig()

    async def scene() -> list[bytes]:
        return [(await rig.page.answer({})).body for _ in range(10)]

    assert len(set(asyncio.run(scene()))) == 1


def test_durations_are_counted_in_their_buckets() -> None:
    """An observation at a bound belongs to it; the last bucket has no bound."""
    found = Durations((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.2, 5.0):
        found.observe(seconds)
    assert found.list_buckets() == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert found.count == 4
    assert found.total == pytest.approx(5.35)


@pytest.mark.parametrize("module", ["anycastd.agent.daemon", "anycastd.agent.web"])
def test_libraries_are_loaded_only_where_they_are_used(module: str) -> None:
    """Without ``web`` neither library is loaded, with it not the servers of prometheus_client."""
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"http.server", "wsgiref.simple_server", "urllib.request"}
    assert ({"h11", "prometheus_client"} <= loaded) is (module == "anycastd.agent.web")
    assert bool(loaded & {"h11", "prometheus_client"}) is (module == "anycastd.agent.web")
