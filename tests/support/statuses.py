"""Build a status for tests, without an agent."""

from __future__ import annotations

import json
from typing import Any

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.last_known import LastKnown
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, VipState, advance
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Observation
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import NeighborReport, Report
from anycastd.views.status import AgentFacts, build_status
from support.profiles import profile
from support.snapshots import snapshot
from support.status_schema import check_status

VIP = "203.0.113.10/32"
PEERS = ("192.0.2.4", "192.0.2.5")


def status(
    look: Observation,
    *,
    held: int = 1,
    sessions: tuple[Session, Session] = (Session.UP, Session.UP),
    level: Level = Level.PREFERRED,
    rib: str = "agrees",
    changes: tuple[tuple[str, str], ...] = (),
) -> dict[str, Any]:
    """Give the status, as JSON, at 100 s of an agent that was at ``level`` since 0 s.

    ``look`` is the newest one.  The lease has a path with ``held`` ASNs (0: no route), and reports
    ``sessions`` and ``rib``.  ``changes`` of the profile: (old, new).
    """
    its = profile(*changes)
    path = (65010,) * held
    routes = tuple(Route(peer, VIP, "192.0.2.10", path) for peer in PEERS if held)
    neighbors = {
        peer: NeighborReport(session, 12.0, rib=rib)
        for peer, session in zip(PEERS, sessions, strict=True)
    }
    lease = LeaseView(True, Report("i", 7, 7, 4.0, neighbors, routes, exabgp="5.0.15"), routes)
    inputs = Inputs(Evidence({"main": look}), {VIP: VipState(True)}, lease)
    well = LastKnown(True, 0.0)
    memory = Memory(level=level, adopted=True, serve=well, healthy=well, sessions=well)
    step = advance(its, {"web": memory}, inputs, 100.0)
    view = build_status(its, inputs, step, 100.0, AgentFacts(4, "0.1.0", at="2026-11-30T02:58:00Z"))
    return check_status(json.loads(json.dumps(view.to_json())))


def look(*servers: Usable) -> Observation:
    """Give a look with servers, asked for at 100 s."""
    return snapshot(*servers, asked_at=100.0)
