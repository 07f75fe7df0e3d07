"""What a request to the VIP from this machine finds, and what it proves.

A service's statistics may be fine while nobody listens on its VIP; only a request to the VIP
sees that.  But a request is also a load meter, and overload must never take the VIP away from
everybody.  So what comes back is put into classes, and only one of them can withdraw::

    what happens to the request                     class     it proves
    the connection stands (`tcp`), or the answer's  PASSED    somebody listens and answers
    status is 2xx or 3xx (`http`)
    the connection is refused                       REFUSED   nobody listens: not served from here
    reset or closed without an answer, no HTTP,     FAILED    somebody listens; degraded at most
    any other status
    nothing within `timeout`                        SLOW      likewise: full, queueing, hung behind
    we could not even ask (no address, no port,     UNASKED   nothing: unknown
    no descriptor, a firewall's word)

* One request proves nothing bad: a class counts when a second request in a row agrees.
* **A 503 never withdraws.**  It says the same for a queue that is full and for servers that are
  all dead, and HAProxy's counters do not tell the two apart in time either: `econ` of a backend
  counts time-outs in its queue too, and that of a server grows only after the last retry (3 s
  by default).  So HAProxy's word on its servers decides; with `observe layer4` the requests are
  the traffic that makes it look (docs/self-test.md has the lines and the figures).
* A reset is no refusal: firewalls, rate limits and full queues reset what they accepted before.
  The kernel of a machine without a listener refuses.

Requests come from the VIP itself.  Nobody else's can, since the answers never leave this machine:
so HAProxy knows a self-test by its source address, and where the VIP is not here, no other
region's answer can be taken for ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from anycastd.evidence.finding import BELIEVE_UNPROVED_FOR, Finding, RuleRef, Truth
from anycastd.profile.model import SelfTest
from anycastd.reasons import Reason

CONFIRMED = 2
"""Requests in a row that must agree before anything but a pass counts."""
OUTDATED = 3
"""A result is too old when that many requests would have had the time to fail after it."""


class Outcome(Enum):
    """What became of a request; the table at the top says what each proves."""

    PASSED = "passed"
    REFUSED = "refused"
    FAILED = "failed"
    SLOW = "slow"
    NOT_ATTEMPTED = "unasked"


@dataclass(frozen=True, slots=True)
class Probe:
    """The newest result: ``asked`` is when its question was asked (seconds), ``why`` in words.

    ``count`` results in a row had this outcome, the first of them asked at ``since``.  ``missed``
    is how many were asked and not passed since the last pass, whatever their outcome.
    """

    asked_at: float
    outcome: Outcome
    detail: str
    began_at: float
    count: int
    missed: int

    @property
    def confirmed(self) -> bool:
        """Whether it may be believed: a pass at once, nobody listening after the second time."""
        if self.outcome is Outcome.PASSED:
            return True
        agreeing = self.count if self.outcome is Outcome.REFUSED else self.missed
        return agreeing >= CONFIRMED

    @property
    def decision_key(self) -> tuple[Outcome, bool]:
        """What a verdict depends on, besides the time."""
        return self.outcome, self.confirmed


def next_probe(last: Probe | None, asked: float, outcome: Outcome, why: str) -> Probe:
    """Put a result behind the one before it."""
    missed = 0
    if outcome is not Outcome.PASSED:
        missed = (last.missed if last else 0) + (outcome is not Outcome.NOT_ATTEMPTED)
    if last is None or last.outcome is not outcome:
        return Probe(asked, outcome, why, asked, 1, missed)
    return Probe(asked, outcome, why, last.began_at, last.count + 1, missed)


def max_age(test: SelfTest) -> float:
    """Seconds for which a result proves anything."""
    return OUTDATED * (test.every + test.timeout)


def describe_target(test: SelfTest) -> str:
    """Say what is asked: ``tcp/80``, or ``http/80`` with the path."""
    return f"tcp/{test.port}" if test.http is None else f"http/{test.port}{test.path}"


# HTTP ----------------------------------------------------------------------------------------

_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_SERVED = range(200, 400)


def build_request(test: SelfTest, vip: str) -> bytes:
    """The HTTP request, for a connection that ends with its answer (RFC 9112)."""
    host = test.host or (f"[{vip}]" if ":" in vip else vip)
    lines = (f"GET {test.path} HTTP/1.1", f"Host: {host}", "User-Agent: anycastd", "Accept: */*")
    return "\r\n".join((*lines, "Connection: close", "", "")).encode()


def parse_response(answer: bytes) -> tuple[Outcome, str] | None:
    """Judge the beginning of an HTTP answer; None while its status has not come."""
    while match := _STATUS.match(answer):
        status = int(match[1])
        if status >= _SERVED.start:
            return Outcome.PASSED if status in _SERVED else Outcome.FAILED, f"HTTP {status}"
        end = _END.search(answer)  # 1xx: the final answer follows
        if end is None:
            return None
        answer = answer[end.end() :]
    if b"\n" in answer:
        return Outcome.FAILED, f"no HTTP: {answer[:40]!r}"
    return None


@dataclass(frozen=True)
class ListensRule:
    """True while something listens on the VIP: a part of `serve`."""

    test: SelfTest
    instance: str = ""

    @property
    def description(self) -> str:
        """The rule as a sentence for operators."""
        return f"VIP listens on {describe_target(self.test)}"


@dataclass(frozen=True)
class AnswersRule:
    """True while the VIP answers well and in time: a part of `healthy`."""

    test: SelfTest
    instance: str = ""

    @property
    def description(self) -> str:
        """The rule as a sentence for operators."""
        return f"VIP answers on {describe_target(self.test)}"


# Outcome -> truth of ListensRule, truth of AnswersRule, the reason where one is not true.
_TRUTHS = {
    Outcome.PASSED: (Truth.TRUE, Truth.TRUE, Reason.SERVING),
    Outcome.REFUSED: (Truth.FALSE, Truth.FALSE, Reason.VIP_REFUSES),
    Outcome.FAILED: (Truth.TRUE, Truth.FALSE, Reason.VIP_FAILS),
    Outcome.SLOW: (Truth.TRUE, Truth.FALSE, Reason.VIP_SLOW),
    Outcome.NOT_ATTEMPTED: (Truth.UNKNOWN, Truth.UNKNOWN, Reason.TEST_UNASKED),
}


def evaluate_listens(ref: RuleRef, rule: ListensRule, probe: Probe | None, now: float) -> Finding:
    """Evaluate whether something listens on the VIP, by the newest result (None: none yet)."""
    finding = _evaluate(ref, rule.test, probe, now, 0)
    # Where nothing listens, no 503 page is shown either: not alive.
    return finding._replace(alive=finding.truth is not Truth.FALSE)


def evaluate_answers(ref: RuleRef, rule: AnswersRule, probe: Probe | None, now: float) -> Finding:
    """Evaluate whether the VIP answers well, by the newest result (None: none yet)."""
    return _evaluate(ref, rule.test, probe, now, 1)


def _evaluate(
    ref: RuleRef, test: SelfTest, probe: Probe | None, now: float, column: int
) -> Finding:
    asked_at, changes_at, value = now, None, ""
    truth, reason = Truth.UNKNOWN, Reason.NOT_TESTED
    if probe is not None:
        asked_at, expires_at = probe.asked_at, probe.asked_at + max_age(test)
        if now >= expires_at:
            truth, reason = Truth.FALSE, Reason.TEST_STALE
            value = f"asked {now - probe.asked_at:.1f} s ago"
        else:
            *truths, reason = _TRUTHS[probe.outcome]
            truth, changes_at = truths[column], expires_at
            if not probe.confirmed:  # one result proves nothing bad: the next one comes soon
                truth = max(truth, Truth.UNKNOWN)
            value = probe.detail
            if probe.count > 1:
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
