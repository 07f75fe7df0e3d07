"""Commands that the speaker has not answered yet (stdlib only, pure).

All times are own time, in seconds (``anycastd.system.clock``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from anycastd.bgp.route import Route
from anycastd.lease.commands import Announce, Answer, Command, Withdraw
from anycastd.lease.effects import Effect, SendCommand


class OutstandingCommands:
    """Queue of the commands that are not answered yet, oldest first.

    ``acked`` is the serial of the newest Want of which the speaker has answered all commands.
    """

    def __init__(self, now: float) -> None:
        self.acked = 0
        self._queue: deque[tuple[Command, float]] = deque()  # command, time of sending
        self._sent = 0  # commands for routes
        self._confirmed = 0
        self._marks: deque[tuple[int, int]] = deque()  # value of _sent, serial of the Want
        self._sent_at = now

    def send(self, commands: Iterable[Command], now: float) -> list[Effect]:
        """Send commands.  Returns the effects to carry out."""
        effects: list[Effect] = []
        for command in commands:
            if isinstance(command, Announce | Withdraw):
                self._sent += 1
            self._queue.append((command, now))
            self._sent_at = now
            effects.append(SendCommand(command))
        return effects

    def confirm_answer(self, answer: Answer) -> None:
        """Remove the oldest command that ``answer`` belongs to; an unknown one changes nothing."""
        for index, (command, _) in enumerate(self._queue):
            if command == answer.command:  # a ping overtakes others: ExaBGP answers it at once
                del self._queue[index]
                break
        if isinstance(answer.command, Announce | Withdraw):
            self._confirmed += 1

    def mark_want(self, serial: int) -> None:
        """Mark that the Want ``serial`` is confirmed once all that was sent so far is answered."""
        self._marks.append((self._sent, serial))

    def update_acked(self) -> bool:
        """Update ``acked``.  Returns True where it changed."""
        acked = self.acked
        while self._marks and self._marks[0][0] <= self._confirmed:
            acked = self._marks.popleft()[1]
        changed = acked != self.acked
        self.acked = acked
        return changed

    def reset_acked(self) -> None:
        """Reset ``acked`` to 0 for another agent, which counts its own serials."""
        self.acked = 0
        self._marks.clear()

    def list_unconfirmed_routes(self) -> list[Route]:
        """Return the routes whose announcement or withdrawal is not answered yet."""
        return [
            command.route for command, _ in self._queue if isinstance(command, Announce | Withdraw)
        ]

    def is_waiting(self) -> bool:
        """Return whether any command is outstanding."""
        return bool(self._queue)

    def pop_overdue(self, timeout: float, now: float) -> Command | None:
        """Remove all commands if the oldest one has waited for ``timeout`` seconds.

        Returns the oldest command; None, and removes nothing, where none is overdue.
        """
        if not self._queue or now < self._queue[0][1] + timeout:
            return None
        command = self._queue[0][0]
        self._queue.clear()
        return command

    def find_due_at(self, timeout: float, interval: float) -> float:
        """Find when the oldest command is overdue, or a ping is due where none is outstanding.

        ``timeout`` and ``interval`` (seconds) are those of ``pop_overdue`` and ``is_ping_due``.
        """
        return self._queue[0][1] + timeout if self._queue else self._sent_at + interval

    def is_ping_due(self, interval: float, now: float) -> bool:
        """Return whether nothing was sent for ``interval`` seconds, so that a ping is due."""
        return now >= self._sent_at + interval
