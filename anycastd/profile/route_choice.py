"""The values of what a route has by choice: next hops in order, and MEDs by the steps of a check.

``build`` creates them.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from anycastd.profile.conditions import Condition


@dataclass(frozen=True, slots=True)
class NextHop:
    """One of the next hops of a service; the first that serves is announced.

    ``serve`` says whether it can be chosen, ``healthy`` whether the service is preferred while it
    is (None: as long as it serves).
    """

    address: IPv4Address | IPv6Address
    serve: Condition
    healthy: Condition | None = None


@dataclass(frozen=True, slots=True)
class MedSteps:
    """The MED at each step of ``check``: the n-th of ``steps`` at step n, the last one beyond."""

    check: str
    steps: tuple[int, ...]
