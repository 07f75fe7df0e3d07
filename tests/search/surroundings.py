"""What surrounds one service in a search: its profile, HAProxy, neighbors, the other region."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cache

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.pipeline import LeaseView
from anycastd.decision.region_report import RegionReport, VipReport
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot, Unreadable
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import Profile
from support.profiles import profile
from support.snapshots import NO, UNPROVED, YES, snapshot

VIP = "203.0.113.10/32"
PEERS = ("192.0.2.4", "192.0.2.5")
GENTLE = PEERS[1]
"""The neighbor that is told of drains (RFC 8326)."""
OTHER = "westeurope"
MAP = ("/etc/haproxy/maintenance.map", "web")
"""The maintenance map, and the key of the service in it."""
DEADLINE = 3.0
AHEAD = 1e9
"""Looks go on all the time, so none of them gets too old: each is dated so far ahead."""

_REGIONS = ("northeurope", OTHER)


def _listed(*names: str) -> tuple[str, str]:
    """Give the change that lists the regions in this order."""
    rows = (f'{{name: {name}, agent: "192.0.2.{len(name)}:80"}}' for name in names)
    return "platform: plain\n", f"platform: plain\nregions: [{', '.join(rows)}]\n"


VARIANTS: dict[str, tuple[tuple[str, str], ...]] = {
    "plain": (),
    "standby": (("failed: withdraw", "failed: standby"),),
    "manual": (("return: {rise", "return: {manual: true, rise"),),
    "unsteered": (("  local_as: 65010", "  prepends_steer: false\n  local_as: 65010"),),
    "first": (_listed(*_REGIONS),),
    "last": (_listed(*reversed(_REGIONS)),),
}
"""Kinds of profiles; in the last two there is another region, and ours is listed there."""


@cache
def searched(variant: str) -> Profile:
    """Give the profile under search: the tests' own with all that may move it, and a variant."""
    return profile(
        ("    failed:", f"    maintenance: {{map: {MAP[0]}, key: {MAP[1]}}}\n    failed:"),
        (f"{{address: {GENTLE}, peer_as", f"{{address: {GENTLE}, graceful_shutdown: true, peer_as"),
        ("platform: plain\n", "platform: plain\ndrain: {wait: 6}\n"),
        *VARIANTS[variant],
    )


class Shown(Enum):
    """What HAProxy shows; ``SILENT`` leaves look after look unanswered, ``HUNG`` a single one."""

    WELL = "well"
    LESS = "less"
    FAILED = "failed"
    UNPROVED = "unproved"
    GONE = "gone"
    SILENT = "silent"
    HUNG = "hung"

    @property
    def answers(self) -> bool:
        """Whether there is somebody who answers."""
        return self not in (Shown.GONE, Shown.SILENT, Shown.HUNG)


@cache
def _look(shown: Shown, *, planned: bool) -> Observation:
    servers = {
        Shown.WELL: (YES, YES, YES),
        Shown.LESS: (YES, NO, NO),
        Shown.FAILED: (NO, NO, NO),
        Shown.UNPROVED: (UNPROVED, UNPROVED, UNPROVED),
    }.get(shown)
    if servers is None:
        return Gone(AHEAD, "refused")
    return replace(snapshot(*servers, asked_at=AHEAD), entries={MAP: "on" if planned else None})


@cache
def _report(sessions: str) -> Report:
    one, other = {
        "up": (Session.UP, Session.UP),
        "half": (Session.UP, Session.DOWN),
        "down": (Session.DOWN, Session.DOWN),
        "unknown": (Session.UNKNOWN, Session.DOWN),
    }[sessions]
    peers = {PEERS[0]: NeighborReport(one, 10.0), PEERS[1]: NeighborReport(other, 10.0)}
    return Report("search", 1, 1, 5.0, peers)


@dataclass(frozen=True, slots=True)
class Weather:
    """What is so around the service; ``since`` when HAProxy shows what it shows.

    ``blind``: since when no look is taken any more.  ``other``: what the other region says when it
    is asked: that it serves, fails or leaves; that it cannot be reached; or nothing, so that an
    older answer gets older.
    """

    variant: str = "plain"
    shown: Shown = Shown.WELL
    since: float = 0.0
    blind: float | None = None
    sessions: str = "up"
    vip: bool = True
    planned: bool = False
    other: str = "serves"

    def look(self, now: float) -> Observation:
        """Give what a look at ``now`` finds, or the last one found that was taken."""
        if self.shown is Shown.HUNG:
            return Unreadable(now, self.since, 1, "no answer")
        if self.shown is Shown.SILENT:
            return Unreadable(now, self.since, 1 + int(now - self.since), "no answer")
        look = _look(self.shown, planned=self.planned)
        if self.blind is not None and isinstance(look, Snapshot):
            return replace(look, asked_at=self.blind)
        return look

    def known(self, now: float) -> bool | None:
        """Whether the looks prove that somebody serves, that nobody does, or neither."""
        if self.shown is Shown.SILENT:
            return False if now - self.since >= DEADLINE else None
        if self.shown.answers and self.blind is not None and now >= self.blind + DEADLINE:
            return False
        if self.shown in (Shown.WELL, Shown.LESS):
            return True
        return False if self.shown in (Shown.FAILED, Shown.GONE) else None

    def lease(self, held: tuple[Route, ...] | None) -> LeaseView:
        """Give the lease as the agent sees it; of a lost connection the last report is left."""
        lost = self.sessions == "lost"
        return LeaseView(not lost, _report("up" if lost else self.sessions), held)

    def answer(self, now: float) -> RegionReport:
        """Give the other region's answer to a question at ``now``."""
        if self.other == "unreachable":
            return RegionReport(now, detail="does not answer")
        return RegionReport(now, {VIP: VipReport(self.other != "fails", self.other == "leaves")})

    def calm(self) -> Weather:
        """Give better weather, HAProxy as it is."""
        return replace(self, blind=None, sessions="up", vip=True, planned=False)
