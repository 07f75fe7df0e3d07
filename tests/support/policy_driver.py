"""Drive the decisions about one service pass by pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.caps import Context
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import LeaseView
from anycastd.decision.policy import Decision, decide_level
from anycastd.decision.verdict import judge_service
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Unreadable
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import Profile
from support.lease_rig import PEERS
from support.profiles import profile
from support.snapshots import YES, snapshot

MAP = ("/etc/haproxy/maintenance.map", "web")


@dataclass
class Machine:
    """The profile, memory and context of one service; ``at`` runs a pass at an own time (s)."""

    profile: Profile = field(default_factory=profile)
    memory: Memory = field(default_factory=Memory)
    context: Context = field(
        default_factory=lambda: Context(
            session_up=True, vip_present=True, leased_level=Level.WITHDRAWN
        )
    )

    def at(
        self, now: float, *servers: Usable, gone: bool = False, entry: str | None = None
    ) -> Decision:
        """Run a pass at ``now`` (own time, s) with a look that was asked for at ``now``.

        The look has one server for each of ``servers``; ``entry`` is that of the maintenance map.
        With ``gone`` HAProxy does not run.
        """
        look: Observation = replace(snapshot(*servers, asked_at=now), entries={MAP: entry})
        if gone:
            look = Gone(asked_at=now, detail="refused")
        return self.judge(look, now)

    def miss(self, now: float, began_at: float, missed: int = 1) -> Decision:
        """Run a pass at ``now``: ``missed`` looks in a row, from ``began_at`` on, got no answer."""
        return self.judge(Unreadable(now, began_at, missed, "no answer"), now)

    def judge(self, look: Observation, now: float) -> Decision:
        """Run a pass at ``now`` on a look."""
        service = self.profile.services["web"]
        verdict = judge_service(self.profile, service, Evidence({"main": look}), now)
        decision, self.memory = decide_level(service, verdict, self.context, self.memory, now)
        return decision

    def up(self, until: float = 100.0) -> Machine:
        """Bring the service to preferred by ``until`` seconds of health; it must be so then."""
        for second in range(int(until)):
            self.at(float(second), YES, YES)
        assert self.at(until, YES, YES).level is Level.PREFERRED
        return self


def view(*leased: Route, session: Session = Session.UP, connected: bool = True) -> LeaseView:
    """Build the agent's view of a lease with these routes."""
    neighbors = {peer: NeighborReport(session, 10.0) for peer in PEERS}
    return LeaseView(connected, Report("i", 1, 1, 5.0, neighbors, leased), leased)
