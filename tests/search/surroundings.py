"""The surroundings of one service in a search: profile, HAProxy, neighbors, the other region."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cache

from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.pipeline import LeaseView
from anycastd.decision.region_report import RegionReport, VipReport
from anycastd.evidence.haproxy.conditions import BELIEVE_WITNESS_FOR
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot, Unreadable
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import Profile
from support.profiles import profile, profile_text
from support.snapshots import NO, UNPROVED, YES, snapshot

VIP = "203.0.113.10/32"
NEIGHBORS = ("192.0.2.4", "192.0.2.5")
GRACEFUL_NEIGHBOR = NEIGHBORS[1]
"""The neighbor with `graceful_shutdown` (RFC 8326)."""
OTHER_REGION = "westeurope"
MAINTENANCE_MAP = ("/etc/haproxy/maintenance.map", "web")
"""The map, and the key of the service in it."""
DEADLINE = 3.0
FUTURE = 1e9
"""Looks never stop, so none of them may get too old: each is dated this far in the future."""

_REGIONS = ("northeurope", OTHER_REGION)


def _list_regions(*names: str) -> tuple[str, str]:
    """Return the change of the profile that lists the regions in this order."""
    rows = (f'{{name: {name}, agent: "192.0.2.{len(name)}:80"}}' for name in names)
    return "platform: plain\n", f"platform: plain\nregions: [{', '.join(rows)}]\n"


VARIANTS: dict[str, tuple[tuple[str, str], ...]] = {
    "plain": (),
    "standby": (("failed: withdraw", "failed: standby"),),
    "manual": (("return: {rise", "return: {manual: true, rise"),),
    "unsteered": (("  local_as: 65010", "  prepends_steer: false\n  local_as: 65010"),),
    "first": (_list_regions(*_REGIONS),),
    "last": (_list_regions(*reversed(_REGIONS)),),
}
"""Variants of the profile.  `first` and `last` have another region; they say where ours is listed.
"""


@cache
def build_profile(variant: str) -> Profile:
    """Build the profile of a search: that of the tests, with maintenance, drains and a variant."""
    return profile(*_list_changes(variant))


def build_profile_text(variant: str) -> str:
    """Return the text of the profile of a search."""
    return profile_text(*_list_changes(variant))


def _list_changes(variant: str) -> tuple[tuple[str, str], ...]:
    name, key = MAINTENANCE_MAP
    neighbor = f"{{address: {GRACEFUL_NEIGHBOR}, "
    return (
        ("    failed:", f"    maintenance: {{map: {name}, key: {key}}}\n    failed:"),
        (f"{neighbor}peer_as", f"{neighbor}graceful_shutdown: true, peer_as"),
        ("platform: plain\n", "platform: plain\ndrain: {wait: 6}\n"),
        *VARIANTS[variant],
    )


class HaproxyState(Enum):
    """What a look at HAProxy finds.

    ``DEGRADED``: too few servers are up to be healthy.  ``MISSED``: one look got no answer.
    ``SILENT``: no look gets an answer.  ``WITNESSED``: likewise, but its events show that it runs.
    """

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    FAILED = "failed"
    UNPROVED = "unproved"
    GONE = "gone"
    SILENT = "silent"
    MISSED = "missed"
    WITNESSED = "witnessed"

    @property
    def answers(self) -> bool:
        """Tell whether HAProxy answers."""
        return self is not HaproxyState.GONE and not self.silent

    @property
    def silent(self) -> bool:
        """Tell whether HAProxy runs, as far as anybody knows, but does not answer."""
        return self in (HaproxyState.SILENT, HaproxyState.MISSED, HaproxyState.WITNESSED)

    @property
    def believe_silent_for(self) -> float:
        """Return for how many seconds of silence the last value may count."""
        return 2 * DEADLINE + (BELIEVE_WITNESS_FOR if self is HaproxyState.WITNESSED else 0.0)


@cache
def _build_look(state: HaproxyState, *, maintenance: bool) -> Observation:
    servers = {
        HaproxyState.HEALTHY: (YES, YES, YES),
        HaproxyState.DEGRADED: (YES, NO, NO),
        HaproxyState.FAILED: (NO, NO, NO),
        HaproxyState.UNPROVED: (UNPROVED, UNPROVED, UNPROVED),
    }.get(state)
    if servers is None:
        return Gone(FUTURE, "refused")
    entries = {MAINTENANCE_MAP: "on" if maintenance else None}
    return replace(snapshot(*servers, asked_at=FUTURE), entries=entries)


def _build_neighbor(*families: str) -> NeighborReport:
    """Build the report of a neighbor whose session is up and carries ``families``."""
    return NeighborReport(Session.UP, 10.0, negotiated=Negotiated(families, 9, four_octet_as=True))


@cache
def _build_report(sessions: str) -> Report:
    up, foreign = NeighborReport(Session.UP, 10.0), _build_neighbor("ipv6")
    down = NeighborReport(Session.DOWN, 10.0)
    first, second = {
        "up": (up, up),
        "half": (up, down),
        "down": (down, down),
        "unknown": (NeighborReport(Session.UNKNOWN, 10.0), down),
        "foreign": (foreign, foreign),
        "carried": (foreign, _build_neighbor("ipv4", "ipv6")),
    }[sessions]
    neighbors = {NEIGHBORS[0]: first, NEIGHBORS[1]: second}
    return Report("search", 1, 1, 5.0, neighbors)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The state of everything around the service; times are own time, in seconds.

    ``haproxy_began_at``: when HAProxy took its state.  ``looks_stopped_at``: the time of the last
    look, None while looks go on.  ``other_region``: what the other region answers when it is asked:
    `serves`, `fails`, `draining` or `unreachable`; with `hangs` there is no new answer, and an old
    one gets older.  ``sessions``: `foreign` are up and carry another address family than the VIP's,
    of `carried` one does; of the others it is not known what they carry.
    """

    variant: str = "plain"
    haproxy: HaproxyState = HaproxyState.HEALTHY
    haproxy_began_at: float = 0.0
    looks_stopped_at: float | None = None
    sessions: str = "up"
    vip: bool = True
    maintenance: bool = False
    other_region: str = "serves"

    def look(self, now: float) -> Observation:
        """Return what the newest look at HAProxy found."""
        began_at = self.haproxy_began_at
        if self.haproxy is HaproxyState.MISSED:
            return Unreadable(now, began_at, 1, "no answer")
        if self.haproxy is HaproxyState.SILENT:
            return Unreadable(now, began_at, 1 + int(now - began_at), "no answer")
        if self.haproxy is HaproxyState.WITNESSED:
            missed = 1 + int(now - began_at)
            return Unreadable(now, began_at, missed, "no answer", heard_at=now)
        look = _build_look(self.haproxy, maintenance=self.maintenance)
        if self.looks_stopped_at is not None and isinstance(look, Snapshot):
            return replace(look, asked_at=self.looks_stopped_at)
        return look

    def serves(self, now: float) -> bool | None:
        """Tell whether the looks prove that the service can serve; None: they prove nothing."""
        if self.haproxy is HaproxyState.SILENT:
            return False if now >= self.haproxy_began_at + DEADLINE else None
        if self.haproxy is HaproxyState.WITNESSED:
            return False if now >= self.haproxy_began_at + BELIEVE_WITNESS_FOR else None
        stopped_at = self.looks_stopped_at
        if self.haproxy.answers and stopped_at is not None and now >= stopped_at + DEADLINE:
            return False
        if self.haproxy in (HaproxyState.HEALTHY, HaproxyState.DEGRADED):
            return True
        return False if self.haproxy in (HaproxyState.FAILED, HaproxyState.GONE) else None

    def believes_silence_until(self, unknown_began_at: float) -> float:
        """Return until when the last value may count while HAProxy is silent.

        ``unknown_began_at`` may be before the silence: no look that is missed ends it at once.
        """
        ends_at = unknown_began_at + self.haproxy.believe_silent_for
        return max(ends_at, self.haproxy_began_at + 2 * DEADLINE)

    def lease_view(self, leased: tuple[Route, ...] | None) -> LeaseView:
        """Return the lease as the agent sees it; a lost connection leaves the last report."""
        lost = self.sessions == "lost"
        return LeaseView(not lost, _build_report("up" if lost else self.sessions), leased)

    @property
    def has_session(self) -> bool:
        """Tell whether a session may be up that carries the VIP's address family."""
        return self.sessions not in {"down", "foreign"}

    def region_report(self, now: float) -> RegionReport:
        """Return the other region's answer to a request at ``now``."""
        if self.other_region == "unreachable":
            return RegionReport(now, detail="does not answer")
        serves, draining = self.other_region != "fails", self.other_region == "draining"
        return RegionReport(now, {VIP: VipReport(serves, draining)})

    def recover(self) -> Surroundings:
        """Return surroundings in which all is well; the state of HAProxy stays as it is."""
        return replace(self, looks_stopped_at=None, sessions="up", vip=True, maintenance=False)
