"""What is written of the passes of an agent: changes, and one line a minute while all is well."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, VipState, advance
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Snapshot
from anycastd.evidence.sources import Evidence
from anycastd.evidence.vip.selftest import Outcome, Probe
from anycastd.profile.model import Profile
from anycastd.recording.courses import compare_courses
from anycastd.recording.reader import RecordingReader
from anycastd.recording.writer import RecordedPass, RecordingWriter, dump_lines
from support.policy_driver import view
from support.profiles import TEXT, profile, profile_text
from support.snapshots import NO, YES, snapshot

VIP = "203.0.113.10/32"
LIMITED = ("healthy: {backend: web, usable: 50%}", "healthy: {frontend: web, sessions_below: 1000}")


def look(at: float, *servers: Usable, sessions: int = 0) -> Snapshot:
    """Build a look as HAProxy answers it: the worker's start is known to a second only."""
    found = snapshot(*servers, asked_at=at)
    uptime = float(int(at))
    worker = replace(found.worker, uptime=uptime, began_at=at - uptime)
    web = replace(found.frontends["web"], sessions=sessions, asked_at=at)
    return replace(found, worker=worker, frontends={"web": web})


class Agent:
    """Runs passes as the decision loop does, and keeps the lines of their recording."""

    def __init__(self, its: Profile, text: str = TEXT, *, test: bool = False) -> None:
        self.profile = its
        self.writer = RecordingWriter(its, text, "0.1.0")
        self.lines: list[str] = []
        self.memory: dict[str, Memory] = {}
        self.lease: LeaseView = view()
        self.test = test
        self.passes = 0

    def run_pass(self, at: float, *servers: Usable, sessions: int = 0) -> None:
        """Run one pass on a look of 10 ms ago."""
        self.passes += 1
        report = self.lease.report
        if report is not None:  # as in each report: the serial, the ages
            self.lease = replace(self.lease, report=replace(report, serial=self.passes))
        probes = {}
        if self.test:
            probes["web"] = Probe(at, Outcome.PASSED, "connected", 1.0, self.passes, 0)
        looks = {"main": look(at - 0.01, *servers, sessions=sessions)}
        inputs = Inputs(Evidence(looks, probes), {VIP: VipState(usable=True)}, self.lease)
        result = advance(self.profile, self.memory, inputs, at)
        self.lines += self.writer.add(RecordedPass(at, at + 1e9, self.memory, inputs, result))
        self.memory = dict(result.memory)

    def read(self) -> RecordingReader:
        """End the recording, and read it."""
        data = dump_lines([*self.lines, *self.writer.end("the test ends", 2e9)])
        return RecordingReader(data.splitlines(keepends=True))


def run_seconds(agent: Agent, began_at: int, ended_at: int, *servers: Usable) -> None:
    """Run a pass each second, with another number of sessions each time."""
    for at in range(began_at, ended_at):
        agent.run_pass(float(at) + at % 7 / 100, *servers, sessions=at % 13)


def test_a_healthy_hour_has_a_line_a_minute() -> None:
    """Looks, self-tests, reports of the lease and loads go on, and none of them is a change."""
    agent = Agent(profile(), test=True)
    run_seconds(agent, 100, 200, YES, YES)
    before = len(agent.lines)
    run_seconds(agent, 200, 3800, YES, YES)
    assert 55 <= len(agent.lines) - before <= 65
    steps = list(agent.read().iter_steps())
    assert sum(step.steady or 1 for step in steps) == agent.passes


def test_a_change_is_written_with_the_pass_before_it() -> None:
    """The state before a change is known exactly, and so is that of the change."""
    agent = Agent(profile())
    run_seconds(agent, 100, 250, YES, YES)
    before = len(agent.lines)
    agent.run_pass(250.5, NO, NO)
    assert len(agent.lines) - before == 2
    last, change = (json.loads(line) for line in agent.lines[-2:])
    assert last["at"] == 249.0 + 249 % 7 / 100
    assert change["transitions"][0][:4] == ["web", "PREFERRED", "WITHDRAWN", "TOO_FEW_SERVERS"]
    servers = change["inputs"]["haproxy"]["main"]["backends"]["web"]["servers"]
    assert set(servers) == {"0", "1"}


def test_one_server_of_many_is_one_entry() -> None:
    """A patch names the server that changed, and no other."""
    agent = Agent(profile())
    run_seconds(agent, 100, 103, *(YES for _ in range(500)))
    agent.run_pass(103.5, *(YES for _ in range(499)), NO)
    change = json.loads(agent.lines[-1])
    assert list(change["inputs"]["haproxy"]["main"]["backends"]["web"]["servers"]) == ["499"]
    assert len(agent.lines[-1]) < 1000


def test_a_load_that_a_rule_limits_is_a_change() -> None:
    """So that another threshold can be tried."""
    agent = Agent(profile(LIMITED), profile_text(LIMITED))
    run_seconds(agent, 100, 200, YES, YES)
    before = len(agent.lines)
    run_seconds(agent, 200, 300, YES, YES)
    assert len(agent.lines) - before == 100


def _iter_week(agent: Agent) -> Iterator[int]:
    for day in range(7):
        began_at = 1000 + day * 86400
        run_seconds(agent, began_at, began_at + 600, YES, YES)
        run_seconds(agent, began_at + 600, began_at + 630, NO, NO)
        run_seconds(agent, began_at + 630, began_at + 1000, YES, YES)
        yield began_at


def test_a_quiet_week_is_cheap() -> None:
    """Seven failures, and a line for each minute: the processor time is that of the lines."""
    agent = Agent(profile())
    for began_at in _iter_week(agent):
        # What a quiet day leaves of itself: one steady pass a minute.
        for at in range(began_at + 1000, began_at + 86400, 61):
            agent.run_pass(float(at), YES, YES)
    assert 9_000 < len(agent.lines) < 12_000
    began = time.process_time()
    found = compare_courses(agent.read(), agent.profile, None)
    took = time.process_time() - began
    assert found.first_difference is None
    assert len(found.recorded.changes) >= 7 * 3
    assert took < 30, f"a week took {took:.1f} s of processor time"
