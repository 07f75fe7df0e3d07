"""Build the report of the lease (stdlib only, pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from anycastd.bgp.route import Route
from anycastd.lease.adj_rib_out import AdjRibOut
from anycastd.lease.messages import Levels, Report
from anycastd.lease.neighbor import NeighborState
from anycastd.lease.outstanding import OutstandingCommands
from anycastd.lease.owner import LeaseOwner
from anycastd.lease.reconfigure import Reconfiguration
from anycastd.lease.settings import Settings


class ReportedState(Protocol):
    """State of a lease that a report is about.

    ``expires_at``: end of the lease in own time (None: nothing is leased).  ``serial``: of the
    newest Want that was accepted.  ``expirations``: how often the lease expired.  ``version``:
    ExaBGP's.  ``shortage``: what the lease process lacks.  ``errors``: what ExaBGP refused.
    """

    settings: Settings
    owner: LeaseOwner
    reconfiguration: Reconfiguration
    adj_rib_out: AdjRibOut
    outstanding: OutstandingCommands
    neighbors: dict[str, NeighborState]
    expires_at: float | None
    serial: int
    expirations: int
    version: str
    shortage: str

    @property
    def errors(self) -> Iterable[str]:
        """Return what ExaBGP refused, as text."""


def build_report(
    state: ReportedState,
    now: float,
    leased: tuple[tuple[Route, ...], Levels | None] | None,
    *,
    lost: str = "",
    refused: str = "",
) -> Report:
    """Build a report of ``state`` at ``now`` (own time, seconds).

    ``leased``: the routes on the lease, and their levels (None: as in the report before).  ``lost``
    and ``refused`` are as in Report.
    """
    unconfirmed = state.outstanding.list_unconfirmed_routes()
    return Report(
        lease_id=state.settings.lease_id,
        serial=state.serial,
        acked=state.outstanding.acked,
        expires_in=None if state.expires_at is None else max(0.0, state.expires_at - now),
        neighbors={
            address: neighbor.to_report(sum(each.neighbor == address for each in unconfirmed), now)
            for address, neighbor in state.neighbors.items()
        },
        leased=None if leased is None else leased[0],
        errors=tuple(state.errors),
        exabgp=state.version,
        config=state.reconfiguration.loaded_config,
        repairs=state.adj_rib_out.repairs,
        lost=lost,
        refused=refused,
        problems=tuple(_describe_problems(state, now)),
        vips=state.settings.vips,
        reload=state.reconfiguration.availability,
        expirations=state.expirations,
        levels=None if leased is None else leased[1],
    )


def _describe_problems(state: ReportedState, now: float) -> Iterable[str]:
    if state.shortage:
        yield state.shortage
    if state.owner.crash_looping:
        yield state.owner.describe_ban(now)
    if state.reconfiguration.problem:
        yield state.reconfiguration.problem
    for address, neighbor in state.neighbors.items():
        if flaps := neighbor.describe_flaps(now):
            yield f"neighbor {address}: {flaps}"
    yield from state.adj_rib_out.describe_refused()
