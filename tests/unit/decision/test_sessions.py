"""Whether a session carries an address family, for what the lease reports of it."""

from __future__ import annotations

import pytest

from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.session import Session
from anycastd.decision.sessions import find_session
from anycastd.lease.messages import NeighborReport, Report
from support.lease_rig import PEERS
from support.profiles import profile

BOTH, FOUR, SIX, NONE = ("ipv4", "ipv6"), ("ipv4",), ("ipv6",), ()
UP, DOWN, UNKNOWN = Session.UP, Session.DOWN, Session.UNKNOWN


def report(*neighbors: NeighborReport) -> Report:
    """Return a report with these neighbors."""
    return Report("lease", 0, 0, None, dict(zip(PEERS, neighbors, strict=True)), ())


def neighbor(session: Session, families: tuple[str, ...] | None = None) -> NeighborReport:
    """Return the report of one neighbor; None: what was negotiated is not reported."""
    agreed = None if families is None else Negotiated(families, 9, four_octet_as=True)
    return NeighborReport(session, 1.0, negotiated=agreed)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((UP, BOTH), (DOWN,), (True, True)),
        ((UP, FOUR), (UP, FOUR), (True, False)),
        ((UP, FOUR), (UP, SIX), (True, True)),
        ((UP, FOUR), (UNKNOWN,), (True, None)),
        ((UP, FOUR), (DOWN,), (True, False)),
        ((UP, NONE), (UP, NONE), (False, False)),
        ((DOWN,), (DOWN,), (False, False)),
        ((DOWN,), (UNKNOWN,), (None, None)),
        # an older speaker: missing knowledge takes nothing away
        ((UP, None), (DOWN,), (True, True)),
        ((UP, None), (UP, FOUR), (True, True)),
    ],
)
def test_a_family_is_carried(
    one: tuple[Session], other: tuple[Session], expected: tuple[bool | None, bool | None]
) -> None:
    """A session counts for the families that were agreed on, or for all if that is not known."""
    change = ("peer_as: 65515}", "peer_as: 65515, families: [ipv4, ipv6]}")
    its = profile(change).bgp
    seen = report(neighbor(*one), neighbor(*other))
    assert tuple(find_session(its, seen, family) for family in BOTH) == expected
    assert find_session(its, None, "ipv4") is None, "no connection to the lease"


def test_a_neighbor_with_families_of_its_own() -> None:
    """It counts for these only, whatever its router agreed on or is not known to have."""
    old, new = "address: 192.0.2.4,", "address: 192.0.2.4, families: [ipv4],"
    its = profile((old, new), ("192.0.2.5,", "192.0.2.5, families: [ipv6],")).bgp
    for agreed in (None, BOTH):
        seen = report(neighbor(UP, agreed), neighbor(DOWN))
        assert find_session(its, seen, "ipv4") is True
        assert find_session(its, seen, "ipv6") is False
