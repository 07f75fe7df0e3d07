"""Which agent holds the lease, and what is thought of agents that come and go (stdlib only, pure).

One holder at a time: the newest epoch wins, since a later agent was started because the earlier
one is not wanted any more.  An agent that crashes again and again is worse than none: each of its
lives may renew what the next one cannot watch.  So:

* A *crash* is a holder whose connection went away without a word, followed by another agent.  One
  that says that it leaves (a reload, a stop) is none, nor is one that a newer agent replaced.
* ``CRASHES`` of them within ``WITHIN`` seconds, and agents are barred: nothing that they want is
  announced, until one of them has stayed for ``WITHIN`` seconds.

All times are own time, in seconds (``anycastd.system.clock``).
"""

from __future__ import annotations

from collections import deque

from anycastd.lease.messages import Want

MAX_CRASHES, CRASH_WINDOW = 5, 60.0


class LeaseOwner:
    """Who holds the lease: ``connection`` (None: nobody at the moment), ``epoch``, ``pid``."""

    def __init__(self) -> None:
        self.connection: int | None = None
        self.epoch = 0
        self.pid = 0
        self.barred = False
        self._since = 0.0
        self._leaving = True
        self._crashes: deque[float] = deque(maxlen=MAX_CRASHES)

    def late(self, connection: int, want: Want) -> bool:
        """Whether ``want`` comes from an agent that was started before the one that holds."""
        return connection != self.connection and want.epoch < self.epoch

    def take(self, connection: int, want: Want, now: float) -> int | None:
        """Let the agent hold that said ``want``; give the connection that it was taken from."""
        taken_from = None
        if connection != self.connection:
            taken_from = self.connection
            if want.epoch != self.epoch:
                self._judge(crashed=taken_from is None and not self._leaving, now=now)
            self.connection, self.epoch, self.pid = connection, want.epoch, want.pid
        self._leaving = want.leaving
        return taken_from

    def gone(self, connection: int) -> None:
        """Forget a connection; the lease itself lives on until its time is over."""
        if connection == self.connection:
            self.connection = None

    def patience(self, now: float) -> bool:
        """Let time pass; True at the moment at which agents are not barred any more."""
        if self.barred and self.connection is not None and now - self._since >= CRASH_WINDOW:
            self.barred = False
            self._crashes.clear()
            return True
        return False

    def sentence(self, now: float) -> str:
        """Say why nothing is announced while agents are barred."""
        left = max(0.0, self._since + CRASH_WINDOW - now)
        return (
            f"agents crashed {MAX_CRASHES} times within {CRASH_WINDOW:g} s: nothing is announced until one "
            f"stays for {CRASH_WINDOW:g} s, {left:.0f} s more; its log says why it ends"
        )

    def _judge(self, *, crashed: bool, now: float) -> None:
        self._since = now
        if crashed:
            self._crashes.append(now)
            if len(self._crashes) == MAX_CRASHES and now - self._crashes[0] <= CRASH_WINDOW:
                self.barred = True
