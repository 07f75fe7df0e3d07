"""BGP sessions that were lost and found, as events (pure).

They are found by the differences between two reports of the lease, so that none is missed that a
report has seen, and none is told twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from anycastd.bgp.session import Session
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import Profile
from anycastd.system.instants import format_duration
from anycastd.views.events import Event, EventKind, Value

WORDS_TIMEOUT = 2.0
"""Seconds that the event of a lost session waits for the reason, which may come a report later."""
RESTART_MARGIN = 2.0
"""Seconds by which a session must be younger than the one before it to count as another one."""


_REMEDY = re.compile(r"; |: see whether ")
"""Where the remedy begins in the reason of a session that is down; the status shows it."""


@dataclass(frozen=True, slots=True)
class KnownSession:
    """What is known of the session with one neighbor.

    ``session`` is its last state since ``began_at`` (Unix time).  ``lost_after`` are the seconds
    that a lost session was up, while its event waits for the reason; else None.  ``was_up``: it was
    up at some time, so its losses are events.
    """

    session: Session
    began_at: float
    lease_id: str
    lost_after: float | None = None
    was_up: bool = False


Sessions = Mapping[str, KnownSession]
"""Address of a neighbor -> what is known of its session."""


def find_session_events(
    profile: Profile, before: Sessions, report: Report, at: float
) -> tuple[Sessions, list[Event]]:
    """Compare ``report``, which came at ``at`` (Unix time), with what was known ``before``.

    Returns what is known now, and the events.  The first report of a neighbor is no event: an agent
    that starts finds sessions that are up.  Nor is a state that is not known, as that of a lease
    process that has just started: the state before it counts on.
    """
    known = dict(before)
    events = []
    numbers = {str(each.address): each.peer_as for each in profile.bgp.neighbors}
    for address, peer in report.neighbors.items():
        old = before.get(address)
        was_up = peer.session is Session.UP or (old is not None and old.was_up)
        state = KnownSession(peer.session, at - peer.session_age, report.lease_id, was_up=was_up)
        if old is None:
            known[address] = state
            continue
        if peer.session is Session.UNKNOWN:
            continue
        known[address], event = _compare(_name(address, numbers), old, state, peer, at)
        if event is not None:
            events.append(replace(event, neighbor=address))
    return known, events


def _compare(
    name: str, old: KnownSession, new: KnownSession, peer: NeighborReport, at: float
) -> tuple[KnownSession, Event | None]:
    """Compare two states of one session; returns what is known now, and the event, if any."""
    if new.session is Session.DOWN:
        lost_after = old.lost_after
        if old.session is Session.UP:
            lost_after = max(0.0, new.began_at - old.began_at)
        if lost_after is None:
            return new, None
        if not peer.detail and at - new.began_at < WORDS_TIMEOUT:
            return replace(new, lost_after=lost_after), None
        return new, _lost(name, new.began_at, peer.detail, lost_after)
    if old.session is Session.UP:
        same = old.lease_id != new.lease_id or new.began_at - old.began_at < RESTART_MARGIN
        if same:
            return replace(new, began_at=old.began_at), None
        return new, _found(name, new.began_at, peer, "again: it was lost and came back at once")
    down = max(0.0, new.began_at - old.began_at)
    spent = (
        f"after {format_duration(down)} down"
        if old.session is Session.DOWN
        else "for the first time"
    )
    return new, _found(name, new.began_at, peer, spent)


def _lost(name: str, at: float, why: str, lost_after: float) -> Event:
    fields: dict[str, Value] = {"why": why, "up_s": round(lost_after, 1)}
    if code := re.search(r"\((\d+)/(\d+)\)", why):
        fields |= {"code": int(code[1]), "subcode": int(code[2])}
    cause = _REMEDY.split(why)[0] or "no reason is known"
    text = f"neighbor {name}: session lost after {format_duration(lost_after)}: {cause}"
    return Event(at, EventKind.SESSION_LOST, text, fields=fields)


def _found(name: str, at: float, peer: NeighborReport, spent: str) -> Event:
    agreed = peer.negotiated
    fields: dict[str, Value] = {}
    more = ""
    if agreed is not None:
        fields["hold_time_s"] = agreed.hold_time
        more = f" (hold time {agreed.hold_time} s)"
    return Event(
        at, EventKind.SESSION_FOUND, f"neighbor {name}: session up {spent}{more}", fields=fields
    )


def _name(address: str, numbers: Mapping[str, int]) -> str:
    return f"{address} AS {numbers[address]}" if address in numbers else address
