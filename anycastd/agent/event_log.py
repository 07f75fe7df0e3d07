"""The one door for events: each is logged, kept for a while, and passed to subscribers.

Call it from the agent's asyncio loop only.  Nothing here waits: what a subscriber does with an
event has to be quick, or to be done elsewhere.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from anycastd.system.printable import make_printable
from anycastd.views.events import ERROR, INFO, NOTICE, WARNING, Event, Value

log = logging.getLogger(__name__)

MAX_RECENT = 1000
"""Events that are kept in memory."""
MAX_TEXT = 1000
"""Characters of the text of an event."""
MAX_NAME = 200
"""Characters of every other text of an event."""
MAX_FIELDS = 32
"""Fields of an event."""

Subscriber = Callable[[Event], object]
"""A function that is called with each event; it must not wait."""

_LOG_LEVELS = {
    ERROR: logging.ERROR,
    WARNING: logging.WARNING,
    NOTICE: logging.INFO,
    INFO: logging.INFO,
}


class EventLog:
    """The events of one agent."""

    def __init__(self) -> None:
        self._recent: deque[Event] = deque(maxlen=MAX_RECENT)
        self._subscribers: list[Subscriber] = []
        self._failed: set[int] = set()
        self._last_number = 0

    def subscribe(self, subscriber: Subscriber) -> None:
        """Have ``subscriber`` called with each event from now on.

        One that raises is logged, once, and does not get that event; it never stops another.
        """
        self._subscribers.append(subscriber)

    def record(self, event: Event) -> Event:
        """Log an event, keep it, and pass it to the subscribers; raises nothing.

        Returns the event as it is kept: with its number, its texts printable and bounded.
        """
        # Numbers are microseconds of Unix time where the clock allows it, so that they also grow
        # over restarts.
        self._last_number = max(self._last_number + 1, time.time_ns() // 1000)
        event = replace(_clean(event), number=self._last_number)
        self._recent.append(event)
        log.log(_LOG_LEVELS[event.priority], "%s", event.text, extra={"event": event})
        for index, subscriber in enumerate(self._subscribers):
            try:
                subscriber(event)
            except Exception:
                if index not in self._failed:
                    self._failed.add(index)
                    log.exception("a part that follows the events has failed")
        return event

    def load(self, events: Iterable[Event]) -> None:
        """Put the events of earlier agents, oldest first, before those of this one."""
        own = tuple(self._recent)
        earlier = sorted(events, key=lambda event: event.number)
        self._recent = deque((*earlier, *own), maxlen=MAX_RECENT)
        self._last_number = max([self._last_number, *(event.number for event in earlier)])

    @property
    def newest(self) -> int:
        """The number of the newest event, 0 before the first."""
        return self._last_number

    def reaches(self, after: int, since: float | None) -> bool:
        """Return whether all events after a number, and from a time on, are kept here."""
        if len(self._recent) < MAX_RECENT:
            return True  # those of earlier agents are here too
        oldest = self._recent[0]
        return oldest.number <= after or (since is not None and oldest.at < since)

    def recent(self, after: int = 0, service: str | None = None) -> tuple[Event, ...]:
        """List the events that are kept, oldest first.

        ``after``: only those with a higher number.  ``service``: only those of this service, and
        those that are about no service.
        """
        return tuple(
            event
            for event in self._recent
            if event.number > after and (service is None or event.service in ("", service))
        )


def _clean(event: Event) -> Event:
    """Make all texts of an event printable, and bound them: parts come from peers and HAProxy."""
    fields = list(event.fields.items())[:MAX_FIELDS]
    return replace(
        event,
        text=make_printable(event.text, MAX_TEXT),
        service=make_printable(event.service, MAX_NAME),
        neighbor=make_printable(event.neighbor, MAX_NAME),
        haproxy=make_printable(event.haproxy, MAX_NAME),
        reason=make_printable(event.reason, MAX_NAME),
        fields={make_printable(name, MAX_NAME): _clean_value(value) for name, value in fields},
    )


def _clean_value(value: Value) -> Value:
    return make_printable(value, MAX_TEXT) if isinstance(value, str) else value
