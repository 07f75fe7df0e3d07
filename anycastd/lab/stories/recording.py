"""What was seen around the fault of a step, on one scale of time, for the report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from anycastd.lab.network.lab import Lab
from anycastd.lab.network.outage import RequestResult
from anycastd.lab.stories.report import StepReport

BEFORE = 0.3
"""Seconds before the fault that are recorded."""
EVIDENCE, DECISION, UPDATE, SERVERS, FAR_ROUTER = LANES = (
    "evidence",
    "decision",
    "UPDATE",
    "route servers",
    "far router",
)
"""The stages of a change, in their order."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was seen ``at`` seconds after the fault, in one of the ``LANES``."""

    lane: str
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Recording:
    """A step with what was seen: the marks by time, and the client's requests (since the fault)."""

    step: StepReport
    marks: tuple[Mark, ...]
    requests: tuple[RequestResult, ...]
    ended_at: float

    @property
    def acted_at(self) -> float:
        """Return when the fault or the repair began (monotonic clock, s)."""
        return self.step.acted_at or 0.0


def record_step(lab: Lab, step: StepReport) -> Recording | None:
    """Record what was seen in a step that has just ended; None for one without a fault.

    The times of evidence and decision are those of the agent (`anycastd history`); those of the
    routers are of their kernels.
    """
    at = step.acted_at
    if at is None:
        return None
    marks = [*_from_agent(lab.primary.read_history(), at), *_from_routers(lab, at)]
    requests = tuple(lab.client.results(at - BEFORE))
    ordered = tuple(sorted(marks, key=lambda mark: mark.at))
    return Recording(step, ordered, requests, time.monotonic())


def _from_agent(events: list[dict[str, Any]], since: float) -> Iterator[Mark]:
    """Yield the stages of each change of level; the agent's times are wall-clock times."""
    offset = time.time() - time.monotonic()
    for event in events:
        fields = event.get("fields", {})
        decided = fields.get("decided_ms")
        at = event["at"] - offset - since
        if event.get("kind") != "transition" or decided is None or at < 0:
            continue
        change = f"{fields['from']} -> {fields['to']}"
        yield Mark(EVIDENCE, max(0.0, at - decided / 1000), "HAProxy was asked")
        yield Mark(DECISION, at, change)
        if fields.get("sent_ms") is not None:
            at += fields["sent_ms"] / 1000
            if fields.get("acknowledged_ms") is not None:
                at += fields["acknowledged_ms"] / 1000
                yield Mark(UPDATE, at, "confirmed by ExaBGP")


def _from_routers(lab: Lab, since: float) -> Iterator[Mark]:
    for node, monitor in lab.monitors.items():
        lane = FAR_ROUTER if node == lab.topology.observed else SERVERS
        if lane == SERVERS and node not in lab.primary.site.servers:
            continue
        for change in monitor.changes(since):
            hops = ", ".join(lab.topology.find_node(hop) or hop for hop in change.next_hops)
            yield Mark(lane, change.at - since, f"{node}: {f'via {hops}' if hops else 'no route'}")
