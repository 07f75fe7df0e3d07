"""The tables of everything that a pass takes and gives, for ``codec`` (pure).

Of the lease's report only what decides is kept: each session, and what was agreed on for it.  Of a
look, what the next look is compared with is left out: it decides nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.drains import Drain
from anycastd.decision.last_known import LastKnown
from anycastd.decision.levels import Level
from anycastd.decision.memory import HopMemory, MedMemory, Memory
from anycastd.decision.pipeline import Inputs, LeaseView, VipState
from anycastd.decision.policy import Transition
from anycastd.decision.region_report import RegionReport, VipReport
from anycastd.evidence.checks.observation import CheckObservation
from anycastd.evidence.haproxy.servers import Override, Server, Usable
from anycastd.evidence.haproxy.snapshot import (
    Backend,
    Frontend,
    Gone,
    Snapshot,
    Unreadable,
    Worker,
)
from anycastd.evidence.servers.refusals import ReachReport
from anycastd.evidence.vip.selftest import Outcome, Probe
from anycastd.lease.messages import Levels, NeighborReport, Report
from anycastd.reasons import Reason
from anycastd.recording.codec import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    TEXT,
    Codec,
    list_of,
    numbered,
    of_enum,
    one_of,
    optional,
    pairs_of,
    record_of,
    row_of,
    table_of,
)

LEVEL, REASON = of_enum(Level), of_enum(Reason)

SERVER = row_of(
    Server,
    name=TEXT,
    usable=of_enum(Usable),
    detail=TEXT,
    status=TEXT,
    check=TEXT,
    weight=INTEGER,
    backup=BOOLEAN,
    checked=BOOLEAN,
    tracked=TEXT,
    in_share=BOOLEAN,
)
SERVERS = numbered(SERVER)
BACKEND = record_of(
    Backend,
    name=TEXT,
    status=TEXT,
    servers=SERVERS,
    asked_at=NUMBER,
    number=INTEGER,
    sessions=INTEGER,
    queued_requests=INTEGER,
    weights=table_of(list_of(INTEGER)),
    weights_refused=TEXT,
)
FRONTEND = record_of(
    Frontend,
    name=TEXT,
    is_open=BOOLEAN,
    status=TEXT,
    sessions=INTEGER,
    asked_at=NUMBER,
    number=INTEGER,
)
WORKER = record_of(
    Worker,
    pid=INTEGER,
    uptime=NUMBER,
    stopping=BOOLEAN,
    version=TEXT,
    started_at=INTEGER,
    began_at=NUMBER,
)
_MAP_KEY = list_of(TEXT)
SNAPSHOT = record_of(
    Snapshot,
    asked_at=NUMBER,
    worker=WORKER,
    backends=table_of(BACKEND),
    frontends=table_of(FRONTEND),
    polling=TEXT,
    entries=pairs_of(_MAP_KEY, optional(TEXT)),
    refused=pairs_of(_MAP_KEY, TEXT),
)
OBSERVATION = one_of(
    Snapshot=SNAPSHOT,
    Gone=record_of(Gone, asked_at=NUMBER, detail=TEXT),
    Unreadable=record_of(
        Unreadable,
        asked_at=NUMBER,
        began_at=NUMBER,
        missed=INTEGER,
        detail=TEXT,
        reason=REASON,
        heard_at=optional(NUMBER),
    ),
)
PROBE = record_of(
    Probe,
    asked_at=NUMBER,
    outcome=of_enum(Outcome),
    detail=TEXT,
    began_at=NUMBER,
    count=INTEGER,
    missed=INTEGER,
    failures=INTEGER,
)


def _build_check(passed: bool | None = None, **fields: Any) -> CheckObservation:  # noqa: ANN401
    return CheckObservation(passed=passed, **fields)


CHECK = record_of(
    _build_check,
    asked_at=NUMBER,
    passed=optional(BOOLEAN),
    since=NUMBER,
    detail=TEXT,
    step=optional(INTEGER),
    unseen=TEXT,
    answered=BOOLEAN,
    counted=optional(BOOLEAN),
    count=INTEGER,
)


REACH_REPORT = record_of(
    ReachReport,
    refused=table_of(table_of(row_of(Override, usable=of_enum(Usable), detail=TEXT))),
)
VIP_STATE = record_of(VipState, usable=BOOLEAN, detail=TEXT)
REGION_REPORT = record_of(
    RegionReport,
    asked_at=NUMBER,
    vips=table_of(row_of(VipReport, serves=BOOLEAN, draining=BOOLEAN)),
    detail=TEXT,
)
ROUTE = record_of(
    Route,
    neighbor=TEXT,
    prefix=TEXT,
    next_hop=TEXT,
    as_path=list_of(INTEGER),
    med=optional(INTEGER),
    communities=list_of(TEXT),
    local_pref=optional(INTEGER),
)


def _build_peer(session: Session, negotiated: Negotiated | None = None) -> NeighborReport:
    return NeighborReport(session, 0.0, negotiated=negotiated)


_PEERS = table_of(
    record_of(
        _build_peer,
        session=of_enum(Session),
        negotiated=optional(
            record_of(Negotiated, families=list_of(TEXT), hold_time=INTEGER, four_octet_as=BOOLEAN)
        ),
    )
)


_LEVELS = table_of(list_of(TEXT))


def _dump_lease(view: LeaseView) -> dict[str, Any]:
    found: dict[str, Any] = {"connected": view.connected}
    if view.report is not None:
        found["neighbors"] = _PEERS.dump(view.report.neighbors)
    if view.leased is not None:
        found["leased"] = [ROUTE.dump(route) for route in view.leased]
    if view.levels is not None:
        found["levels"] = _LEVELS.dump(view.levels)
    return found


def _build_lease(
    connected: bool,
    neighbors: Mapping[str, NeighborReport] | None = None,
    leased: tuple[Route, ...] | None = None,
    levels: Levels | None = None,
) -> LeaseView:
    report = None if neighbors is None else Report("recorded", 0, 0, None, neighbors)
    return LeaseView(connected, report, leased, levels)


LEASE = Codec(
    _dump_lease,
    record_of(
        _build_lease, connected=BOOLEAN, neighbors=_PEERS, leased=list_of(ROUTE), levels=_LEVELS
    ).load,
)
LAST_KNOWN = record_of(
    LastKnown, value=optional(BOOLEAN), began_at=NUMBER, unknown_began_at=optional(NUMBER)
)
HOP_MEMORY = record_of(
    HopMemory,
    address=TEXT,
    serve=LAST_KNOWN,
    failures=INTEGER,
    failed_at=optional(NUMBER),
    returned_at=optional(NUMBER),
)
MED_MEMORY = record_of(
    MedMemory,
    announced=optional(INTEGER),
    changed_at=optional(NUMBER),
    unknown_began_at=optional(NUMBER),
)
MEMORY = table_of(
    record_of(
        Memory,
        level=LEVEL,
        level_began_at=NUMBER,
        changed_at=optional(NUMBER),
        adopted=BOOLEAN,
        serve=LAST_KNOWN,
        healthy=LAST_KNOWN,
        sessions=LAST_KNOWN,
        maintenance=LAST_KNOWN,
        failures=INTEGER,
        failed_at=optional(NUMBER),
        returned_at=optional(NUMBER),
        restored=BOOLEAN,
        announced=BOOLEAN,
        next_hop=optional(TEXT),
        next_hops=list_of(HOP_MEMORY),
        med=MED_MEMORY,
    )
)
DRAIN = record_of(
    Drain,
    reason=TEXT,
    by=TEXT,
    began_at=NUMBER,
    wait=NUMBER,
    service=optional(TEXT),
    ends_at=optional(NUMBER),
    force=BOOLEAN,
    stopping=BOOLEAN,
    unreadable=BOOLEAN,
    withdrawn_at=table_of(NUMBER),
)
TRANSITION = row_of(
    Transition,
    service=TEXT,
    old=LEVEL,
    new=LEVEL,
    reason=REASON,
    detail=TEXT,
    evidence_at=NUMBER,
    decided_at=NUMBER,
)

PARTS: Mapping[str, Codec] = {
    "self_test": table_of(PROBE),
    "checks": table_of(CHECK),
    "reached": table_of(REACH_REPORT),
    "vips": table_of(VIP_STATE),
    "lease": LEASE,
    "regions": table_of(REGION_REPORT),
    "returned_at": table_of(NUMBER),
    "frozen_until": NUMBER,
}
"""Every part of the inputs but the looks and the drains: key -> codec."""
OF_EVIDENCE = ("self_test", "checks", "reached")
"""Those of them that belong to the evidence."""


def list_parts(inputs: Inputs) -> dict[str, Any]:
    """Return the value of each of ``PARTS`` in the inputs of a pass."""
    return {
        "self_test": inputs.evidence.self_test,
        "checks": inputs.evidence.checks or None,
        "reached": inputs.evidence.reached or None,
        "vips": inputs.vips,
        "lease": inputs.lease,
        "regions": inputs.region_reports,
        "returned_at": inputs.returned_at,
        "frozen_until": inputs.frozen_until,
    }
