"""Metrics of one agent, in the format of Prometheus; loaded only where the profile has ``web``.

A collector of our own reads the newest state and the counters of the parts when somebody asks.
The parts know nothing of it.  With a thousand services an answer has tens of thousands of lines,
so it is built in slices between which the agent's loop goes on, and is reused for a while.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

from anycastd import __version__
from anycastd.agent.decision_loop import DecisionLoop
from anycastd.agent.event_log import EventLog
from anycastd.agent.json_cache import MAX_SHARE, Costs
from anycastd.agent.page import Fields, WebAnswer
from anycastd.agent.prometheus import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    generate_latest,
)
from anycastd.decision.pipeline import advance
from anycastd.evidence.haproxy.watcher import Watcher
from anycastd.system.counters import FAST, SLOW, Durations
from anycastd.views.events import Event, EventKind
from anycastd.views.metric_table import METRICS, PREFIX, MetricType
from anycastd.views.metric_values import (
    Instants,
    MetricState,
    Row,
    Rows,
    ServiceFacts,
    iter_service_facts,
    list_check_rows,
    list_haproxy_rows,
    list_neighbor_rows,
    list_rule_rows,
    list_service_rows,
)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of the answer (Prometheus' text format)."""
METRICS_MAX_AGE = 1.0
"""Seconds for which an answer is reused at least."""
SLICE = 200
"""Lines of an answer that are built before the agent's loop goes on; a service counts for four."""
LAG_INTERVAL = 0.1
"""Seconds between two measurements of the loop's lag."""
_STAGES = {
    "decided_ms": "evidence_to_decision",
    "sent_ms": "decision_to_sent",
    "acknowledged_ms": "sent_to_acknowledged",
}
_VERSION = re.compile(r"[0-9A-Za-z.+~-]{1,40}")
_LEVELS = ("withdrawn", "standby", "degraded", "preferred")


class EventCounters:
    """Counts events: subscribe ``count_event`` to the event log."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter({kind.value: 0 for kind in EventKind})
        self.losses: Counter[str] = Counter()
        self.changes: Counter[tuple[str, ...]] = Counter()
        self.stages: dict[tuple[str, ...], Durations] = {
            (stage, direction): Durations(SLOW)
            for stage in _STAGES.values()
            for direction in ("up", "down")
        }

    def count_event(self, event: Event) -> None:
        """Count one event."""
        self.kinds[event.kind.value] += 1
        if event.kind is EventKind.SESSION_LOST:
            self.losses[event.neighbor] += 1
        elif event.kind is EventKind.TRANSITION:
            old, new = str(event.fields.get("from")), str(event.fields.get("to"))
            self.changes[event.service, old, new, event.reason] += 1
            if old in _LEVELS and new in _LEVELS:
                direction = "up" if _LEVELS.index(new) > _LEVELS.index(old) else "down"
                for field, stage in _STAGES.items():
                    took = event.fields.get(field)
                    if isinstance(took, int | float):
                        self.stages[stage, direction].observe(took / 1000)


@dataclass(frozen=True, slots=True)
class MetricSources:
    """What the metrics are read from.

    ``watchers``: name of the HAProxy -> its watcher.  ``judge`` returns the severity of the status
    and the number of its problems.
    """

    loop: DecisionLoop
    watchers: Mapping[str, Watcher]
    events: EventLog
    judge: Callable[[], tuple[int, int]]
    profile_text: str


class Collector:
    """Builds all metrics; ``collect`` is what prometheus_client calls, after ``prepare``."""

    def __init__(self, sources: MetricSources) -> None:
        self._sources = sources
        self._counters = EventCounters()
        sources.events.subscribe(self._counters.count_event)
        self._lag = Durations(FAST)
        self._instants = Instants()
        self._started_at = time.time()
        self._stalled = 0.0
        self._hash = hashlib.sha256(sources.profile_text.encode()).hexdigest()[:8]
        self._facts: list[ServiceFacts] = []
        self._state = self._take_state()
        self.cost = 0.0

    async def measure_lag(self) -> NoReturn:
        """Measure how late the loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_at = loop.time() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self._lag.observe(max(0.0, loop.time() - due_at))

    def prepare(self) -> Iterator[MetricState]:
        """Take the state that ``collect`` shows, and yield it after each slice of services."""
        self._state, facts = self._take_state(), []
        for each in iter_service_facts(self._state):
            facts.append(each)
            if len(facts) % (SLICE // 4) == 0:
                yield self._state
        self._facts = facts
        yield self._state

    def _take_state(self) -> MetricState:
        loop = self._sources.loop
        inputs, now, unix = loop.inbox.copy_inputs(), loop.clock.now(), time.time()
        self._instants.align(unix, now)
        reported_at = loop.sinks.lease.counters.reported_at or time.monotonic()
        return MetricState(
            loop.profile,
            inputs,
            loop.last_result or advance(loop.profile, loop.memory, inputs, now),
            now,
            now - (time.monotonic() - reported_at),
            self._instants,
        )

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics of the state that ``prepare`` took.

        One with many lines is yielded in parts of the same name, so that none takes long.
        """
        for name, rows in self._list_rows():
            yield from _build_families(name, rows)
        counters, loop = self._counters, self._sources.loop
        yield _build_histograms("pass_duration_seconds", {(): loop.counters.passes})
        yield _build_histograms("loop_lag_seconds", {(): self._lag})
        yield _build_histograms("reaction_seconds", counters.stages)
        lateness = loop.sinks.lease.counters.lateness
        yield _build_histograms("lease_renewal_lateness_seconds", {(): lateness})
        looks = {(name,): each.counters for name, each in self._sources.watchers.items()}
        yield _build_histograms(
            "haproxy_look_duration_seconds",
            {labels: each.durations for labels, each in looks.items()},
        )

    def _list_rows(self) -> Iterator[Rows]:
        state, watchers = self._state, self._sources.watchers
        yield from self._list_agent_rows()
        yield from list_service_rows(state, self._facts)
        yield "service_transitions_total", _list_counts(self._counters.changes)
        yield from list_rule_rows(self._facts)
        yield from list_neighbor_rows(state)
        yield (
            "neighbor_losses_total",
            [
                ((str(each.address),), float(self._counters.losses[str(each.address)]))
                for each in state.profile.bgp.neighbors
            ],
        )
        polled = [name for name, each in watchers.items() if each.polling]
        answered_at = {name: each.answered_at for name, each in watchers.items()}
        yield from list_haproxy_rows(state, polled, answered_at)
        yield (
            "haproxy_looks_total",
            [
                ((name, outcome), float(count))
                for name, each in watchers.items()
                for outcome, count in each.counters.outcomes.items()
            ],
        )
        yield (
            "haproxy_events_total",
            [((name,), float(each.counters.events)) for name, each in watchers.items()],
        )
        yield from list_check_rows(state)
        yield from self._list_lease_rows()

    def _list_agent_rows(self) -> Iterator[Rows]:
        loop, report = self._sources.loop, self._state.report
        exabgp = "" if report is None else report.exabgp
        exabgp = exabgp if _VERSION.fullmatch(exabgp) else ""
        labels = (__version__, exabgp, self._state.profile.region, self._hash)
        severity, problems = self._sources.judge()
        passed_at = loop.counters.passed_at
        # A counter that falls by a rounding error looks like a restart.
        self._stalled = max(self._stalled, round(loop.clock.stalled, 2))
        yield "build_info", [(labels, 1.0)]
        yield "events_total", _list_counts({(k,): n for k, n in self._counters.kinds.items()})
        for name, value in (
            ("start_time_seconds", round(self._started_at, 3)),
            ("severity", severity),
            ("problems", problems),
            ("last_pass_timestamp_seconds", _to_unix(passed_at)),
            ("stalled_seconds_total", self._stalled),
            ("metrics_cpu_seconds", self.cost),
        ):
            yield name, _list_one(value)

    def _list_lease_rows(self) -> Iterator[Rows]:
        lease, report = self._sources.loop.sinks.lease, self._state.inputs.lease.report
        for name, value in (
            ("lease_connected", self._state.inputs.lease.connected),
            ("lease_ttl_seconds", self._state.profile.ttl),
            ("lease_renewed_timestamp_seconds", _to_unix(lease.counters.renewed_at)),
            ("lease_renewals_total", lease.counters.renewals),
            ("lease_expirations_total", None if report is None else report.expirations),
            ("lease_repairs_total", None if report is None else report.repairs),
        ):
            yield name, _list_one(value)


def _list_one(value: float | None) -> list[Row]:
    return [] if value is None else [((), float(value))]


def _list_counts(counts: Mapping[tuple[str, ...], int]) -> list[Row]:
    return [(labels, float(count)) for labels, count in counts.items()]


def _to_unix(monotonic: float | None) -> float | None:
    """Convert monotonic time into Unix time."""
    return None if monotonic is None else round(time.time() - time.monotonic() + monotonic, 3)


def _build_families(name: str, rows: Iterable[Row]) -> Iterator[Metric]:
    """Build one metric, in parts of ``SLICE`` samples; without a row it has one empty part."""
    spec = METRICS[PREFIX + name]
    kind = CounterMetricFamily if spec.type is MetricType.COUNTER else GaugeMetricFamily
    remaining = iter(rows)
    part = list(islice(remaining, SLICE))
    while True:
        family = kind(spec.name, spec.meaning, labels=spec.labels)
        for labels, value in part:
            family.add_metric(labels, value)
        yield family
        if not (part := list(islice(remaining, SLICE))):
            return


def _build_histograms(name: str, found: Mapping[tuple[str, ...], Durations]) -> Metric:
    spec = METRICS[PREFIX + name]
    family = HistogramMetricFamily(spec.name, spec.meaning, labels=spec.labels)
    for labels, durations in found.items():
        family.add_metric(labels, durations.list_buckets(), durations.total)
    return family


class _One:
    """A collector of one metric, for ``generate_latest``."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        """Return the metric alone."""
        return [self._metric]


class MetricsPage:
    """The page ``/metrics``; what it costs counts with the other pages in ``costs``."""

    def __init__(self, collector: Collector, costs: Costs) -> None:
        self._collector = collector
        self._costs = costs
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        self._body = b""
        self._built_at = 0.0
        self._task: asyncio.Task[None] | None = None

    async def answer(self, _: Fields) -> WebAnswer:
        """Answer with metrics of the last second; those who ask meanwhile share one answer."""
        max_age = max(METRICS_MAX_AGE, sum(self._costs.values()) / MAX_SHARE)
        if not self._body or time.monotonic() - self._built_at >= max_age:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._build())
            await asyncio.shield(self._task)
        return WebAnswer(200, self._body, METRICS_TYPE)

    async def _build(self) -> None:
        began_at = time.monotonic()
        pieces: list[bytes] = []
        cost, slice_began_at = 0.0, began_at
        for piece in self._iter_pieces():
            pieces.append(piece)
            cost += time.monotonic() - slice_began_at
            await asyncio.sleep(0)
            slice_began_at = time.monotonic()
        self._body, self._built_at = b"".join(pieces), began_at
        self._costs[self] = cost
        self._collector.cost = round(cost, 6)

    def _iter_pieces(self) -> Iterator[bytes]:
        """Yield the answer piece by piece; each takes a few milliseconds at most."""
        for _ in self._collector.prepare():
            yield b""
        name = ""
        for metric in self._registry.collect():
            piece = generate_latest(_One(metric))
            yield piece[_find_samples(piece) :] if metric.name == name else piece
            name = metric.name


def _find_samples(part: bytes) -> int:
    """Return where the first sample begins, after the lines with the meaning and the type."""
    return part.index(b"\n", part.index(b"\n# TYPE ") + 1) + 1
