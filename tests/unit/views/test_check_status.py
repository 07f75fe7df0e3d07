"""Checks in the status: its JSON, its text in 80 columns, its problems, and the page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anycastd.bgp.session import Session
from anycastd.cli.status_text import format_status
from anycastd.decision.last_known import LastKnown
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, VipState, advance
from anycastd.evidence.checks.observation import CheckObservation
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import NeighborReport, Report
from anycastd.views.page import render_page
from anycastd.views.status import AgentFacts, build_status
from support.profiles import profile
from support.status_schema import check_status

CHECKS = """checks:
  app: {http: 'https://app.example.com:8443/health', deadline: 10}
  spare: {command: [/usr/local/bin/check-spare]}
  busy: {load: {load_average: [1, 2]}}
services:
"""
CHANGES = (
    ("haproxy:\n  main: {socket: /run/haproxy/anycastd.sock, ring: anycastd}\n", ""),
    (
        "serve: {all: [{backend: web, usable: 1}, {frontend: web}]}",
        "serve: {any: [{check: app}, {check: spare}]}",
    ),
    ("healthy: {backend: web, usable: 50%}", "healthy: {check: busy}"),
    ("services:\n", CHECKS),
)
WELL = CheckObservation(99.0, True, 40.0, "HTTP 200", None, "", True, True, 30)
BLIND = CheckObservation(
    98.0, True, 40.0, "exit status 0", None, "the command cannot be started: it is away", False
)
BUSY = CheckObservation(99.0, True, 40.0, "load average 1.10 per core: step 1 of 2", 1)


def build(**checks: CheckObservation) -> dict[str, Any]:
    """Build the status, as JSON, of a service that has been preferred for a while."""
    its = profile(*CHANGES)
    peers = {each: NeighborReport(Session.UP, 12.0) for each in ("192.0.2.4", "192.0.2.5")}
    lease = LeaseView(True, Report("i", 7, 7, 4.0, peers), ())
    vips = {"203.0.113.10/32": VipState(usable=True)}
    inputs = Inputs(Evidence(checks=checks), vips, lease)
    well = LastKnown(True, 0.0)
    memory = Memory(level=Level.PREFERRED, adopted=True, serve=well, healthy=well, sessions=well)
    step = advance(its, {"web": memory}, inputs, 100.0)
    view = build_status(its, inputs, step, 100.0, AgentFacts(4, "0.1.0", at="2026-11-30T02:58:00Z"))
    return check_status(json.loads(json.dumps(view.to_json())))


def test_every_check_is_in_the_status() -> None:
    """What it asks, what it found, since when, and the step of a load."""
    status = build(app=WELL, busy=BUSY)
    assert status["checks"]["app"] == {
        "asks": "GET https://app.example.com:8443/health",
        "state": "passes",
        "why": "HTTP 200",
        "since": 60.0,
        "age": 1.0,
        "step": None,
    }
    assert status["checks"]["busy"]["step"] == 1
    assert (status["checks"]["spare"]["state"], status["checks"]["spare"]["age"]) == (
        "unproved",
        None,
    )


@pytest.mark.parametrize(
    ("spare", "problem"),
    [
        (WELL, ""),
        (
            BLIND,
            (
                "check spare: a check cannot see what it asks for (the command cannot be "
                "started: it is away)"
            ),
        ),
        (CheckObservation(99.0, False, 90.0, "exit status 1"), "check spare: a check fails (exit"),
    ],
)
def test_a_check_that_no_level_shows_is_a_problem(spare: CheckObservation, problem: str) -> None:
    """The other one of two serves, so the service is preferred all the same."""
    status = build(app=WELL, spare=spare, busy=BUSY)
    assert status["services"]["web"]["level"] == "preferred"
    found = [each for each in status["problems"] if each.startswith("check ")]
    assert [each.startswith(problem) for each in found] == [True] * bool(problem)


def test_the_table_fits_80_columns() -> None:
    """And there is no table of HAProxy where there is none."""
    long = CheckObservation(99.0, False, 90.0, "exit status 1: " + "word " * 60)
    text = list(format_status(build(app=WELL, spare=long, busy=BUSY)))
    assert max(map(len, text)) <= 80
    table = text[text.index(next(line for line in text if line.startswith("CHECK "))) :]
    assert table[0].split() == ["CHECK", "STATE", "FOR", "FOUND"]
    assert table[1].split()[:3] == ["app", "passes", "1"] or table[1].startswith("app    passes")
    assert any(line.startswith("spare  FAILS") for line in table)
    assert any("step 1" in line for line in table)
    assert not [line for line in text if line.startswith("HAPROXY")]


def test_the_page_shows_the_checks_escaped() -> None:
    """What a command wrote is text, and nothing else."""
    evil = CheckObservation(99.0, False, 90.0, "exit status 1: <script>x</script>")
    page = render_page(build(app=WELL, spare=evil, busy=BUSY), (), None, 1796007680.0)
    assert "<h2>Checks</h2>" in page
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page
    assert "<h2>HAProxy</h2>" not in page
