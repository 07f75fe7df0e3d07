"""A fault: how it begins and ends, what it touches, and whether a route may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.machine import Machine

Begin = Callable[[Machine, float], Any]
End = Callable[[Machine, Any], object]


def do_nothing(_: Machine, __: Any) -> None:
    """Nothing has to be ended."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break an appliance.

    ``begin`` gets the duration in seconds and breaks the machine; a pause of the whole machine is
    over when it returns.  ``end`` gets what ``begin`` returned and repairs what does not repair
    itself.  Of two faults that share one of ``parts``, the second waits for the first.  ``lasts``
    is the shortest and the longest duration (s).  ``harmless``: no route may change, except that
    of a peer that is away.  ``ends``: which of agent, lease process and ExaBGP end by it.
    """

    name: str
    begin: Begin
    end: End = do_nothing
    parts: tuple[str, ...] = ()
    lasts: tuple[float, float] = (0.0, 0.0)
    harmless: bool = False
    ends: tuple[str, ...] = ()
