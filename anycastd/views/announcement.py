"""What is known of the route of a service at each neighbor, and whether the service is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anycastd.bgp.negotiated import name_family
from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.pipeline import Inputs, PassResult
from anycastd.decision.policy import Decision
from anycastd.decision.routes import Announced, build_wanted_path, build_wanted_routes
from anycastd.decision.sessions import is_family_negotiated
from anycastd.evidence.finding import Truth
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import Profile
from anycastd.views.status_values import Announcement


def build_announcements(
    profile: Profile,
    decision: Decision,
    leased: Mapping[tuple[str, str], Route],
    report: Report | None,
    *,
    leaving: bool,
) -> dict[str, Announcement]:
    """Build the announcement of the service of a decision at each neighbor, by its address.

    ``leased``: the routes that the lease has, by ``Route.key``.  ``leaving``: a drain covers the
    service.
    """
    service = profile.services[decision.service]
    left = (service.name,) if leaving else ()
    announced = Announced(service, decision.level, decision.next_hop, decision.med)
    wanted = {route.neighbor: route for route in build_wanted_routes(profile, [announced], left)}
    return {
        address: _build_announcement(
            wanted.get(address),
            leased.get((address, service.prefix)),
            None if report is None else report.neighbors.get(address),
            name_family(service.prefix),
        )
        for address in (str(neighbor.address) for neighbor in profile.bgp.neighbors)
    }


def is_serving(
    decision: Decision, path: Sequence[int] | None, announcements: Mapping[str, Announcement]
) -> bool:
    """Tell whether a service is announced to a neighbor, and `serve` is not false.

    ``path`` is the AS path of its level, None: it is not announced.
    """
    return (
        path is not None
        and decision.verdict.serve.truth is not Truth.FALSE
        and any(each.in_sync and each.wanted is not None for each in announcements.values())
    )


def list_serving(profile: Profile, inputs: Inputs, step: PassResult) -> dict[str, bool]:
    """Map each service to whether it is served, as after the pass ``step``."""
    report = inputs.lease.report if inputs.lease.connected else None
    leased = {route.key: route for route in inputs.lease.leased or ()}
    serving = {}
    for name, decision in step.decisions.items():
        leaving = bool(step.drain_effects.get(name))
        announcements = build_announcements(profile, decision, leased, report, leaving=leaving)
        path = build_wanted_path(profile, profile.services[name], decision.level)
        serving[name] = is_serving(decision, path, announcements)
    return serving


def _build_announcement(
    wanted: Route | None, leased: Route | None, peer: NeighborReport | None, family: str
) -> Announcement:
    session = Session.UNKNOWN if peer is None else peer.session
    rib = "unread" if peer is None else peer.rib
    confirmed = wanted == leased and peer is not None and peer.unconfirmed == 0
    negotiated = is_family_negotiated(peer, family)
    carried = session is Session.UP and negotiated is not False
    return Announcement(
        wanted=None if wanted is None else wanted.as_path,
        acknowledged=None if leased is None or (peer and peer.unconfirmed) else leased.as_path,
        rib=rib,
        session=session.value,
        in_sync=confirmed and rib != "differs" and (wanted is None or carried),
        negotiated=negotiated,
        local_pref=None if wanted is None else wanted.local_pref,
    )
