"""A status in short, for metrics and probes (pure)."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NamedTuple

from anycastd.views.severity import compute_severity
from anycastd.views.status_values import Announcement, NeighborStatus, ServiceStatus, Status


class Judged(NamedTuple):
    """A status in short: its monitoring code, how many problems it has, and the first of them.

    Where there is no problem, ``first`` says which service is not at preferred, and why.
    """

    severity: int
    problems: int
    first: str


def judge_status(status: Status) -> Judged:
    """Judge a status as `anycastd status` does with its exit code."""
    services = status.services.items()
    severity = compute_severity(
        {
            "services": {
                name: _take_fields(each)
                | {"neighbors": {at: _take_fields(one) for at, one in each.neighbors.items()}}
                for name, each in services
            },
            "neighbors": {name: _take_fields(each) for name, each in status.neighbors.items()},
            "problems": status.problems,
        }
    )
    first = status.problems[0] if status.problems else ""
    for name, service in services:
        if severity and not first and service.reason.name != "serving":
            first = f"service {name} is {service.level}: {service.reason.sentence}"
    return Judged(severity, len(status.problems), first)


def _take_fields(value: ServiceStatus | Announcement | NeighborStatus) -> dict[str, Any]:
    """Map a value's fields, as its JSON does, without those of the values in them."""
    return {each.name: getattr(value, each.name) for each in fields(value)}
