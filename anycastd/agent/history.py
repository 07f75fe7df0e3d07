"""Record every change of level: its cause, its evidence, and how long each stage of it took.

A change is decided by a pass, sent to the lease process with the Want of that pass, and
acknowledged when ExaBGP has confirmed everything in that Want.  It is recorded when it is
acknowledged, or when it is certain that it will not be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from anycastd.decision.policy import Transition

ACKNOWLEDGE_TIMEOUT = 5.0
"""Seconds after which a change is recorded although it is not acknowledged."""
MAX_TRANSITIONS = 1000
"""Finished changes that are remembered."""


class History:
    """The changes under way and the last finished ones; all times are own time, in seconds.

    ``on_finished`` is called once for each change, when no more will become known about it.
    ``finished`` are these changes, oldest first.
    """

    def __init__(self, on_finished: Callable[[Transition], None]) -> None:
        self.finished: deque[Transition] = deque(maxlen=MAX_TRANSITIONS)
        self._on_finished = on_finished
        self._open: deque[tuple[int, Transition]] = deque()  # with the serial of the Want

    def record_decided(
        self, transitions: Iterable[Transition], serial: int | None, now: float
    ) -> None:
        """Record what a pass decided.

        It was sent at ``now`` (own time) in the Want ``serial``; None: it was not sent.
        """
        for transition in transitions:
            if serial is None:
                self._finish(transition)
            else:
                self._open.append((serial, replace(transition, sent_at=now)))
        while self._open and now - (self._open[0][1].sent_at or now) >= ACKNOWLEDGE_TIMEOUT:
            self._finish(self._open.popleft()[1])

    def record_acknowledged(self, serial: int, now: float) -> None:
        """Record that at ``now`` (own time) ExaBGP had confirmed all Wants up to ``serial``."""
        while self._open and self._open[0][0] <= serial:
            self._finish(replace(self._open.popleft()[1], acknowledged_at=now))

    def close(self) -> None:
        """Finish all changes under way: the agent ends and hears no acknowledgement any more."""
        while self._open:
            self._finish(self._open.popleft()[1])

    def list_transitions(self, service: str) -> tuple[Transition, ...]:
        """List the changes of one service, finished or under way, newest first."""
        under_way = [transition for _, transition in self._open]
        newest_first = reversed((*self.finished, *under_way))
        return tuple(each for each in newest_first if each.service == service)

    def _finish(self, transition: Transition) -> None:
        self.finished.append(transition)
        self._on_finished(transition)
