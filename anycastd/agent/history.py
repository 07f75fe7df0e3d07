"""Every change of level, told once: its cause, its evidence, and what each stage of it took.

A change is decided by a pass, sent to the lease with the pass's Want, and acknowledged when ExaBGP
has confirmed all of that Want.  It is told when that is so, or when it will not be any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from anycastd.decision.policy import Transition

ACKNOWLEDGE_TIMEOUT = 5.0
"""Seconds after which a change is told although nobody acknowledged it."""
MAX_TRANSITIONS = 1000
"""Changes that are remembered."""


class History:
    """Keep the changes under way and those that are over; times are own time, in seconds.

    ``tell`` is called once for each change, as soon as all is known of it that will be.
    """

    def __init__(self, tell: Callable[[Transition], None]) -> None:
        self.finished: deque[Transition] = deque(maxlen=MAX_TRANSITIONS)
        self._tell = tell
        self._open: deque[tuple[int, Transition]] = deque()

    def record_decided(
        self, transitions: Iterable[Transition], serial: int | None, now: float
    ) -> None:
        """Take what a pass decided, sent at ``now`` with Want ``serial`` (None: not sent)."""
        for transition in transitions:
            if serial is None:
                self._end(transition)
            else:
                self._open.append((serial, replace(transition, sent_at=now)))
        while self._open and now - (self._open[0][1].sent_at or now) >= ACKNOWLEDGE_TIMEOUT:
            self._end(self._open.popleft()[1])

    def record_acknowledged(self, serial: int, now: float) -> None:
        """Take it that all Wants up to ``serial`` are confirmed."""
        while self._open and self._open[0][0] <= serial:
            self._end(replace(self._open.popleft()[1], acknowledged_at=now))

    def close(self) -> None:
        """Tell what is still under way: nobody will hear of it any more."""
        while self._open:
            self._end(self._open.popleft()[1])

    def list_transitions(self, service: str) -> tuple[Transition, ...]:
        """Give the changes of one service, newest first."""
        under_way = [each for _, each in self._open]
        return tuple(
            each for each in reversed((*self.finished, *under_way)) if each.service == service
        )

    def _end(self, transition: Transition) -> None:
        self.finished.append(transition)
        self._tell(transition)


def describe_transition(transition: Transition) -> str:
    """Say a change in one line, with what each stage took."""
    detail = f" ({transition.detail})" if transition.detail else ""
    stages = [f"decided {_ms(transition.evidence_at, transition.decided_at)} after the evidence"]
    if transition.sent_at is None:
        stages.append("not sent")
    else:
        stages.append(f"sent {_ms(transition.decided_at, transition.sent_at)} later")
        if transition.acknowledged_at is None:
            stages.append("not acknowledged")
        else:
            took = _ms(transition.sent_at, transition.acknowledged_at)
            stages.append(f"acknowledged {took} later")
    return (
        f"{transition.service}: {transition.old.word} -> {transition.new.word}: "
        f"{transition.reason.sentence}{detail}; {', '.join(stages)}"
    )


def _ms(since: float, until: float) -> str:
    return f"{1000 * max(0.0, until - since):.1f} ms"
