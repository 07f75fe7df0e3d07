"""What a request to the VIP proves, from the profile to the verdict."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycastd.bgp.session import Session
from anycastd.decision.caps import Context
from anycastd.decision.forecast import forecast_levels
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, advance
from anycastd.decision.policy import Decision, decide_level
from anycastd.decision.verdict import Verdict, judge_service
from anycastd.evidence.finding import RuleRef, Truth
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Observation
from anycastd.evidence.sources import Evidence
from anycastd.evidence.vip.selftest import (
    AnswersRule,
    ListensRule,
    Outcome,
    Probe,
    build_probe,
    build_request,
    compute_max_age,
    evaluate_answers,
    evaluate_listens,
    parse_response,
)
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import SelfTest
from anycastd.reasons import Reason
from anycastd.views.severity import compute_severity
from anycastd.views.status import AgentFacts, build_status
from support.broken_profiles import list_azure_problems
from support.profiles import assert_schema_agrees, profile
from support.snapshots import NO, UNPROVED, YES, snapshot

PASSED, REFUSED, FAILED, SLOW, LIMITED, NOT_ATTEMPTED = Outcome
TRUE, UNKNOWN, FALSE = Truth.TRUE, Truth.UNKNOWN, Truth.FALSE
ADDED = ("    failed: withdraw\n", "    failed: withdraw\n    self_test: {http: 80}\n")
WITHOUT_HEALTHY = ("    healthy: {backend: web, usable: 50%}\n", "")
ITS = profile(ADDED)
TEST = ITS.services["web"].self_test
assert TEST is not None
LIFETIME = compute_max_age(TEST)


def results(*outcomes: Outcome, asked_at: float = 0.0, every: float = 0.0) -> Probe | None:
    """Give the newest of these results, ``every`` seconds apart, the last one at ``asked``."""
    probe = None
    for number, outcome in enumerate(outcomes, 1):
        probe = build_probe(
            probe, asked_at - every * (len(outcomes) - number), outcome, outcome.value
        )
    return probe


def evidence(looks: Mapping[str, Observation], probe: Probe | None) -> Evidence:
    """Give the looks and the newest self-test of service `web`, if any."""
    return Evidence(looks, {} if probe is None else {"web": probe})


def verdict(probe: Probe | None, *servers: Usable, now: float = 0.0) -> Verdict:
    """Judge the service by these servers, two usable ones by default, and a self-test."""
    look = snapshot(*(servers or (YES, YES)), asked_at=now)
    return judge_service(ITS, ITS.services["web"], evidence({"main": look}, probe), now)


@pytest.mark.parametrize(
    ("outcomes", "serve", "healthy", "reason"),
    [
        ((), UNKNOWN, UNKNOWN, Reason.NOT_TESTED),
        ((PASSED,), TRUE, TRUE, Reason.SERVING),
        ((REFUSED,), UNKNOWN, UNKNOWN, Reason.VIP_REFUSES),
        ((REFUSED, REFUSED), FALSE, FALSE, Reason.VIP_REFUSES),
        ((REFUSED, PASSED, REFUSED), UNKNOWN, UNKNOWN, Reason.VIP_REFUSES),
        ((SLOW, REFUSED), UNKNOWN, UNKNOWN, Reason.VIP_REFUSES),
        ((NOT_ATTEMPTED, REFUSED), UNKNOWN, UNKNOWN, Reason.VIP_REFUSES),
        ((SLOW,), TRUE, UNKNOWN, Reason.VIP_SLOW),
        ((SLOW, SLOW), TRUE, FALSE, Reason.VIP_SLOW),
        ((SLOW, FAILED), TRUE, FALSE, Reason.VIP_FAILS),
        ((FAILED, PASSED, FAILED), TRUE, UNKNOWN, Reason.VIP_FAILS),
        ((REFUSED, REFUSED, SLOW), TRUE, FALSE, Reason.VIP_SLOW),
        ((NOT_ATTEMPTED, NOT_ATTEMPTED, NOT_ATTEMPTED), UNKNOWN, UNKNOWN, Reason.TEST_UNASKED),
        ((NOT_ATTEMPTED, SLOW), TRUE, UNKNOWN, Reason.VIP_SLOW),
        ((REFUSED, REFUSED, PASSED), TRUE, TRUE, Reason.SERVING),
    ],
)
def test_only_a_confirmed_refusal_says_that_nobody_serves(
    outcomes: tuple[Outcome, ...], serve: Truth, healthy: Truth, reason: Reason
) -> None:
    """Slow, full and failing are below `healthy`; one result alone proves nothing bad."""
    found = verdict(results(*outcomes))
    assert (found.serve.truth, found.healthy.truth) == (serve, healthy)
    assert found.healthy.reason is reason
    if serve is FALSE:
        assert found.serve.rule.text == "VIP listens on http/80/"
        assert found.serve.value == "refused, 2 times in a row"


@given(st.lists(st.sampled_from([PASSED, FAILED, SLOW, NOT_ATTEMPTED])))
def test_overload_never_withdraws(outcomes: list[Outcome]) -> None:
    """Whatever comes but refusals, in whatever order: never 'does not serve'."""
    assert verdict(results(*outcomes)).serve.truth is not FALSE


@given(st.lists(st.sampled_from(list(Outcome))))
def test_counts_are_of_results_in_a_row(outcomes: list[Outcome]) -> None:
    """``count`` is of equal results at the end, ``missed`` of those since the last pass."""
    probe = results(*outcomes, every=1.0)
    if probe is None:
        return
    row = 0
    for outcome in reversed(outcomes):
        if outcome is not probe.outcome:
            break
        row += 1
    last_pass = max((i for i, outcome in enumerate(outcomes) if outcome is PASSED), default=-1)
    since = outcomes[last_pass + 1 :]
    assert (probe.count, probe.began_at) == (row, 1.0 - row)
    assert probe.missed == sum(outcome not in (NOT_ATTEMPTED, LIMITED) for outcome in since)


def test_haproxys_evidence_still_counts() -> None:
    """A self-test that passes hides nothing; what HAProxy says comes first among the reasons."""
    found = verdict(results(PASSED), NO, NO)
    assert (found.serve.truth, found.serve.reason) == (FALSE, Reason.TOO_FEW_SERVERS)
    found = verdict(results(REFUSED, REFUSED), NO, NO)
    assert found.serve.reason is Reason.TOO_FEW_SERVERS


def test_an_old_result_proves_nothing() -> None:
    """Three times the longest time between two results is the end of its word."""
    probe = results(PASSED)
    assert verdict(probe, now=LIFETIME - 0.01).serve.truth is TRUE
    found = verdict(probe, now=LIFETIME)  # who wakes at `until` must see it
    assert (found.serve.truth, found.serve.reason) == (FALSE, Reason.TEST_STALE)
    assert verdict(probe, now=1.0).changes_at == min(LIFETIME, 1.0 + 3.0)


def test_an_odd_result_changes_nothing_where_haproxys_word_is_all_there_is() -> None:
    """Servers without checks stay unknown for ever; one refusal must not end their hold."""
    service = ITS.services["web"]
    around = Context(session_up=True, vip_present=True, leased_level=Level.PREFERRED)

    def at(now: float, memory: Memory, *outcomes: Outcome) -> tuple[Decision, Memory]:
        found = verdict(results(*outcomes, asked_at=now), UNPROVED, UNPROVED, now=now)
        return decide_level(service, found, around, memory, now)

    _, memory = at(0.0, Memory(), PASSED)
    decision, memory = at(100.0, memory, PASSED)
    assert decision.level is Level.PREFERRED
    decision, memory = at(101.0, memory, REFUSED)
    assert decision.level is Level.PREFERRED
    decision, memory = at(101.5, memory, NOT_ATTEMPTED)
    assert decision.level is Level.PREFERRED
    decision, _ = at(102.0, memory, REFUSED, REFUSED)
    assert decision.level is Level.WITHDRAWN


def test_nobody_listening_is_no_503_page() -> None:
    """`failed: standby` is for a HAProxy that answers users; one that refuses them is withdrawn."""
    its = profile(ADDED, ("failed: withdraw", "failed: standby"))
    service = its.services["web"]
    around = Context(session_up=True, vip_present=True, leased_level=Level.PREFERRED)
    look = {"main": snapshot(YES, YES, asked_at=0.0)}
    found = judge_service(its, service, evidence(look, results(REFUSED, REFUSED)), 0.0)
    decision, _ = decide_level(service, found, around, Memory(), 0.0)
    assert decision.level is Level.WITHDRAWN
    assert decision.cap.reason is Reason.VIP_REFUSES


def test_slow_degrades_after_fall_and_a_pass_ends_it() -> None:
    """`degraded.fall`, 5 s, is what a load peak has to last."""
    service = ITS.services["web"]
    around = Context(session_up=True, vip_present=True, leased_level=Level.PREFERRED)
    memory = Memory()
    levels = {}
    for second in range(-40, 8):
        outcomes = (SLOW, SLOW) if second >= 0 else (PASSED,)
        found = verdict(results(*outcomes, asked_at=float(second)), now=float(second))
        decision, memory = decide_level(service, found, around, memory, float(second))
        levels[second] = decision.level
    assert [levels[s] for s in (-1, 4, 5, 7)] == [Level.PREFERRED] * 2 + [Level.DEGRADED] * 2


# Pass, status, forecast --------------------------------------------------------------------------


def view() -> LeaseView:
    """Give a lease with both sessions up and nothing held."""
    neighbors = {peer: NeighborReport(Session.UP, 1.0) for peer in ("192.0.2.4", "192.0.2.5")}
    return LeaseView(True, Report("i", 1, 1, 5.0, neighbors, ()), ())


def test_a_pass_judges_each_service_by_its_own_self_test() -> None:
    """The inbox has one by the service's name; without a result nothing new is announced."""
    looks = {"main": snapshot(YES, YES, asked_at=5.0)}
    memory = {"web": Memory(adopted=True)}
    step = advance(ITS, memory, Inputs(Evidence(looks), {}, view()), 5.0)
    assert step.decisions["web"].cap.reason is Reason.NOT_TESTED
    refused = results(REFUSED, REFUSED, asked_at=5.0)
    assert refused is not None
    step = advance(ITS, memory, Inputs(Evidence(looks, {"web": refused}), {}, view()), 5.0)
    assert step.decisions["web"].cap.reason is Reason.VIP_REFUSES
    passed = results(PASSED, asked_at=5.0)
    assert passed is not None
    inputs = Inputs(Evidence(looks, {"web": passed}), {}, view())
    assert advance(ITS, memory, inputs, 5.0).decisions["web"].cap.reason is Reason.PROVING
    stages = forecast_levels(ITS, memory, inputs, 5.0, 3600.0)["web"]
    assert stages[-1].decision.level is Level.PREFERRED


def test_status_says_what_no_level_shows() -> None:
    """Without `healthy` slow answers change no level, so they are a problem of their own."""
    its = profile(ADDED, WITHOUT_HEALTHY)
    slow = results(SLOW, SLOW, asked_at=5.0)
    assert slow is not None
    inputs = Inputs(Evidence({"main": snapshot(YES, asked_at=5.0)}, {"web": slow}), {}, view())
    memory = {"web": Memory(adopted=True, level=Level.PREFERRED)}
    step = advance(its, memory, inputs, 5.0)
    assert step.decisions["web"].level is Level.PREFERRED
    status = build_status(its, inputs, step, 5.0, AgentFacts(1, "0")).to_json()
    assert any("not answered in time" in problem for problem in status["problems"])
    assert compute_severity(status) == 1
    rules = {rule["rule"]: rule["truth"] for rule in status["services"]["web"]["rules"]}
    assert rules["VIP listens on http/80/"] == "true"
    assert rules["VIP answers on http/80/"] == "false"


# HTTP --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n", PASSED),
        (b"HTTP/1.0 204\r\n", PASSED),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n", PASSED),
        (b"HTTP/1.1 404 Not Found\r\n", FAILED),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n<html>", FAILED),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n", PASSED),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n", None),
        (b"HTTP/1.1 200 OK", None),
        (b"", None),
        (b"SSH-2.0-OpenSSH\r\n", FAILED),
        (b"HTTP/1.1 200OK\n", FAILED),
        (b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK\r\n", FAILED),
    ],
)
def test_the_status_of_an_answer_decides(answer: bytes, expected: Outcome | None) -> None:
    """2xx and 3xx pass, as HAProxy's own checks have it; half a line is none."""
    found = parse_response(answer)
    assert (found[0] if found else None) is expected


@given(st.binary())
def test_any_answer_is_read(answer: bytes) -> None:
    """Whatever listens on the VIP cannot bring the agent down."""
    parse_response(answer)
    parse_response(b"HTTP/1.1 " + answer)


def test_the_request_is_one_request() -> None:
    """It names the host, asks for the end of the connection, and brackets IPv6 (RFC 9112)."""
    test = SelfTest(None, 80, "/health?deep=1", None, 0.1, 1.0)
    assert build_request(test, "203.0.113.10").splitlines()[:2] == [
        b"GET /health?deep=1 HTTP/1.1",
        b"Host: 203.0.113.10",
    ]
    assert b"Host: [2001:db8::1]\r\n" in build_request(test, "2001:db8::1")
    assert b"Connection: close\r\n\r\n" in build_request(test, "203.0.113.10")


# The profile -------------------------------------------------------------------------------------


def test_a_self_test_is_read() -> None:
    """What is written is what is read; the rest is as the schema says."""
    assert SelfTest(None, 80, "/", None, 0.1, 1) == TEST
    text = "{tcp: 443, every: 0.5, timeout: 2}"
    its = profile((ADDED[0], ADDED[1].replace("{http: 80}", text)))
    assert its.services["web"].self_test == SelfTest(443, None, "/", None, 0.5, 2)
    text = "{http: 8080, path: /up, host: www.example.com}"
    its = profile((ADDED[0], ADDED[1].replace("{http: 80}", text)))
    found = its.services["web"].self_test
    assert found == SelfTest(None, 8080, "/up", "www.example.com", 0.1, 1)
    assert found.port == 8080
    assert profile().services["web"].self_test is None


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{}", "self_test: has neither tcp nor http; write {http: PORT} or {tcp: PORT}"),
        (
            "{tcp: 80, http: 80}",
            "self_test: has both tcp and http; write {http: PORT} or {tcp: PORT}",
        ),
        (
            "{tcp: 80, path: /up}",
            (
                "self_test.path: applies to http, not to tcp; write http: instead of tcp:, "
                "or remove it"
            ),
        ),
        (
            "{http: 80, path: up}",
            "self_test.path: up cannot be used here; write a path such as /health, without spaces",
        ),
        (
            '{http: 80, path: "/ HTTP/1.1\\r\\nX: y"}',
            (
                "self_test.path: '/ HTTP/1.1\\r\\nX: y' cannot be used here; "
                "write a path such as /health, without spaces"
            ),
        ),
        (
            "{http: 80, host: a b}",
            (
                "self_test.host: 'a b' cannot be used here; "
                "write a host's name such as www.example.com"
            ),
        ),
        (
            "{http: 80, every: 0.01}",
            "self_test.every: 0.01 is less than 0.05 seconds; write a number from 0.05 to 60",
        ),
    ],
)
def test_bad_self_tests_are_refused_in_words(written: str, problem: str) -> None:
    """Exactly one kind, and nothing that could smuggle a second request in."""
    found = list_azure_problems([("failed:", f"self_test: {written}\n    failed:")])
    assert [line.partition("services.web.")[2] for line in found] == [problem]


def test_schema_and_dataclass_agree() -> None:
    """Each key has its field and each field its key."""
    assert_schema_agrees(SelfTest, "self_test:", {}, set())


def find(column: str, *outcomes: Outcome) -> tuple[Truth, Reason]:
    """Evaluate `listens` or `answers` on the newest of these results."""
    ref = RuleRef("web", (f"self_test.{column}",), "", "")
    assert TEST is not None
    probe = results(*outcomes)
    if column == "listens":
        found = evaluate_listens(ref, ListensRule(TEST), probe, 0.0)
    else:
        found = evaluate_answers(ref, AnswersRule(TEST), probe, 0.0)
    return found.truth, found.reason


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_rate_limit_is_no_failure(count: int) -> None:
    """A 429 proves that somebody listens; whether the VIP answers well stays as it was known."""
    # FC-LIMITER
    assert find("listens", *[LIMITED] * count) == (TRUE, Reason.SERVING)
    assert find("answers", *[LIMITED] * count) == (UNKNOWN, Reason.TEST_LIMITED)
    assert find("answers", *[SLOW, LIMITED] * count, SLOW)[0] is FALSE, "it hides no slow answer"


@pytest.mark.parametrize(
    ("outcomes", "truth"),
    [
        ([PASSED, FAILED] * 10 + [PASSED], FALSE),
        ([PASSED, PASSED, FAILED] * 7 + [PASSED], FALSE),
        ([PASSED, SLOW, LIMITED] * 7 + [PASSED], FALSE),
        ([FAILED] * 15 + [PASSED], TRUE),
        ([PASSED] * 9 + [FAILED] * 10 + [PASSED], TRUE),
        ([PASSED, FAILED] * 3 + [PASSED], TRUE),
        ([PASSED, FAILED] * 10 + [PASSED] * 20, TRUE),
        ([PASSED, NOT_ATTEMPTED] * 10 + [PASSED], TRUE),
    ],
)
def test_failures_between_passes_count(outcomes: list[Outcome], truth: Truth) -> None:
    """Failures that come again and again between passes are no good answers; one outage is."""
    # FC-STRANDED: two processes listen on the port, each gets a part of the requests
    assert find("answers", *outcomes)[0] is truth
    assert find("listens", *outcomes)[0] is TRUE
