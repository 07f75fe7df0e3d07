"""The verdict, the facts behind a level, and what is not as wanted, each once with its remedy."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from anycastd.bgp.session import Session
from anycastd.decision.levels import Level
from anycastd.evidence.haproxy.snapshot import Gone, Unreadable
from anycastd.views.severity import (
    SEVERITIES,
    compute_severity,
    count_announced,
    find_state,
)
from anycastd.views.summary import summarize_status
from anycastd.views.troubles import list_troubles, split_why
from support.snapshots import NO, YES
from support.statuses import look, status

UP, DOWN, UNKNOWN = Session.UP, Session.DOWN, Session.UNKNOWN
WELL = status(look(YES, YES))


def several(*found: dict[str, Any]) -> dict[str, Any]:
    """Give one status with the service of each status, as web0, web1 and so on."""
    one = copy.deepcopy(found[0])
    one["services"] = {f"web{i}": each["services"]["web"] for i, each in enumerate(found)}
    return one


@pytest.mark.parametrize(
    ("found", "severity", "verdict"),
    [
        (WELL, "ok", "web is preferred; 2 of 2 neighbors up"),
        (
            status(look(NO, NO)),
            "critical",
            "web is withdrawn; 2 of 2 neighbors up; 2 other problems",
        ),
        (
            status(look(YES, YES), sessions=(DOWN, DOWN)),
            "critical",
            "web is not announced; 0 of 2 neighbors up",
        ),
        (
            status(look(YES, YES), sessions=(UNKNOWN, UNKNOWN)),
            "critical",
            "web is not known; 0 of 2 neighbors up",
        ),
        (
            status(look(YES, YES), sessions=(UP, DOWN)),
            "warning",
            "web is preferred; 1 of 2 neighbors up",
        ),
        (
            status(Unreadable(100.0, 99.0, 1, "no answer within 1 s")),
            "warning",
            "web is preferred, for now; 2 of 2 neighbors up; HAProxy main is not answering",
        ),
        (
            status(Gone(100.0, "refused"), held=0),
            "critical",
            "web is withdrawn; 2 of 2 neighbors up; HAProxy main is not running",
        ),
        (
            several(WELL, WELL, status(look(YES, NO, NO), level=Level.DEGRADED, held=4)),
            "ok",
            "2 of 3 services preferred, 1 degraded; 2 of 2 neighbors up",
        ),
    ],
)
def test_the_verdict(found: dict[str, Any], severity: str, verdict: str) -> None:
    """It says what users get, in one line; the agent gives it with the severity."""
    assert summarize_status(found) == f"northeurope: {verdict}"
    if "web" in found["services"]:
        assert found["severity"] == SEVERITIES[compute_severity(found)] == severity
        assert found["verdict"] == f"northeurope: {verdict}"


def test_the_level_is_the_fact() -> None:
    """What is wanted is not announced while no session is up, or none carries the family."""
    lost = status(look(YES, YES), sessions=(DOWN, DOWN))["services"]["web"]
    assert lost["level"] == "standby"
    assert find_state(lost) == "not announced"
    foreign = copy.deepcopy(WELL)
    for one in foreign["services"]["web"]["neighbors"].values():
        one["negotiated"] = False
    assert find_state(foreign["services"]["web"]) == "not announced"
    assert compute_severity(foreign) == 2
    half = status(look(YES, YES), sessions=(UP, DOWN))["services"]["web"]
    assert (find_state(half), count_announced(half)) == ("preferred", (1, 2))
    assert count_announced(status(look(NO, NO))["services"]["web"]) == (2, 2)  # not yet withdrawn
    assert count_announced(status(look(NO, NO), held=0)["services"]["web"]) == (0, 2)


def test_uncertainty_is_a_warning_with_an_end() -> None:
    """HAProxy does not answer: the level stays for some seconds, and says for how many."""
    found = status(Unreadable(100.0, 99.0, 1, "no answer within 1 s"))
    held = found["services"]["web"]["held"]
    assert held["name"] == "haproxy_silent"
    assert 0 < held["until"] <= 6
    (trouble,) = list_troubles(found)
    assert trouble.severity == 1
    assert trouble.text.startswith(
        "web is preferred, but only for now: HAProxy does not answer on its stats socket; in "
    )
    assert trouble.remedy


def test_a_trouble_stands_once() -> None:
    """Services with the same trouble, and neighbors with the same reason, are one entry."""
    gone = status(Gone(100.0, "refused"), held=0)
    many = several(*[gone] * 12)
    (trouble,) = list_troubles(many)
    assert trouble.text.startswith("web0, web1, web2 and 9 more are withdrawn: HAProxy is not ")
    lost = status(look(YES, YES), sessions=(DOWN, DOWN))
    for each in lost["neighbors"].values():
        each["why"] = "closed from here: hold timer expired (4/0); no message came from it"
    texts = [each.text for each in list_troubles(lost)]
    assert texts == [
        "web is not announced (wanted: standby): no BGP session carries it",
        "neighbors 192.0.2.4, 192.0.2.5 are down: closed from here: hold timer expired (4/0)",
    ]
    assert list_troubles(lost)[1].remedy == "no message came from it"


def test_an_older_agent_has_fewer_keys() -> None:
    """A status of release 0.1.0 is summarized, too."""
    old = copy.deepcopy(status(look(NO, NO)))
    for key in ("verdict", "severity", "at"):
        del old[key]
    for service in old["services"].values():
        for key in ("held", "drains", "safe", "sessions", "prepends_steer", "serves"):
            del service[key]
        for one in service["neighbors"].values():
            del one["negotiated"]
    assert compute_severity(old) == 2
    assert summarize_status(old).startswith("northeurope: web is withdrawn; ")
    assert list_troubles(old)


def test_a_reason_of_a_session_is_split() -> None:
    """What is the case, and what to do about it."""
    assert split_why("no connection, or none: see whether it listens") == (
        "no connection, or none",
        "see whether it listens",
    )
    assert split_why("closed by the neighbor: Cease (6/2)") == (
        "closed by the neighbor: Cease (6/2)",
        "",
    )
