"""What results in a row, silence and blindness of a check make of a rule, and of a service."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycastd.bgp.session import Session
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, PassResult, VipState, advance
from anycastd.evidence.checks.evaluate import evaluate_check, find_step
from anycastd.evidence.checks.observation import CheckObservation, CheckResult, add_result
from anycastd.evidence.finding import Finding, RuleRef, Truth
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.checks import Check, LoadCheck, Target, TcpCheck
from anycastd.profile.model import Profile
from anycastd.reasons import Reason
from support.profiles import profile

REF = RuleRef("web", ("serve",), "", "check app passes")
TCP = TcpCheck(Target("10.0.3.10", 80))


def check(rise: int = 2, fall: int = 3) -> Check:
    """Give a check with a run each second, and a deadline of 10 s."""
    return Check("app", TCP, 1.0, 1.0, rise, fall, 10.0)


def observe(results: str, its: Check) -> CheckObservation:
    """Add results, one each second from 0 s on: ``+`` passed, ``-`` failed, ``?`` could not see."""
    meaning = {"+": True, "-": False, "?": None}
    seen: CheckObservation | None = None
    for second, letter in enumerate(results):
        passed = meaning[letter]
        result = CheckResult(float(second), passed, "blind" if passed is None else f"r{second}")
        seen = add_result(its, seen, result)
    assert seen is not None
    return seen


@pytest.mark.parametrize(
    ("results", "truth", "value"),
    [
        ("+", Truth.UNKNOWN, "r0 (passed 1 of 2 times)"),
        ("++", Truth.TRUE, "r1"),
        ("-", Truth.UNKNOWN, "r0 (failed 1 of 3 times)"),
        ("--", Truth.UNKNOWN, "r1 (failed 2 of 3 times)"),
        ("---", Truth.FALSE, "r2"),
        ("+-+-+-", Truth.UNKNOWN, "r5 (failed 1 of 3 times)"),
        ("++--", Truth.TRUE, "r3 (failed 2 of 3 times)"),
        ("++---", Truth.FALSE, "r4"),
        ("++--+--", Truth.TRUE, "r6 (failed 2 of 3 times)"),
        ("---+", Truth.FALSE, "r3 (passed 1 of 2 times)"),
        ("---+-+-+", Truth.FALSE, "r7 (passed 1 of 2 times)"),
        ("---++", Truth.TRUE, "r4"),
        ("++" + 8 * "?" + "-", Truth.TRUE, "r10 (failed 1 of 3 times)"),
        ("++" + 9 * "?" + "-", Truth.UNKNOWN, "r11 (failed 1 of 3 times)"),
        ("++" + 9 * "?" + "+", Truth.UNKNOWN, "r11 (passed 1 of 2 times)"),
        ("++" + 9 * "?" + "++", Truth.TRUE, "r12"),
        ("?", Truth.UNKNOWN, "blind"),
        ("++?", Truth.UNKNOWN, "blind"),
        ("++?+", Truth.TRUE, "r3"),
        ("++-?-?-", Truth.FALSE, "r6"),
        ("---?+", Truth.FALSE, "r4 (passed 1 of 2 times)"),
    ],
)
def test_results_in_a_row_decide(results: str, truth: Truth, value: str) -> None:
    """`rise` and `fall` of them; what could not see counts for neither, and breaks no row."""
    its = check()
    found = evaluate_check(REF, its, observe(results, its), float(len(results)))
    assert (found.truth, found.value) == (truth, value)


def evaluate(results: str, now: float) -> Finding:
    """Evaluate a check with these results at ``now``."""
    return evaluate_check(REF, check(), observe(results, check()), now)


def test_silence_is_false_after_the_deadline() -> None:
    """Until then the last result counts, and the finding says when that ends."""
    assert evaluate("++", 10.9).truth is Truth.TRUE
    assert evaluate("++", 10.9).changes_at == 11.0
    found = evaluate("++", 11.0)
    assert (found.truth, found.reason, found.alive) == (Truth.FALSE, Reason.CHECK_STALE, False)
    assert found.value == "no result for 10.0 s"


def test_what_cannot_see_is_unknown_and_then_false() -> None:
    """From the newest result that saw something; blind runs do not make it younger."""
    found = evaluate("++????", 6.0)
    assert (found.truth, found.reason) == (Truth.UNKNOWN, Reason.CHECK_UNSEEN)
    assert (found.changes_at, found.believe_for, found.believe_then) == (11.0, 10.0, Truth.FALSE)
    found = evaluate("++" + "?" * 9, 11.0)
    assert (found.truth, found.reason) == (Truth.FALSE, Reason.CHECK_UNSEEN)
    assert found.value == "blind, no result for 10.0 s"
    assert evaluate("?" * 12, 12.0).truth is Truth.FALSE
    assert evaluate_check(REF, check(), None, 3.0).reason is Reason.NOT_CHECKED


LOAD = replace(check(rise=3, fall=2), asks=LoadCheck(load_average=(1.0, 2.0)))


@pytest.mark.parametrize(
    ("steps", "counted"),
    [
        ([0], 0),
        ([2], 2),
        ([0, 1], 0),
        ([0, 1, 1], 1),
        ([0, 1, 2], 2),
        ([0, 1, 0, 1, 0, 1], 0),
        ([2, 0, 0], 2),
        ([2, 0, 1, 0], 0),
        ([2, 1, 1, 1], 1),
    ],
)
def test_steps_of_a_load_count_in_a_row_too(steps: list[int], counted: int) -> None:
    """`fall` measures that are worse, `rise` that are better; the first measure counts at once."""
    seen: CheckObservation | None = None
    for second, step in enumerate(steps):
        seen = add_result(LOAD, seen, CheckResult(float(second), step < 2, "x", True, step))
    assert seen is not None
    assert (seen.step, seen.passed) == (counted, counted < 2)
    assert find_step(LOAD, seen, len(steps) + 8.9) == counted
    late = add_result(LOAD, seen, CheckResult(len(steps) + 8.9, True, "x", True, 1), len(steps) + 9)
    assert (late.step, late.passed) == (1, True), "it was not known any more"
    assert find_step(LOAD, seen, len(steps) + 9.0) is None


# A service that rests on a check alone -----------------------------------------------------------

NO_HAPROXY = (
    ("haproxy:\n  main: {socket: /run/haproxy/anycastd.sock, ring: anycastd}\n", ""),
    (
        "serve: {all: [{backend: web, usable: 1}, {frontend: web}]}",
        "serve: {check: app}",
    ),
    ("    healthy: {backend: web, usable: 50%}\n", ""),
    ("    degraded: {prepend: 3, fall: 5}\n", ""),
    (
        "services:\n",
        "checks: {app: {tcp: '10.0.3.10:80', rise: 2, fall: 2, deadline: 10}}\nservices:\n",
    ),
)


PEERS = {each: NeighborReport(Session.UP, 12.0) for each in ("192.0.2.4", "192.0.2.5")}


class Driver:
    """Passes over a profile without HAProxy, at times that the test gives."""

    def __init__(self) -> None:
        self.profile: Profile = profile(*NO_HAPROXY)
        self.memory: dict[str, Memory] = {}
        self.seen: CheckObservation | None = None

    def add(self, passed: bool | None, at: float) -> PassResult:
        """Add a result, and run a pass."""
        result = CheckResult(at, passed, "x")
        self.seen = add_result(self.profile.checks["app"], self.seen, result)
        return self.run(at)

    def add_passes(self, number: int) -> PassResult:
        """Add a result that passed in each second from 0 s on."""
        for second in range(number - 1):
            self.add(True, float(second))
        return self.add(True, number - 1.0)

    def run(self, at: float) -> PassResult:
        """Run a pass."""
        evidence = Evidence(checks={"app": self.seen} if self.seen else {})
        lease = LeaseView(True, Report("i", 7, 7, 4.0, PEERS), ())
        inputs = Inputs(evidence, {"203.0.113.10/32": VipState(True)}, lease)
        result = advance(self.profile, self.memory, inputs, at)
        self.memory = dict(result.memory)
        return result


def level(result: PassResult) -> Level:
    """Give the level of the service."""
    return result.decisions["web"].level


def test_nothing_is_announced_before_a_proof() -> None:
    """Not before the first run, not by one result of two, not by a run that cannot see."""
    driver = Driver()
    assert driver.run(0.0).wanted == ()
    assert driver.add(True, 1.0).wanted == ()
    assert driver.add(None, 2.0).wanted == ()
    for second in range(3, 60):
        assert level(driver.add(None, float(second))) is Level.WITHDRAWN
    driver.add(True, 60.0)
    assert level(driver.run(60.5)) is Level.WITHDRAWN, "one of two: the other is too old"
    driver.add(True, 61.0)
    assert level(driver.run(62.5)) is Level.STANDBY


def test_a_service_without_haproxy_serves_and_is_withdrawn() -> None:
    """By its check alone: `fall` results withdraw, and so does blindness after the deadline."""
    for last in (False, None):
        driver = Driver()
        result = driver.add_passes(100)
        assert level(result) is Level.PREFERRED
        assert result.wake_at is not None
        assert level(driver.add(last, 100.0)) is Level.PREFERRED
        if last is None:
            for second in range(101, 109):
                assert level(driver.add(last, float(second))) is Level.PREFERRED
            gone = driver.add(last, 109.0)
        else:
            gone = driver.add(last, 101.0)
        assert level(gone) is Level.WITHDRAWN
        assert gone.wanted == ()


def test_silence_of_the_source_itself_withdraws() -> None:
    """A runner that hangs stores nothing any more; a pass at ``wake_at`` finds that."""
    driver = Driver()
    result = driver.add_passes(100)
    assert result.wake_at == 109.0
    assert level(driver.run(108.9)) is Level.PREFERRED
    assert level(driver.run(109.0)) is Level.WITHDRAWN


def test_evidence_of_before_a_freeze_promotes_nothing() -> None:
    """As for HAProxy: a new run has to come first."""
    driver = Driver()
    driver.add(True, 0.0)
    driver.add(True, 1.0)
    evidence = Evidence(checks={"app": driver.seen} if driver.seen else {})
    lease = LeaseView(True, Report("i", 7, 7, 4.0, PEERS), ())
    inputs = Inputs(evidence, {"203.0.113.10/32": VipState(True)}, lease, frozen_until=2.0)
    assert level(advance(driver.profile, driver.memory, inputs, 5.0)) is Level.WITHDRAWN
