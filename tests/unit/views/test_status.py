"""The one view, and what a person and a monitor make of it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from anycastd.bgp.session import Session
from anycastd.cli.output import format_duration
from anycastd.cli.service_text import format_service
from anycastd.cli.status_text import format_status
from anycastd.decision.drains import Drain
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, VipState, advance
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import NeighborReport, Report
from anycastd.reasons import Reason
from anycastd.views.judged import judge_status
from anycastd.views.reason_view import complete_remedy, view_reason
from anycastd.views.severity import compute_severity
from anycastd.views.status import AgentFacts, build_status
from support.profiles import profile
from support.snapshots import NO, YES
from support.statuses import PEERS, VIP, look, status


def format_web(found: dict[str, Any]) -> str:
    """Give the details of the service `web`, unfolded."""
    lines = format_service("web", found["services"]["web"], found["at"])
    return " ".join(line.strip() for line in lines)


def test_a_map_that_haproxy_lacks_is_a_problem() -> None:
    """Nobody could take the service out of service by it."""
    named = ("    failed:", "    maintenance: {map: /none.map, key: web}\n    failed:")
    found = status(look(YES, YES), changes=(named,))
    (problem,) = found["problems"]
    assert problem.startswith("service web: HAProxy does not have the map that `maintenance` names")
    assert compute_severity(found) == 1


def test_that_prepends_do_not_steer_is_said() -> None:
    """A person and a program see that there is no degraded level."""
    unsteered = ("  local_as: 65010", "  prepends_steer: false\n  local_as: 65010")
    found = status(look(YES, YES), changes=(unsteered,))
    assert found["services"]["web"]["prepends_steer"] is False
    assert "prepends do not steer here" in format_web(found)
    assert "steer" not in format_web(status(look(YES, YES)))


def test_all_is_well() -> None:
    """Code 0 needs the preferred path, in sync, at every neighbor."""
    found = status(look(YES, YES))
    assert compute_severity(found) == 0
    assert found["problems"] == []
    assert found["services"]["web"]["in_sync"] is True
    assert found["neighbors"]["192.0.2.4"]["announced"] == [VIP]


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (status(look(NO, NO)), 2),
        (status(Gone(100.0, "refused")), 2),
        (status(look(YES, YES), sessions=(Session.DOWN, Session.DOWN)), 2),
        (status(look(YES, YES), sessions=(Session.UP, Session.DOWN)), 1),
        (status(look(YES, YES), held=3), 1),
        (status(look(YES, YES), rib="differs"), 1),
        (status(look(YES, NO, NO), level=Level.DEGRADED, held=4), 1),
    ],
)
def test_codes_for_monitoring(found: dict[str, Any], code: int) -> None:
    """Critical: nobody is served from here.  Warning: it is, but not as wanted."""
    assert compute_severity(found) == code


def test_text_says_what_why_and_what_to_do() -> None:
    """An operator sees level, reason, evidence, remedy and path at a glance."""
    text = format_web(status(look(NO, NO)))
    assert "web  203.0.113.10/32  WITHDRAWN for 0.0 s" in text
    assert "a backend has too few usable servers to serve (backend web has" in text
    assert "do     bring its servers back" in text
    assert "path   not announced" in text
    assert "0 of 2 usable" in text
    assert text.count("s1  DOWN") == 1
    assert "to     192.0.2.4: does not have the wanted route yet" in text


def test_text_has_colour_on_a_terminal_only() -> None:
    """What is piped into a file stays readable."""
    found = status(look(YES, YES))
    assert "\033[" not in "\n".join(format_status(found))
    assert "\033[1;32mPREFERRED\033[0m" in "\n".join(format_status(found, colour=True))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (42.4, "42 s"),
        (60, "1 min"),
        (303, "5 min 3 s"),
        (7500, "2 h 5 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_time_spans_read_well(seconds: float, text: str) -> None:
    """Two units at most."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize("saving", [False, True])
def test_a_drain_is_safe_once_it_is_on_disk(*, saving: bool) -> None:
    """After a reboot the next agent reads from there that the service is withdrawn."""
    its = profile()
    drain = Drain("work", "alice", began_at=0.0, wait=1.0, withdrawn_at={"web": 1.0})
    neighbors = {peer: NeighborReport(Session.UP, 12.0, rib="agrees") for peer in PEERS}
    lease = LeaseView(True, Report("i", 7, 7, 4.0, neighbors, (), exabgp="5.0.15"), ())
    inputs = Inputs(
        Evidence({"main": look(YES, YES)}), {VIP: VipState(True)}, lease, {drain.key: drain}
    )
    memory = Memory(level=Level.WITHDRAWN, adopted=True)
    now = 10_000.0
    step = advance(its, {"web": memory}, inputs, now)
    view = build_status(its, inputs, step, now, AgentFacts(4, "0.1.0", saving_drains=saving))
    assert view.services["web"].safe is not saving


@pytest.mark.parametrize("seen", [look(YES, NO), look(NO, NO), Gone(100.0, "nothing listens")])
def test_problems_do_not_depend_on_the_servers_of_rules(seen: Observation) -> None:
    """The history asks for problems all the time, and servers may be many."""
    its = profile()
    inputs = Inputs(Evidence({"main": seen}), {VIP: VipState(False)}, LeaseView(connected=False))
    step = advance(its, {"web": Memory(adopted=True)}, inputs, 100.0)
    agent = AgentFacts(4, "0.1.0")
    view = build_status(its, inputs, step, 100.0, agent)
    brief = build_status(its, inputs, step, 100.0, agent, with_servers=False)
    rules = tuple(replace(each, servers=()) for each in view.services["web"].rules)
    without = replace(view.services["web"], rules=rules)
    assert any(each.servers for each in view.services["web"].rules) is isinstance(seen, Snapshot)
    assert brief == replace(view, services={"web": without})
    assert brief.problems
    assert judge_status(brief) == judge_status(view)


@pytest.mark.parametrize("seen", [look(YES, NO), Gone(100.0, "nothing listens")])
def test_the_json_is_what_asdict_makes_of_a_status(seen: Observation) -> None:
    """Besides ``severity`` and ``verdict``, which are computed from it."""
    its = profile()
    inputs = Inputs(Evidence({"main": seen}), {VIP: VipState(False)}, LeaseView(connected=False))
    step = advance(its, {"web": Memory(adopted=True)}, inputs, 100.0)
    view = build_status(its, inputs, step, 100.0, AgentFacts(4, "0.1.0"))
    found = view.to_json()
    del found["severity"], found["verdict"]
    assert json.dumps(found) == json.dumps(asdict(view))


def test_the_end_of_maintenance_is_a_command_to_paste() -> None:
    """With this service's map, key and socket; the reason itself has the words for any profile."""
    work = "    maintenance: {map: /etc/haproxy/our-work.map, key: web}\n"
    its = profile(("    prepend: 0", f"{work}    prepend: 0"))
    view = view_reason(Reason.MAINTENANCE, "web on")
    assert complete_remedy(view, its, its.services["web"]).remedy == (
        "when the work is done: echo 'del map /etc/haproxy/our-work.map web' | socat stdio "
        f"'{its.haproxy['main'].socket}'"
    )
    other = view_reason(Reason.TOO_FEW_SERVERS, "")
    assert complete_remedy(other, its, its.services["web"]) is other
