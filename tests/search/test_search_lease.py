"""Search: the agent's core and the lease's machine together, over a wire that nobody should trust.

Messages are lost, repeated and reordered; agents and lease processes die and are started again;
either side stalls.  Whatever happens, nothing is held past its time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from anycastd.lease.machine import LeaseMachine
from anycastd.lease.messages import Want
from search.effort import LONG, PATIENCE
from search.lease_world import search
from search.planting import TOGETHER, planted
from support.lease_rig import LeaseRig, route, want


@pytest.mark.timeout(PATIENCE)
def test_agent_and_lease_together() -> None:
    """Whatever is lost, repeated or reordered, and whoever dies or stalls."""
    search(LeaseMachine, 3_000 if LONG else 60)


class RenewsByRepetition(LeaseMachine):
    """A lease that takes every message for a new one."""

    def on_message(self, connection: int, line: bytes, now: float) -> list[Any]:
        """Take a line of an agent's."""
        self.serial = 0
        return super().on_message(connection, line, now)


class NeverRunsOut(LeaseMachine):
    """A lease whose time does not end."""

    def tick(self, now: float) -> list[Any]:
        """Let time pass."""
        if self.expires_at is not None:
            self.expires_at = now + 1.0
        return super().tick(now)


class KeepsOnEmpty(LeaseMachine):
    """A lease that takes an empty set for no news."""

    def on_message(self, connection: int, line: bytes, now: float) -> list[Any]:
        """Take a line of an agent's."""
        said = Want.load(line)
        if not said.routes and self.adj_rib_out.requested:
            self.serial = said.serial
            return []
        return super().on_message(connection, line, now)


class TakesWhatIsOld(LeaseMachine):
    """A lease that takes what was decided before it ran out."""

    def on_message(self, connection: int, line: bytes, now: float) -> list[Any]:
        """Take a line of an agent's."""
        return super().on_message(
            connection, replace(Want.load(line), expirations=None).dump(), now
        )


@pytest.mark.parametrize("faulty", [RenewsByRepetition, NeverRunsOut, KeepsOnEmpty, TakesWhatIsOld])
def test_the_search_finds_planted_faults(faulty: type[LeaseMachine]) -> None:
    """A search that finds nothing proves something only if it would find these."""
    with pytest.raises(AssertionError):
        search(faulty, 1_000, shrink=False)


OUTLIVES = "it outlives its agent"
LATE = "held past its time"
ANEW = "it comes back as if nothing had happened"
FAULTS = [  # in one of planting.MODULES: words, its text, what is there instead, what that breaks
    (
        "messages",
        "the lease forgets what an agent knows",
        'expirations = data.get("lapses")\n            want =',
        "expirations = None\n            want =",
        ANEW,
    ),
    (
        "owner",
        "nobody remembers which agent holds the lease",
        "self.connection, self.epoch, self.pid = connection, want.epoch, want.pid",
        "self.connection, self.pid = connection, want.pid",
        LATE,
    ),
    (
        "machine",
        "a lease lasts longer than was asked for",
        "now + min(want.ttl, self.settings.ttl_max) if want.routes",
        "now + self.settings.ttl_max if want.routes",
        LATE,
    ),
    (
        "machine",
        "what was inherited is held for ever",
        "self.expires_at = now + self.settings.inherit_ttl if rib else None",
        "self.expires_at = None",
        OUTLIVES,
    ),
    (
        "pipeline",
        "after the end of the lease it comes back as it was",
        "replace(each, level=Level.WITHDRAWN, level_began_at=now, changed_at=now)",
        "replace(each, level_began_at=now)",
        ANEW,
    ),
]


@pytest.mark.parametrize(
    ("part", "old", "new", "broken"), [(f[0], *f[2:]) for f in FAULTS], ids=[f[1] for f in FAULTS]
)
def test_the_search_finds_faults_in_every_part(part: str, old: str, new: str, broken: str) -> None:
    """However many modules there are between the fault and the machine."""
    together = planted(part, old, new, TOGETHER)
    with pytest.raises(AssertionError, match=broken):
        together.search(together.LeaseMachine, 1_000, shrink=False)


def test_a_message_that_comes_again_renews_nothing() -> None:
    """Repeated or overtaken, it is answered, and changes neither the set nor its time."""
    rig = LeaseRig()
    first, second = want(1, route()), want(2, route(asns=3))
    rig.send(1, first)
    rig.send(1, second)
    rig.advance(4.0)
    for line in (second, first):
        assert rig.send(1, line)
    assert rig.exabgp.rib == {route().key: route(asns=3)}
    rig.advance(1.1)
    assert not rig.exabgp.rib
