"""The far side's window, as Azure's is reported: one change at once, the next is held for a while.

Two readings of the same reports, neither of them measured on Azure by this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from support.route_log import Change


class Reading(Enum):
    """What the window holds back."""

    NOT_WITHDRAWALS = "withdrawals pass at once"
    EVERYTHING = "every change is held"


@dataclass(frozen=True, slots=True)
class Far:
    """At ``at`` the far side's route became one of ``asns`` ASNs (0: none), ``late`` seconds late.

    ``late`` counts from the newest change that went into it.
    """

    at: float
    asns: int
    late: float


def far_side(changes: Sequence[Change], hold: float, reading: Reading) -> list[Far]:
    """Give what the far side makes of one peer's changes; what is held is coalesced."""
    found: list[Far] = []
    waiting: Change | None = None
    last = float("-inf")
    for change in [*changes, None]:
        now = float("inf") if change is None else change.at
        if waiting is not None and last + hold <= now:
            last += hold
            found.append(Far(last, waiting.asns, last - waiting.at))
            waiting = None
        if change is None:
            continue
        passes = reading is Reading.NOT_WITHDRAWALS and change.route is None
        if passes or (waiting is None and change.at - last >= hold):
            waiting = None
            last = change.at
            found.append(Far(change.at, change.asns, 0.0))
        else:
            waiting = change
    return found
