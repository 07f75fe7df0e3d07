"""A status in short, for metrics and probes (pure)."""

from __future__ import annotations

from typing import NamedTuple

from anycastd.views.severity import compute_severity
from anycastd.views.status_values import Status


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
                name: {"level": each.level, "drains": each.drains, "in_sync": each.in_sync}
                for name, each in services
            },
            "neighbors": {
                name: {"session": each.session} for name, each in status.neighbors.items()
            },
            "problems": status.problems,
        }
    )
    first = status.problems[0] if status.problems else ""
    for name, service in services:
        if severity and not first and service.reason.name != "serving":
            first = f"service {name} is {service.level}: {service.reason.sentence}"
    return Judged(severity, len(status.problems), first)
