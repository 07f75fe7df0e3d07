"""Why a service is announced as it is, and what would happen next."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anycastd.agent.history import ACKNOWLEDGE_TIMEOUT, History
from anycastd.bgp.session import Session
from anycastd.cli.commands.explain import format_explanation
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, VipState, advance
from anycastd.decision.policy import Transition
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import Profile
from anycastd.reasons import Reason
from anycastd.views.events import Event, EventKind
from anycastd.views.explain import Explanation, explain_service
from anycastd.views.transition_event import build_transition_event
from support.appliance import PROFILE, VIP, Appliance, own_network
from support.haproxy import until
from support.profiles import profile
from support.snapshots import NO, YES, snapshot

PEERS = ("192.0.2.4", "192.0.2.5")
# (seconds, servers): up at 36 s, failed at 100 s, serving again from 101 s on.
LIFE = [*((float(at), (YES, YES)) for at in range(100)), (100.0, (NO, NO))]
LIFE += [(float(at), (YES, YES)) for at in (101, 102, 103)]


def inputs(*servers: Any, now: float, up: Session = Session.UP) -> Inputs:
    """Give what a pass sees at ``now``."""
    neighbors = {peer: NeighborReport(up, 1.0) for peer in PEERS}
    lease = LeaseView(True, Report("i", 1, 1, 5.0, neighbors, ()), ())
    looks = {"main": snapshot(*servers, asked_at=now)}
    return Inputs(Evidence(looks), {f"{VIP}/32": VipState(True)}, lease)


def lived(its: Profile, life: list[tuple[float, Any]]) -> dict[str, Memory]:
    """Run passes, and give the memory at the end."""
    memory: dict[str, Memory] = {}
    for now, servers in life:
        memory = dict(advance(its, memory, inputs(*servers, now=now), now).memory)
    return memory


def explained(its: Profile, *servers: Any, now: float = 103.0) -> Explanation:
    """Explain what LIFE has come to."""
    return explain_service(its, "web", lived(its, LIFE), inputs(*servers, now=now), now)


def test_each_rule_has_its_condition_its_value_and_what_it_needs() -> None:
    """A reader sees which one is short of what."""
    found = explained(profile(), YES, NO, NO)
    assert [(rule.of, rule.truth, rule.value, rule.needed) for rule in found.rules] == [
        (("serve",), "true", "1 of 3 usable", "1"),
        (("serve",), "true", "OPEN", "OPEN"),
        (("healthy",), "false", "1 of 3 usable", "50 % (2 of 3)"),
    ]


def test_each_cap_says_who_sets_it_and_until_when() -> None:
    """The timers that run, lowest level first."""
    found = explained(profile(), YES, YES)
    assert (found.level, found.reason.name) == ("standby", "rising")
    assert [(cap.source, cap.kind, cap.level, cap.ends) for cap in found.caps] == [
        ("rise", "wait", "standby", 8.0),
        ("hold-down", "wait", "standby", 57.0),
        ("spacing", "wait", "standby", 34.0),
        ("health", "wait", "degraded", 8.0),
    ]
    assert (found.failures, found.hold_down) == (1, 60.0)


@pytest.mark.parametrize(
    ("servers", "levels"),
    [
        ((YES, YES), [(57.0, "preferred")]),
        ((YES, NO, NO), [(57.0, "degraded")]),
        ((NO, NO), []),
    ],
)
def test_what_comes_next_is_what_then_happens(
    servers: tuple[Any, ...], levels: list[tuple[float, str]]
) -> None:
    """The same core run forward: what it foretells is what passes of every second come to."""
    its = profile()
    found = explained(its, *servers)
    assert [(each.after, each.level) for each in found.next] == levels
    memory, now, seen = lived(its, LIFE), 103.0, []
    level = found.level
    while now < 300.0:
        step = advance(its, memory, inputs(*servers, now=now), now)
        memory = dict(step.memory)
        if step.decisions["web"].level.label != level:
            level = step.decisions["web"].level.label
            seen.append((now - 103.0, level))
        now += 0.5
    assert seen == levels


def test_nothing_is_foretold_of_a_person() -> None:
    """A manual return has no time; it says what to do."""
    its = profile(
        ("return: {rise: 10, hold_down: 60, hold_down_max: 900, spacing: 35}", "return: manual")
    )
    found = explained(its, YES, YES)
    assert found.next == ()
    manual = next(cap for cap in found.caps if cap.source == "manual")
    assert (manual.ends, manual.reason.remedy) == (None, "run `anycastd return`")


def test_a_person_reads_it_in_lines() -> None:
    """Every part has its place, and prepends that do not steer are said."""
    text = "\n".join(
        format_explanation("web", json.loads(json.dumps(explained(profile(), YES, YES).to_json())))
    )
    for part in (
        r"^web  203\.0\.113\.10/32  STANDBY for 1\.0 s$",
        r"^  path     65010( 65010){6} \(6 prepends\)$",
        r"^    serve true: backend web has at least 1 usable: 2 of 2 usable, needs 1$",
        r"^    standby +hold-down \(wait, 57 s more\): it failed recently: a hold-down",
        r"^    it failed once, last 3\.0 s ago: its hold-down is 1 min$",
        r"^    in 57 s  preferred: every rule is true$",
    ):
        assert re.search(part, text, re.MULTILINE), f"{part}\n{text}"
    unsteered = profile(("  local_as: 65010", "  prepends_steer: false\n  local_as: 65010"))
    lines = format_explanation("web", explained(unsteered, YES, YES).to_json())
    assert any("prepends do not steer here" in line for line in lines)


def test_the_longest_hold_down_is_foretold() -> None:
    """Looks are never too old when the core is run forward: only true timers cost a pass."""
    day = "hold_down: 86400, hold_down_max: 86400"
    its = profile(("hold_down: 60, hold_down_max: 900", day))
    assert [each.after for each in explained(its, YES, YES).next] == [86_397.0]


# The journal --------------------------------------------------------------------------------------


def change(at: float) -> Transition:
    """Give a change, decided 2 ms after its evidence."""
    old, new, why = Level.PREFERRED, Level.WITHDRAWN, Reason.TOO_FEW_SERVERS
    return Transition("web", old, new, why, "backend web", at - 0.002, at)


def test_each_change_is_told_once_with_what_each_stage_took() -> None:
    """Evidence, decided, sent, acknowledged."""
    told: list[Event] = []
    journal = History(lambda each: told.append(build_transition_event(profile(), each, 5.0)))
    journal.record_decided((change(10.0),), 5, 10.001)
    journal.record_acknowledged(4, 10.002)
    assert told == []
    assert journal.list_transitions("web")[0].acknowledged_at is None
    journal.record_acknowledged(5, 10.004)
    journal.record_acknowledged(6, 10.005)
    journal.close()
    stages = {"decided_ms": 2.0, "sent_ms": 1.0, "acknowledged_ms": 3.0}
    levels = {"from": "preferred", "to": "withdrawn", "detail": "backend web"}
    assert told == [
        Event(
            5.0,
            EventKind.TRANSITION,
            "web: preferred -> withdrawn: a backend has too few usable servers to serve (backend "
            "web)",
            service="web",
            reason="too_few_servers",
            fields={"vip": f"{VIP}/32", **levels, **stages},
        )
    ]


def test_a_change_that_nobody_confirms_is_told_all_the_same() -> None:
    """Not sent, or not acknowledged: that is said, and nothing is lost at the end."""
    told: list[Event] = []
    journal = History(lambda each: told.append(build_transition_event(profile(), each, 5.0)))
    journal.record_decided((change(10.0),), None, 10.0)
    journal.record_decided((change(11.0),), 6, 11.0)
    journal.record_decided((), 7, 11.0 + ACKNOWLEDGE_TIMEOUT)
    journal.record_decided((change(20.0),), 8, 20.0)
    journal.close()
    stages = [(each.fields["sent_ms"], each.fields["acknowledged_ms"]) for each in told]
    assert stages == [(None, None), (0.0, None), (0.0, None)]


# On real parts ------------------------------------------------------------------------------------

BACK = "return: {{rise: 0.5, hold_down: 1, hold_down_max: 2, spacing: 0.5}}"


def said(one: Appliance, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the agent of an appliance."""
    command = [
        sys.executable,
        "-m",
        "anycastd",
        *arguments,
        "--directory",
        one.directory_of("agent"),
    ]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False, env=one.environment
    )


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    """Give a running appliance whose service returns by hand."""
    assert BACK in PROFILE
    manual = PROFILE.replace(BACK, "return: {{manual: true, rise: 0.5, spacing: 0.5}}")
    with own_network(), Appliance(tmp_path, profile=manual) as one:
        one.start()
        yield one


@pytest.mark.root
def test_a_person_brings_a_service_back(appliance: Appliance) -> None:
    """It stays at standby until `anycastd return`; explain says so, and the log each step once."""
    early = said(appliance, "return", "web")
    assert (early.returncode, early.stderr) == (
        4,
        "anycastd: web does not wait for this: it is preferred: every rule is true\n",
    )
    for_all = said(appliance, "return")
    assert (for_all.returncode, for_all.stderr) == (
        4,
        "anycastd: no service waits for this: see `anycastd explain`\n",
    )
    unknown = said(appliance, "return", "api")
    assert (unknown.returncode, unknown.stderr) == (
        2,
        "anycastd: there is no service api; the profile has: web\n",
    )
    for backend in appliance.backends:
        backend.stop()
    appliance.wait_path(0)
    gone = said(appliance, "return", "web")
    assert gone.returncode == 4
    assert "web does not wait for this: it is withdrawn: a backend has too few " in gone.stderr
    for backend in appliance.backends:
        backend.start()
    appliance.wait_path(7)

    def why() -> Any:
        return json.loads(said(appliance, "explain", "web", "--json").stdout)["services"]["web"]

    until(lambda: [cap["source"] for cap in why()["caps"]] == ["manual"], 10, 0.1)
    found = why()
    assert found["next"] == []
    newest = found["changes"][0]
    assert (newest["old"], newest["new"]) == ("withdrawn", "standby")
    assert newest["acknowledged"] > 0
    assert "run `anycastd return`" in said(appliance, "explain").stdout
    assert said(appliance, "return").stdout.startswith("web may return")
    appliance.wait_path(1)
    changes = {"preferred -> withdrawn": 1, "withdrawn -> standby": 2, "standby -> preferred": 2}

    def logged() -> dict[str, int]:
        log = (appliance.directory / "agent.err").read_text(encoding="utf-8")
        return {change: log.count(f"web: {change}") for change in changes}

    # The peers may have the route before the log has its line.
    until(lambda: logged()["standby -> preferred"] == 2, 10)
    assert logged() == changes, appliance.log()


@pytest.mark.root
def test_explain_says_who_is_not_there(tmp_path: Path) -> None:
    """No agent, no explanation: what is wrong and what to do."""
    done = subprocess.run(
        [sys.executable, "-m", "anycastd", "explain", "--directory", str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 69
    assert "no agent answers there" in done.stderr
