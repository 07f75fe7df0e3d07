"""What a route has by choice, as status and explain show it: next hops, and a MED by a check.

The field names are the keys of the JSON.
"""

from __future__ import annotations

from dataclasses import dataclass

from anycastd.decision.med import MedChoice
from anycastd.decision.next_hop import Candidate, HopChoice, HopWait
from anycastd.reasons import Reason


@dataclass(frozen=True, slots=True)
class HopWaitView:
    """Why an earlier next hop that serves is not chosen yet.

    ``until``: seconds until time alone ends it; None: it does not.
    """

    name: str
    sentence: str
    until: float | None


@dataclass(frozen=True, slots=True)
class NextHopView:
    """One of the next hops of a service, in the order of the profile.

    ``chosen``: its address is announced, or would be.  ``serves``: its last known value (None:
    never known).  ``detail`` is what its check found.  ``waits`` are those of its return.
    """

    address: str
    chosen: bool
    serves: bool | None
    detail: str
    waits: tuple[HopWaitView, ...]


@dataclass(frozen=True, slots=True)
class MedView:
    """The MED by a check: ``med`` is announced, ``wanted`` is what the check asks for.

    ``detail`` is what the check found.  ``until``: seconds until ``wanted`` is announced, if
    nothing changes (None: it is).
    """

    med: int
    wanted: int
    detail: str
    until: float | None


def view_next_hops(choice: HopChoice | None, now: float) -> tuple[NextHopView, ...]:
    """Build the views of all next hops at ``now`` (own time); empty without a choice."""
    if choice is None:
        return ()
    return tuple(
        NextHopView(
            each.address,
            index == choice.index,
            each.serves,
            each.detail,
            # A later one waits for nothing: it is chosen where no earlier one serves.
            _view_waits(each, now) if index < choice.index else (),
        )
        for index, each in enumerate(choice.candidates)
    )


def _view_waits(candidate: Candidate, now: float) -> tuple[HopWaitView, ...]:
    return tuple(_view_wait(wait, now) for wait in candidate.waits)


def _view_wait(wait: HopWait, now: float) -> HopWaitView:
    left = None if wait.ends_at is None else round(max(0.0, wait.ends_at - now), 1)
    return HopWaitView(wait.reason.name.lower(), _SENTENCES[wait.reason], left)


_SENTENCES = {
    Reason.RISING: "it must serve for `rise` first",
    Reason.HOLD_DOWN: "it is held down after its last failure",
    Reason.MANUAL: "it has failed, and `anycastd return` has not been run since",
    Reason.SPACING: "the last change of the route is too recent",
    Reason.PROVING: "no result of it is newer than the last pause of this agent",
}


def view_med(choice: MedChoice | None, now: float) -> MedView | None:
    """Build the view of a MED by a check at ``now`` (own time); None without one."""
    if choice is None:
        return None
    left = None if choice.ends_at is None else round(max(0.0, choice.ends_at - now), 1)
    return MedView(choice.med, choice.wanted, choice.detail, left)
