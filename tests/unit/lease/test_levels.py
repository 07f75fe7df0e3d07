"""The lease keeps what an agent says of the levels of its routes, as long as these routes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anycastd.lease.effects import Effect
from anycastd.lease.messages import Levels, Report, Want
from support.lease_rig import VIPS, LeaseRig, reports_in, route, want

LEVELS: Levels = {"preferred": (VIPS[0],)}
LOWER: Levels = {"standby": (VIPS[0],)}


def say(serial: int, levels: Levels | None, *, epoch: int = 1) -> bytes:
    """Build the line of an agent that wants one route and says its level."""
    return Want(serial, 5.0, (route(),), epoch, 7, levels=levels).dump()


def read_all(effects: list[Effect]) -> list[Levels | None]:
    """Return the levels of the reports that name the routes on the lease."""
    reports = [Report.load(each.dump()) for each in reports_in(effects)]
    return [each.levels for each in reports if each.leased is not None]


def ask(rig: LeaseRig) -> tuple[int, Levels | None]:
    """Connect as a new agent does; return the number of leased routes, and their levels."""
    (report,) = reports_in(rig.lease.on_connected(9, rig.now))
    report = Report.load(report.dump())
    assert report.leased is not None
    return len(report.leased), report.levels


def test_the_next_agent_hears_the_levels() -> None:
    """Also where the level has changed and the route has not."""
    rig = LeaseRig()
    assert read_all(rig.send(1, say(1, LEVELS))) == [LEVELS]
    assert ask(rig) == (1, LEVELS)
    assert read_all(rig.send(1, say(2, LEVELS))) == [], "nothing is new"
    assert read_all(rig.send(1, say(3, LOWER))) == [LOWER]
    assert ask(rig) == (1, LOWER)


def test_they_end_with_the_routes_that_they_are_about() -> None:
    """An agent that says none, an expiry, a lease process that finds routes in ExaBGP."""
    rig = LeaseRig()
    rig.send(1, say(1, LEVELS))
    rig.send(1, want(2, route(asns=3)))
    assert ask(rig) == (1, None)
    rig.send(1, say(3, LEVELS))
    rig.advance(5.1)
    assert ask(rig) == (0, None)
    assert ask(LeaseRig(route())) == (1, None)


def test_a_void_message_changes_no_levels() -> None:
    """What is repeated, or was decided before the agent heard of an expiry, says nothing."""
    rig = LeaseRig()
    rig.send(1, say(5, LEVELS))
    rig.send(1, say(5, LOWER))
    assert ask(rig) == (1, LEVELS)
    line = Want(6, 5.0, (route(),), 1, 7, expirations=3, levels=LOWER).dump()
    rig.send(1, line)
    assert ask(rig) == (1, LEVELS)


def test_the_newest_agent_s_levels_count() -> None:
    """An agent that lost the lease says nothing any more."""
    rig = LeaseRig()
    rig.send(1, say(1, LEVELS))
    rig.lease.on_connected(2, rig.now)
    rig.send(2, say(1, LOWER, epoch=2))
    rig.send(1, say(2, LEVELS))
    assert ask(rig) == (1, LOWER)


@pytest.mark.parametrize(
    "levels",
    [
        7,
        [],
        {"preferred": "203.0.113.10/32"},
        {"preferred": [7]},
        {"preferred": ["x" * 300]},
        {"x" * 300: []},
        {str(number): [] for number in range(17)},
    ],
    ids=["number", "list", "text", "items", "long", "name", "many"],
)
def test_what_are_no_levels_is_refused(levels: object) -> None:
    """The whole message, and the lease stays as it was."""
    rig = LeaseRig()
    rig.send(1, say(1, LEVELS))
    line: dict[str, Any] = json.loads(say(2, LOWER))
    done = rig.send(1, json.dumps(line | {"levels": levels}).encode())
    assert any(each.refused for each in reports_in(done))
    assert ask(rig) == (1, LEVELS)
