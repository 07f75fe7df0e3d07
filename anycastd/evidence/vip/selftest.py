"""What a request to the VIP from this machine finds, and what it proves.

HAProxy's statistics may be fine while nothing listens on the VIP; only a request to the VIP finds
that.  But a request also measures load, and overload must never withdraw the VIP in every region.
So each result belongs to one class, and only one class can withdraw::

    what happens to the request                 class          it proves
    connected (`tcp`), or the answer's status   PASSED         the VIP is served
    is 2xx or 3xx (`http`)
    the connection is refused                   REFUSED        nothing listens: it is not served
    reset or closed without an answer, no       FAILED         something listens: degraded at most
    HTTP, any other status
    no answer before `timeout`                  SLOW           likewise: full, queueing, or hung
    status 429 (too many requests)              LIMITED        somebody listens and answers, but the
                                                               test is refused: unknown
    it could not be sent (no address, no port,  NOT_ATTEMPTED  nothing: unknown
    no descriptor, a firewall's refusal)

* A single bad result proves nothing: a class counts when a second request in a row agrees.
* **A 503 never withdraws.**  It is the same for a full queue and for servers that are all dead,
  and HAProxy's counters do not tell the two apart in time either: `econ` of a backend counts
  timeouts in its queue too, and that of a server grows only after the last retry (3 s by default).
  So HAProxy's checks decide; with `observe layer4` the requests are the traffic that it observes
  (docs/self-test.md has the lines and the figures).
* **A 429 is no failure.**  A rate limit that takes the self-test for an abuser does so in every
  region, and proves only that HAProxy answers.  After it, and after slow answers (a limiter may
  drop requests without a word), the test asks no more than once a second for a while.
* **Mixed answers count.**  Where two processes listen on the VIP's port, each gets a part of the
  requests.  So failures that come again and again between passes are like failures in a row.
* A reset is not a refusal: firewalls, rate limits and full queues reset accepted connections.
  Without a listener the kernel refuses.

Requests have the VIP as their source address.  No other machine can do that, since the answers
never leave this machine.  So HAProxy can tell self-tests by their source, and where the VIP is not
on this machine, no other region can answer instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from anycastd.evidence.finding import BELIEVE_UNPROVED_FOR, Finding, RuleRef, Truth
from anycastd.profile.model import SelfTest
from anycastd.reasons import Reason

MIN_AGREEING = 2
"""Requests in a row that must agree before anything but a pass counts."""
RECENT = 20
"""Number of newest results in which failures between passes are counted."""
MAX_RELAPSES = 3
"""Number of times that a failure may follow a pass in them; more count as failures in a row."""
MAX_AGE_REQUESTS = 3
"""A result is too old after the time that this number of further requests may take."""


class Outcome(Enum):
    """The class of a result; the table at the top of this file says what each proves."""

    PASSED = "passed"
    REFUSED = "refused"
    FAILED = "failed"
    SLOW = "slow"
    LIMITED = "limited"
    NOT_ATTEMPTED = "unasked"


@dataclass(frozen=True, slots=True)
class Probe:
    """The newest result of a self-test.

    ``asked_at`` is when its request was sent (own time, seconds), ``detail`` is for people.
    ``count`` results in a row had this outcome, the first of them at ``began_at`` (own time).
    ``missed`` requests were sent and did not pass since the last one that passed.  ``failures`` has
    a bit for each of the newest results, the newest lowest: 1 where it did not pass.
    """

    asked_at: float
    outcome: Outcome
    detail: str
    began_at: float
    count: int
    missed: int
    failures: int = 0

    @property
    def relapses(self) -> int:
        """Return how often a failure followed a pass in the newest results."""
        return (self.failures & ~(self.failures >> 1)).bit_count()

    @property
    def mixed(self) -> bool:
        """Return whether failures come again and again between passes."""
        return self.relapses > MAX_RELAPSES

    @property
    def confirmed(self) -> bool:
        """Return whether it counts: PASSED at once, anything else when the next request agrees."""
        if self.outcome is Outcome.PASSED:
            return True
        agreeing = self.count if self.outcome is Outcome.REFUSED else self.missed
        return agreeing >= MIN_AGREEING

    @property
    def decision_key(self) -> tuple[Outcome, bool, bool]:
        """Return what a verdict depends on, besides the time: outcome, if it counts, if mixed."""
        return self.outcome, self.confirmed, self.mixed


def build_probe(last: Probe | None, asked_at: float, outcome: Outcome, detail: str) -> Probe:
    """Build the Probe of a new result; ``last`` is the one before it (None: it is the first).

    ``asked_at`` is own time in seconds.
    """
    missed, failures = (last.missed, last.failures) if last else (0, 0)
    if outcome is Outcome.PASSED:
        missed = 0
    elif outcome not in _NO_FAILURE:
        missed += 1
    if outcome not in _NO_FAILURE:
        failures = (failures << 1 | (outcome is not Outcome.PASSED)) & ((1 << RECENT) - 1)
    if last is None or last.outcome is not outcome:
        return Probe(asked_at, outcome, detail, asked_at, 1, missed, failures)
    return Probe(asked_at, outcome, detail, last.began_at, last.count + 1, missed, failures)


_NO_FAILURE = (Outcome.NOT_ATTEMPTED, Outcome.LIMITED)


def compute_max_age(test: SelfTest) -> float:
    """Compute for how many seconds of own time a result counts."""
    return MAX_AGE_REQUESTS * (test.every + test.timeout)


def describe_target(test: SelfTest) -> str:
    """Describe the target for people: ``tcp/80``, or ``http/80`` with the path."""
    return f"tcp/{test.port}" if test.http is None else f"http/{test.port}{test.path}"


# HTTP ----------------------------------------------------------------------------------------

_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_SERVED = range(200, 400)
_OUTCOMES = {429: Outcome.LIMITED} | dict.fromkeys(_SERVED, Outcome.PASSED)


def build_request(test: SelfTest, vip: str) -> bytes:
    """Build the HTTP request; the server closes the connection after it (RFC 9112 section 9.6)."""
    host = test.host or (f"[{vip}]" if ":" in vip else vip)
    lines = (f"GET {test.path} HTTP/1.1", f"Host: {host}", "User-Agent: anycastd", "Accept: */*")
    return "\r\n".join((*lines, "Connection: close", "", "")).encode()


def parse_response(answer: bytes) -> tuple[Outcome, str] | None:
    """Parse the beginning of an HTTP answer: its status line (RFC 9112 section 4).

    Returns (outcome, detail), or None while the final status has not arrived (RFC 9110 section
    15.2: a 1xx answer comes before it).
    """
    while match := _STATUS.match(answer):
        status = int(match[1])
        if status >= _SERVED.start:
            return _OUTCOMES.get(status, Outcome.FAILED), f"HTTP {status}"
        end = _END.search(answer)  # 1xx: the final answer follows
        if end is None:
            return None
        answer = answer[end.end() :]
    if b"\n" in answer:
        return Outcome.FAILED, f"no HTTP: {answer[:40]!r}"
    return None


@dataclass(frozen=True)
class ListensRule:
    """Rule of `serve`: true while something listens on the VIP."""

    test: SelfTest

    @property
    def description(self) -> str:
        """Describe the rule as a sentence for operators."""
        return f"VIP listens on {describe_target(self.test)}"


@dataclass(frozen=True)
class AnswersRule:
    """Rule of `healthy`: true while the VIP answers in time, with a 2xx or 3xx for HTTP."""

    test: SelfTest

    @property
    def description(self) -> str:
        """Describe the rule as a sentence for operators."""
        return f"VIP answers on {describe_target(self.test)}"


# Outcome -> truth of ListensRule, truth of AnswersRule, the reason where one is not true.
_TRUTHS = {
    Outcome.PASSED: (Truth.TRUE, Truth.TRUE, Reason.SERVING),
    Outcome.REFUSED: (Truth.FALSE, Truth.FALSE, Reason.VIP_REFUSES),
    Outcome.FAILED: (Truth.TRUE, Truth.FALSE, Reason.VIP_FAILS),
    Outcome.SLOW: (Truth.TRUE, Truth.FALSE, Reason.VIP_SLOW),
    Outcome.LIMITED: (Truth.TRUE, Truth.UNKNOWN, Reason.TEST_LIMITED),
    Outcome.NOT_ATTEMPTED: (Truth.UNKNOWN, Truth.UNKNOWN, Reason.TEST_UNASKED),
}


def evaluate_listens(ref: RuleRef, rule: ListensRule, probe: Probe | None, now: float) -> Finding:
    """Evaluate whether something listens on the VIP, by the newest result (None: none yet).

    ``now`` is own time in seconds.
    """
    finding = _evaluate(ref, rule.test, probe, now, 0)
    # Where nothing listens, no 503 page is shown either: not alive.
    return finding._replace(alive=finding.truth is not Truth.FALSE)


def evaluate_answers(ref: RuleRef, rule: AnswersRule, probe: Probe | None, now: float) -> Finding:
    """Evaluate whether the VIP answers well, by the newest result (None: none yet).

    ``now`` is own time in seconds.
    """
    return _evaluate(ref, rule.test, probe, now, 1)


def _evaluate(
    ref: RuleRef, test: SelfTest, probe: Probe | None, now: float, column: int
) -> Finding:
    asked_at, changes_at, value = now, None, ""
    truth, reason = Truth.UNKNOWN, Reason.NOT_TESTED
    if probe is not None:
        asked_at, expires_at = probe.asked_at, probe.asked_at + compute_max_age(test)
        if now >= expires_at:
            truth, reason = Truth.FALSE, Reason.TEST_STALE
            value = f"asked {now - probe.asked_at:.1f} s ago"
        else:
            *truths, reason = _TRUTHS[probe.outcome]
            truth, changes_at = truths[column], expires_at
            if not probe.confirmed:  # one result proves nothing bad: the next one comes soon
                truth = max(truth, Truth.UNKNOWN)
            value = probe.detail
            if probe.mixed and column == 1 and probe.outcome is Outcome.PASSED:
                truth, reason = Truth.FALSE, Reason.VIP_MIXED
                value += f", but {probe.failures.bit_count()} of the last {RECENT} did not"
            elif probe.count > 1:
                value += f", {probe.count} times in a row"
    return Finding(
        ref,
        truth,
        value,
        Reason.SERVING if truth is Truth.TRUE else reason,
        asked_at=asked_at,
        believe_for=BELIEVE_UNPROVED_FOR,
        believe_then=Truth.TRUE,  # HAProxy's word, as for servers without a check result
        changes_at=changes_at,
    )
