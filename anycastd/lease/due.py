"""When time alone gives the lease something to do (stdlib only, pure).

Nearly all ticks of an idle lease process change nothing.  So it asks here after each event, and
runs the state machine only when something is due.
"""

from __future__ import annotations

import math

from anycastd.lease.reconfigure import ReconfigurePhase
from anycastd.lease.reports import ReportedState

ALWAYS = 0.0
"""Something may be due at each tick."""


def find_due_at(state: ReportedState) -> float:
    """Find when a tick of ``state`` may have an effect, if no event comes before (own time).

    It may be earlier than that, never later.
    """
    if state.owner.crash_looping or state.reconfiguration.phase is not ReconfigurePhase.IDLE:
        return ALWAYS
    settings = state.settings
    return min(
        math.inf if state.expires_at is None else state.expires_at,
        state.outstanding.find_due_at(settings.answer_timeout, settings.ping_interval),
        state.adj_rib_out.find_read_due_at(settings),
    )
