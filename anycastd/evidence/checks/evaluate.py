"""What is known of a check, and a rule that names it -> Finding (pure).

    what is known                                    the finding
    it passes, after `rise`                          true
    it fails, after `fall`                           false
    neither yet                                      unknown
    the newest run could not see                     unknown: nothing is promoted, the last value
                                                     counts
    no run has seen anything for `deadline`          false

Unknown is no way to stay for ever: the last value counts for `deadline` seconds, and then false.
"""

from __future__ import annotations

from anycastd.evidence.checks.observation import CheckObservation
from anycastd.evidence.finding import Finding, RuleRef, Truth
from anycastd.profile.checks import Check
from anycastd.reasons import Reason


def evaluate_check(
    ref: RuleRef, check: Check, observation: CheckObservation | None, now: float
) -> Finding:
    """Evaluate whether ``check`` passes by what is known of it (None: it has not run yet).

    ``now`` is own time in seconds.
    """
    if observation is None:
        return Finding(
            ref,
            Truth.UNKNOWN,
            "",
            Reason.NOT_CHECKED,
            alive=False,
            asked_at=now,
            believe_for=check.deadline,
        )
    seen = observation
    expires_at = seen.asked_at + check.deadline
    changes_at: float | None = expires_at
    value, alive = seen.detail, seen.answered
    if now >= expires_at:
        reason = Reason.CHECK_UNSEEN if seen.unseen else Reason.CHECK_STALE
        truth, changes_at, alive = Truth.FALSE, None, False
        age = f"no result for {now - seen.asked_at:.1f} s"
        value = f"{seen.unseen}, {age}" if seen.unseen else age
    elif seen.unseen:
        truth, reason, value, alive = Truth.UNKNOWN, Reason.CHECK_UNSEEN, seen.unseen, False
    elif seen.passed is None:
        truth, reason = Truth.UNKNOWN, Reason.CHECK_UNPROVED
        value = _describe_count(check, seen)
    elif seen.passed:
        truth, reason = Truth.TRUE, Reason.SERVING
        if seen.counted is False:
            value = _describe_count(check, seen)
    else:
        truth, reason = Truth.FALSE, Reason.CHECK_FAILED
        if seen.counted:
            value = _describe_count(check, seen)
    return Finding(
        ref,
        truth,
        value,
        reason,
        alive=alive,
        asked_at=seen.asked_at,
        believe_for=check.deadline,
        changes_at=changes_at,
    )


def find_step(check: Check, observation: CheckObservation | None, now: float) -> int | None:
    """Find the step of a load that counts at ``now`` (own time); None where it is not known."""
    if observation is None or now >= observation.asked_at + check.deadline:
        return None
    return observation.step


def _describe_count(check: Check, seen: CheckObservation) -> str:
    """Describe the newest result where it does not count yet."""
    needed = check.rise if seen.counted else check.fall
    word = "passed" if seen.counted else "failed"
    return f"{seen.detail} ({word} {min(seen.count, needed)} of {needed} times)"
