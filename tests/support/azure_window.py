"""A model of Azure's window: one change passes at once, the next one is delayed.

Reports about it can be read in two ways; this project has measured neither of them on Azure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from support.route_log import Change


class Reading(Enum):
    """Which changes the window delays."""

    NOT_WITHDRAWALS = "withdrawals pass at once"
    EVERYTHING = "every change is delayed"


@dataclass(frozen=True, slots=True)
class FarChange:
    """A change of the far side's route; its path has ``asns`` AS numbers (0: no route).

    ``at`` is when it happens, a time of the monotonic clock in seconds.  ``late`` is how many
    seconds that is after the newest change that it contains.
    """

    at: float
    asns: int
    late: float


def list_far_changes(changes: Sequence[Change], window: float, reading: Reading) -> list[FarChange]:
    """Return the changes that the far side makes of one peer's changes.

    ``window`` is in seconds.  Changes that are delayed together become one.
    """
    found: list[FarChange] = []
    waiting: Change | None = None
    last = float("-inf")
    for change in [*changes, None]:
        now = float("inf") if change is None else change.at
        if waiting is not None and last + window <= now:
            last += window
            found.append(FarChange(last, waiting.asns, last - waiting.at))
            waiting = None
        if change is None:
            continue
        passes = reading is Reading.NOT_WITHDRAWALS and change.route is None
        if passes or (waiting is None and change.at - last >= window):
            waiting = None
            last = change.at
            found.append(FarChange(change.at, change.asns, 0.0))
        else:
            waiting = change
    return found
