"""Search: agent and lease together, over a connection that loses, repeats and reorders messages.

Agents and lease processes end and are started again, and either side stalls.  Whatever happens, no
route is announced longer than its lease.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from anycastd.lease.intake import Sender
from anycastd.lease.machine import LeaseMachine
from anycastd.lease.messages import Want
from search.effort import LONG, SEARCH_TIMEOUT
from search.lease_world import search_lease
from search.planting import LEASE_SEARCH, plant_fault
from support.lease_rig import LeaseRig, route, want


@pytest.mark.timeout(SEARCH_TIMEOUT)
def test_agent_and_lease_together() -> None:
    """Every invariant holds, whatever is lost, repeated, reordered, replaced or stalled."""
    search_lease(LeaseMachine, 3_000 if LONG else 60)


ANYBODY = Sender()


class RenewsByRepetition(LeaseMachine):
    """A lease that accepts every message as a new one."""

    def on_message(
        self, connection: int, line: bytes, now: float, sender: Sender = ANYBODY
    ) -> list[Any]:
        """Handle a line from an agent."""
        self.serial = 0
        return super().on_message(connection, line, now, sender)


class NeverExpires(LeaseMachine):
    """A lease that does not expire."""

    def tick(self, now: float) -> list[Any]:
        """Advance time."""
        if self.expires_at is not None:
            self.expires_at = now + 1.0
        return super().tick(now)


class KeepsOnEmpty(LeaseMachine):
    """A lease that ignores an empty set of routes."""

    def on_message(
        self, connection: int, line: bytes, now: float, sender: Sender = ANYBODY
    ) -> list[Any]:
        """Handle a line from an agent."""
        want = Want.load(line)
        if not want.routes and self.adj_rib_out.requested:
            self.serial = want.serial
            return []
        return super().on_message(connection, line, now, sender)


class AcceptsOldDecisions(LeaseMachine):
    """A lease that accepts a message that was decided before its expiry was received."""

    def on_message(
        self, connection: int, line: bytes, now: float, sender: Sender = ANYBODY
    ) -> list[Any]:
        """Handle a line from an agent."""
        return super().on_message(
            connection, replace(Want.load(line), expirations=None).dump(), now, sender
        )


@pytest.mark.parametrize(
    "faulty", [RenewsByRepetition, NeverExpires, KeepsOnEmpty, AcceptsOldDecisions]
)
def test_the_search_finds_planted_faults(faulty: type[LeaseMachine]) -> None:
    """Each of these breaks an invariant."""
    with pytest.raises(AssertionError):
        search_lease(faulty, 3_000, shrink=False)


WITHOUT_AGENT = "announced after the end of its agent"
EXPIRED = "announced after the lease must have expired"
SHORTER_PATH = "announced at a shorter path soon after an expiry"
NO_SESSION = "at a shorter path without a session that carries its family"
LEFT_OUT = "the lease process would have left out this tick"
FAULTS = [  # key of planting.MODULES, name, text of the source, text of the fault, broken invariant
    (
        "messages",
        "the lease does not read the expirations that an agent has seen",
        'expirations = data.get("lapses")\n            want =',
        "expirations = None\n            want =",
        SHORTER_PATH,
    ),
    (
        "owner",
        "the lease forgets the epoch of its owner",
        "self.connection, self.epoch, self.pid = connection, want.epoch, want.pid",
        "self.connection, self.pid = connection, want.pid",
        EXPIRED,
    ),
    (
        "machine",
        "the lease ignores the requested time to live",
        "now + min(want.ttl, self.settings.ttl_max) if want.routes",
        "now + self.settings.ttl_max if want.routes",
        EXPIRED,
    ),
    (
        "machine",
        "inherited routes do not expire",
        "self.expires_at = now + self.settings.inherit_ttl if rib else None",
        "self.expires_at = None",
        WITHOUT_AGENT,
    ),
    (
        "due",
        "the end of the lease is not due",
        "math.inf if state.expires_at is None else state.expires_at",
        "math.inf",
        LEFT_OUT,
    ),
    (
        "due",
        "reading the table back is not due",
        "state.adj_rib_out.find_read_due_at(settings),",
        "",
        LEFT_OUT,
    ),
    (
        "pipeline",
        "after an expiry it returns at its old level",
        "replace(each, level=Level.WITHDRAWN, level_began_at=now, changed_at=now)",
        "replace(each, level_began_at=now)",
        SHORTER_PATH,
    ),
    (
        "pipeline",
        "Wants that were never read count as announced",
        "if not before.connected:",
        "if not before.connected and not counts:",
        SHORTER_PATH,
    ),
    (
        "sessions",
        "a session counts for every address family",
        "is_family_negotiated(peer, family) is not False",
        "is_family_negotiated(peer, family) in {True, False, None}",
        NO_SESSION,
    ),
    (
        "messages",
        "the agent does not read what was negotiated",
        "negotiated=None if negotiated is None else Negotiated.load(negotiated)",
        "negotiated=None",
        NO_SESSION,
    ),
]


@pytest.mark.parametrize(
    ("module", "old", "new", "broken"), [(f[0], *f[2:]) for f in FAULTS], ids=[f[1] for f in FAULTS]
)
def test_the_search_finds_faults_in_every_module(
    module: str, old: str, new: str, broken: str
) -> None:
    """The module with the fault may be far below the state machine of the lease."""
    faulty = plant_fault(module, old, new, LEASE_SEARCH)
    with pytest.raises(AssertionError, match=broken):
        faulty.search_lease(faulty.LeaseMachine, 3_000, shrink=False)


def test_a_repeated_message_renews_nothing() -> None:
    """A repeated or overtaken message is answered, and changes neither routes nor expiry."""
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
