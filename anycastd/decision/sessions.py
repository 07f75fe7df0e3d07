"""Find out whether a session carries an address family (pure).

A session carries a family if it is up, and both ends agreed on the family when it came up.  Where
the speaker does not report what was agreed on, because it is older than this, the session counts
for every family that the profile gives the neighbor: missing knowledge takes nothing away.
"""

from __future__ import annotations

from anycastd.bgp.session import Session
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import Bgp


def is_family_negotiated(peer: NeighborReport | None, family: str) -> bool | None:
    """Return whether the session that is up carries ``family`` (``ipv4`` or ``ipv6``).

    Returns None where no session is up, or the speaker does not report what was agreed on.
    """
    if peer is None or peer.session is not Session.UP or peer.negotiated is None:
        return None
    return family in peer.negotiated.families


def find_session(bgp: Bgp, report: Report | None, family: str) -> bool | None:
    """Tell whether a session that carries ``family`` is up; None while the lease does not know.

    ``report`` is the newest one (None: there is no connection to the lease).  Neighbors that the
    profile gives other families do not count.
    """
    if report is None:
        return None
    others = {str(each.address) for each in bgp.neighbors if family not in each.families}
    known = True
    for address, peer in report.neighbors.items():
        if address in others:
            continue
        if peer.session is Session.UP and is_family_negotiated(peer, family) is not False:
            return True
        known = known and peer.session is not Session.UNKNOWN
    return False if known else None
