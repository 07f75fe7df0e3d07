"""What is known of each check, for the status and the metrics (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anycastd.evidence.checks.evaluate import evaluate_check, find_step
from anycastd.evidence.checks.observation import CheckObservation
from anycastd.evidence.finding import RuleRef
from anycastd.profile.model import Profile
from anycastd.reasons import Reason

_STATES = {
    Reason.SERVING: "passes",
    Reason.CHECK_FAILED: "fails",
    Reason.CHECK_UNSEEN: "unseen",
    Reason.CHECK_STALE: "stale",
    Reason.CHECK_UNPROVED: "unproved",
    Reason.NOT_CHECKED: "unproved",
}
_NO_RULE = RuleRef("", (), "", "")


@dataclass(frozen=True, slots=True)
class CheckStatus:
    """One check.

    ``asks`` says what it asks.  ``state``: ``passes``, ``fails``, ``unproved`` (not enough results
    yet), ``unseen`` (it cannot see) or ``stale`` (no result for too long), and ``why`` (text).
    ``since``: seconds in which it has passed or failed (None: neither).  ``age``: seconds since the
    newest run that saw something began (None: none has).  ``step``: that of a load (None: no load,
    or not known).
    """

    asks: str
    state: str
    why: str
    since: float | None
    age: float | None
    step: int | None = None


def list_checks(
    profile: Profile, observations: Mapping[str, CheckObservation], now: float
) -> dict[str, CheckStatus]:
    """List what is known of each check of ``profile`` at ``now`` (own time), by name."""
    found = {}
    for name, check in profile.checks.items():
        seen = observations.get(name)
        finding = evaluate_check(_NO_RULE, check, seen, now)
        known = seen is not None and seen.passed is not None
        looked = seen is not None and (seen.detail != "" or known)
        found[name] = CheckStatus(
            asks=check.asks.what,
            state=_STATES[finding.reason],
            why=finding.value,
            since=round(now - seen.since, 3) if seen is not None and known else None,
            age=round(now - seen.asked_at, 3) if seen is not None and looked else None,
            step=find_step(check, seen, now),
        )
    return found
