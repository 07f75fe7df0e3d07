"""Turn what the parts of the agent report into events."""

from __future__ import annotations

import time

from anycastd.agent.event_log import EventLog
from anycastd.decision.policy import Transition
from anycastd.profile.model import Profile
from anycastd.system.clock import OwnTime
from anycastd.views.transition_event import build_transition_event


class EventRecorder:
    """It records the events of one agent in ``events``."""

    def __init__(self, profile: Profile, clock: OwnTime, events: EventLog) -> None:
        self._profile = profile
        self._clock = clock
        self._events = events

    def record_transition(self, transition: Transition) -> None:
        """Record a change of level, once it is known what each of its stages took."""
        at = time.time() - (self._clock.now() - transition.decided_at)
        self._events.record(build_transition_event(self._profile, transition, at))
