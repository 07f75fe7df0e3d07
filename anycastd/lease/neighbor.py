"""State of one neighbor: its session, and what the speaker has for it (stdlib only, pure).

All times are own time, in seconds (``anycastd.system.clock``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.session import NO_CONNECTION, Session
from anycastd.lease.messages import NeighborReport

MAX_LOSSES, FLAP_WINDOW = 3, 600.0
"""A session that is lost MAX_LOSSES times within FLAP_WINDOW seconds is reported as flapping."""


class NeighborState:
    """State of one neighbor.

    ``session`` is the session's state since ``changed_at``; ``detail`` is the reason as text.
    ``rib`` is the result of the newest comparison of its adj-rib-out (``agrees``, ``differs``,
    ``unread``), ``rib_at`` the time of it (None: there was none).  Both times are own time.
    ``negotiated`` is what was agreed on for the session that is up, or comes up next (None: not
    known).
    """

    def __init__(self, now: float) -> None:
        self.session = Session.UNKNOWN
        self.changed_at = now
        self.detail = ""
        self.rib = "unread"
        self.rib_at: float | None = None
        self.negotiated: Negotiated | None = None
        self._doubted: Session | None = None
        self._lost_at: deque[float] = deque(maxlen=100)
        self._lost_detail = ""

    def set_session(self, session: Session, detail: str, now: float) -> bool:
        """Set the session's state, and the reason ``detail``.

        Returns True where the state or its reason changed.
        """
        self._doubted = None
        if session is self.session:
            changed = bool(detail) and detail != self.detail
            self.detail = detail or self.detail
            return changed
        if self.session is Session.UP:
            self._lost_at.append(now)
            self._lost_detail = detail
        self.session, self.changed_at, self.detail = session, now, detail
        self.rib, self.rib_at = "unread", None
        if session is not Session.UP:
            self.negotiated = None  # that of the next session comes before it is up
        return True

    def check_session(self, session: Session) -> bool:
        """Compare the state with that in a summary; returns whether to believe the summary.

        That is so where nothing was known, or two summaries in a row say the same and no event came
        between them: an event may overtake a summary that is older.
        """
        if session is self.session:
            self._doubted = None
            return False
        believed = self.session is Session.UNKNOWN or session is self._doubted
        self._doubted = None if believed else session
        return believed

    @property
    def is_doubtful(self) -> bool:
        """Return whether the newest summary says something else than the events."""
        return self._doubted is not None

    def set_negotiated(self, negotiated: Negotiated) -> bool:
        """Set what was agreed on for its session; returns True where a report changes by it."""
        changed = negotiated != self.negotiated
        self.negotiated = negotiated
        return changed and self.session is Session.UP

    def set_rib(self, *, agrees: bool, now: float) -> None:
        """Set the result of a comparison of its adj-rib-out."""
        self.rib = "agrees" if agrees else "differs"
        self.rib_at = now

    def describe_flaps(self, now: float) -> str:
        """Describe that the session flaps; returns a sentence, empty where it does not flap."""
        while self._lost_at and now - self._lost_at[0] >= FLAP_WINDOW:
            self._lost_at.popleft()
        count = len(self._lost_at)
        if count < MAX_LOSSES:
            return ""
        last = f"; the last time: {self._lost_detail}" if self._lost_detail else ""
        minutes = FLAP_WINDOW / 60
        return f"its session was lost {count} times within {minutes:g} minutes: it flaps{last}"

    def to_report(self, unconfirmed: int, now: float) -> NeighborReport:
        """Build the report of this neighbor.

        ``unconfirmed``: number of routes that ExaBGP has not confirmed.
        """
        return NeighborReport(
            session=self.session,
            session_age=now - self.changed_at,
            unconfirmed=unconfirmed,
            rib=self.rib,
            rib_age=None if self.rib_at is None else round(now - self.rib_at, 3),
            detail=self.detail,
            negotiated=self.negotiated if self.session is Session.UP else None,
        )


def compare_sessions(
    neighbors: Mapping[str, NeighborState], sessions: Mapping[str, Session]
) -> tuple[list[tuple[str, Session, str]], bool]:
    """Compare what is known of the sessions with a summary of ExaBGP's.

    Returns what has changed, as (address, state, reason), and whether to ask once more: the summary
    differs from the events.  So no event that was lost, or could not be read, is missed for ever.
    """
    changes = []
    for address, neighbor in neighbors.items():
        session = sessions.get(address, Session.DOWN)
        if neighbor.check_session(session):
            # No reason is known: it was given before this process started, or there was none.
            known = session is Session.UP or neighbor.session is Session.DOWN
            changes.append((address, session, "" if known else NO_CONNECTION))
    return changes, any(neighbor.is_doubtful for neighbor in neighbors.values())
