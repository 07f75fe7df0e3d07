"""Checks in a recording: they come out as they went in, and a calm hour stays short."""

from __future__ import annotations

from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, VipState, advance
from anycastd.evidence.checks.observation import CheckObservation, CheckResult, add_result
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import Report
from anycastd.profile.checks import Check
from anycastd.recording.reader import RecordingReader
from anycastd.recording.writer import RecordedPass, RecordingWriter
from support.profiles import profile, profile_text

CHANGES = (
    ("haproxy:\n  main: {socket: /run/haproxy/anycastd.sock, ring: anycastd}\n", ""),
    ("serve: {all: [{backend: web, usable: 1}, {frontend: web}]}", "serve: {check: app}"),
    ("healthy: {backend: web, usable: 50%}", "healthy: {check: busy}"),
    (
        "services:\n",
        "checks: {app: {tcp: 'a:1'}, busy: {load: {load_average: [1, 2]}}}\nservices:\n",
    ),
)


class Recorder:
    """Passes over one check, as an agent records them."""

    def __init__(self) -> None:
        self.profile = profile(*CHANGES)
        self.check: Check = self.profile.checks["busy"]
        self.writer = RecordingWriter(self.profile, profile_text(*CHANGES), "0.1.0")
        self.seen: CheckObservation | None = None
        self.given: list[CheckObservation] = []
        self.lines: list[str] = []
        self.memory: dict[str, Memory] = {}

    def add(self, at: float, result: CheckResult) -> None:
        """Add the result of a run, and run a pass."""
        self.seen = add_result(self.check, self.seen, result)
        self.given.append(self.seen)
        lease = LeaseView(True, Report("i", 7, 7, 4.0, {}), ())
        vips = {"203.0.113.10/32": VipState(usable=True)}
        inputs = Inputs(Evidence(checks={"busy": self.seen}), vips, lease)
        result_of_pass = advance(self.profile, self.memory, inputs, at)
        self.lines += self.writer.add(
            RecordedPass(at, at + 1e9, self.memory, inputs, result_of_pass)
        )
        self.memory = dict(result_of_pass.memory)

    def read(self) -> RecordingReader:
        """End the recording, and read it."""
        text = "".join([*self.lines, *self.writer.end("the test ends", 2e9)])
        return RecordingReader(text.encode().splitlines(keepends=True))


def test_checks_come_out_as_they_went_in() -> None:
    """Each field: steps, blindness, rows of results that do not count yet."""
    recorder = Recorder()
    for second, step in enumerate((0, 0, 1, 1, 2, 2, 2, 0, 0, 0)):
        recorder.add(second + 0.5, CheckResult(float(second), step < 2, f"x{step}", True, step))
    recorder.add(11.0, CheckResult(10.5, None, "blind"))
    found = [step.inputs.evidence.checks["busy"] for step in recorder.read().iter_steps()]
    assert found[-1] == recorder.given[-1]
    assert found[-1].unseen == "blind"
    assert {each.step for each in found} >= {0, 1, 2}
    assert all(each in recorder.given for each in found)


def test_a_calm_hour_of_a_check_is_short() -> None:
    """Its time and its words change with each run, and that is no news."""
    recorder = Recorder()
    for second in range(200):
        recorder.add(second + 0.5, CheckResult(float(second), True, f"{second}", True, 0))
    before = len(recorder.lines)
    for second in range(200, 3800):
        recorder.add(second + 0.5, CheckResult(float(second), True, f"{second}", True, 0))
    assert len(recorder.lines) - before <= 65
