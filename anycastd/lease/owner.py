"""Which agent owns the lease, and the ban on agents that crash in a loop (stdlib only, pure).

There is one owner at a time, and the newest epoch wins: a later agent was started to replace the
earlier one.  An agent that crashes in a loop is worse than no agent: each start renews routes that
the next crash leaves without supervision.  So:

* A *crash* is an owner whose connection closed without notice, followed by another agent.  An
  agent that announced its end (a reload, a stop) has not crashed, nor has one that a newer agent
  replaced.
* MAX_CRASHES of them within CRASH_WINDOW seconds start a ban: nothing that agents want is
  announced, until one of them has stayed for CRASH_WINDOW seconds.

All times are own time, in seconds (``anycastd.system.clock``).
"""

from __future__ import annotations

from collections import deque

from anycastd.lease.intake import Sender
from anycastd.lease.messages import Want

MAX_CRASHES, CRASH_WINDOW = 5, 60.0
"""MAX_CRASHES crashes within CRASH_WINDOW seconds start the ban on agents."""


class LeaseOwner:
    """The agent that owns the lease, and the ban on agents that crash in a loop.

    ``connection`` is the number of its connection (None: not connected).  ``epoch`` and ``pid`` are
    those of its newest Want.  ``crash_looping``: agents are banned now.
    """

    def __init__(self) -> None:
        self.connection: int | None = None
        self.epoch = 0
        self.pid = 0
        self.crash_looping = False
        self._began_at = 0.0
        self._leaving = True
        self._crashed_at: deque[float] = deque(maxlen=MAX_CRASHES)

    def owns(self, connection: int, sender: Sender) -> bool:
        """Return whether the owner sends on this connection.

        A reload keeps the agent's process, but not its connection.
        """
        return connection == self.connection or self.pid in sender.pids

    def is_stale(self, connection: int, epoch: int, *, leased: bool) -> bool:
        """Return whether ``epoch`` is that of an agent that was started before the owner.

        ``leased``: the lease runs.  The order of agents counts only while the owner is connected or
        its lease runs, so that no message shuts all later agents out.
        """
        alive = leased or self.connection is not None
        return alive and connection != self.connection and epoch < self.epoch

    def acquire(self, connection: int, want: Want, now: float) -> int | None:
        """Make the agent that sent ``want`` the owner.

        Returns the connection of the agent that loses the lease, None where there is none.
        """
        loser = None
        if connection != self.connection:
            loser = self.connection
            if want.epoch != self.epoch:
                self._count_start(after_crash=loser is None and not self._leaving, now=now)
            self.connection, self.epoch, self.pid = connection, want.epoch, want.pid
        self._leaving = want.leaving
        return loser

    def disconnect(self, connection: int) -> None:
        """Handle the end of a connection; the lease itself stays valid until it expires."""
        if connection == self.connection:
            self.connection = None

    def tick(self, now: float) -> bool:
        """Advance time to ``now``; returns True exactly once, when the ban on agents ends."""
        if (
            self.crash_looping
            and self.connection is not None
            and now - self._began_at >= CRASH_WINDOW
        ):
            self.crash_looping = False
            self._crashed_at.clear()
            return True
        return False

    def describe_ban(self, now: float) -> str:
        """Describe the ban for operators: why nothing is announced, and for how many seconds."""
        left = max(0.0, self._began_at + CRASH_WINDOW - now)
        return (
            f"agents crashed {MAX_CRASHES} times within {CRASH_WINDOW:g} s: nothing is announced "
            f"until one stays for {CRASH_WINDOW:g} s, {left:.0f} s more; its log says why it ends"
        )

    def _count_start(self, *, after_crash: bool, now: float) -> None:
        self._began_at = now
        if after_crash:
            self._crashed_at.append(now)
            if len(self._crashed_at) == MAX_CRASHES and now - self._crashed_at[0] <= CRASH_WINDOW:
                self.crash_looping = True
