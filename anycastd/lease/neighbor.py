"""What the lease knows of a neighbor: its session, and what ExaBGP has for it (stdlib only, pure).

All times are own time, in seconds (``anycastd.system.clock``).
"""

from __future__ import annotations

from collections import deque

from anycastd.bgp.session import Session
from anycastd.lease.messages import NeighborReport

MAX_LOSSES, FLAP_WINDOW = 3, 600.0
"""So many losses of a session in so many seconds are worth a word."""


class NeighborState:
    """One neighbor; ``rib`` is how its adj-rib-out compared when it was read, ``rib_at``."""

    def __init__(self, now: float) -> None:
        self.session = Session.UNKNOWN
        self.since = now
        self.why = ""
        self.rib = "unread"
        self.rib_at: float | None = None
        self._lost: deque[float] = deque(maxlen=100)

    def become(self, session: Session, why: str, now: float) -> bool:
        """Take the session's state; whether it is another one, or its reason is."""
        if session is self.session:
            news = bool(why) and why != self.why
            self.why = why or self.why
            return news
        if self.session is Session.UP:
            self._lost.append(now)
        self.session, self.since, self.why = session, now, why
        self.rib, self.rib_at = "unread", None
        return True

    def flaps(self, now: float) -> str:
        """Say that its session comes and goes; empty where it does not."""
        while self._lost and now - self._lost[0] >= FLAP_WINDOW:
            self._lost.popleft()
        count = len(self._lost)
        if count < MAX_LOSSES:
            return ""
        return f"its session was lost {count} times within {FLAP_WINDOW / 60:g} minutes: it flaps"

    def report(self, untold: int, now: float) -> NeighborReport:
        """Report it, with ``untold`` routes that ExaBGP has not confirmed."""
        return NeighborReport(
            session=self.session,
            since=now - self.since,
            untold=untold,
            rib=self.rib,
            rib_age=None if self.rib_at is None else round(now - self.rib_at, 3),
            why=self.why,
        )
