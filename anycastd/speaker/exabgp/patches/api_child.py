"""Patches for an API child that dies or hangs."""

# ruff: noqa: ANN401 - ExaBGP has no types

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from anycastd.speaker.exabgp.contract import WATCH_COMMENT
from anycastd.speaker.exabgp.modules import ApplyPatch, load_module, require_names

MAX_SILENCE = 5.0  # seconds; a child that asks to be watched sends something every second
MAX_REASON = 1000  # characters of the reason for the end of a session
MAX_TURN = 0.1  # seconds that one turn of ExaBGP's loop counts at most


def survive_child_death() -> ApplyPatch:
    """Drop what cannot be written to an API child that has died.

    Otherwise a child that dies while much is written to it makes ExaBGP end, or keep its
    sessions without serving them until the peers' hold timers expire.  ExaBGP finds the death by
    itself, when it reads, and starts the child again.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    module = load_module("exabgp.reactor.api.processes")
    processes, error = module.Processes, module.ProcessError
    original = processes.write
    require_names(original, "_broken", "_process")
    if "_handle_problem" in original.__code__.co_names:
        raise AttributeError("exabgp.reactor.api.processes: Processes.write handles the problem")

    def write(self: Any, process: str, string: str | None, neighbor: Any = None) -> bool:
        try:
            return bool(original(self, process, string, neighbor))
        except error:
            # A process that stays in _broken would stop the peers for good.
            self._broken[:] = [name for name in self._broken if name != process]
            return True

    def apply() -> None:
        processes.write = write

    return apply


class ChildWatchdog:
    """A watchdog of the API child: it measures how long the child has sent nothing.

    It counts at most ``MAX_TURN`` seconds for each call of ``is_expired``, so that stalls of ExaBGP
    itself do not count.
    """

    def __init__(self) -> None:
        self._armed = False
        self._silence = 0.0
        self._seen_at = time.monotonic()

    def receive(self, command: str) -> None:
        """Record that the child sent a line; the line ``WATCH_COMMENT`` arms the watchdog."""
        self._silence = 0.0
        self._armed = self._armed or command.startswith(WATCH_COMMENT)

    def is_expired(self) -> bool:
        """Count the time since the last call, and return whether the silence was too long.

        It is too long after ``MAX_SILENCE`` seconds, once the watchdog is armed.  After it returned
        True it counts from zero.
        """
        now = time.monotonic()
        self._silence += min(now - self._seen_at, MAX_TURN)
        self._seen_at = now
        if not self._armed or self._silence < MAX_SILENCE:
            return False
        self._silence = 0.0
        return True


def kill_hanging_child() -> ApplyPatch:
    """Kill an API child that asked to be watched and sends nothing for ``MAX_SILENCE`` seconds.

    ExaBGP then starts another one.  It never does anything about a child that hangs.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    processes = load_module("exabgp.reactor.api.processes").Processes
    original = processes.received
    require_names(original, "_process", "_handle_problem")
    watchdog = ChildWatchdog()

    def received(self: Any) -> Iterator[tuple[str, str]]:
        for process, command in original(self):
            watchdog.receive(command)
            yield process, command
        if watchdog.is_expired():
            sys.stderr.write(
                f"anycastd speaker: the lease process sent nothing for {MAX_SILENCE:g} s; "
                "killing it\n"
            )
            for child in list(self._process.values()):
                child.kill()

    def apply() -> None:
        processes.received = received

    return apply


def clean_reasons() -> ApplyPatch:
    """Make the reason for the end of a session printable ASCII before the API child gets it.

    A part of it comes from the peer: the data of its NOTIFICATION.  4.2 writes it as it is: a
    letter that is not ASCII ends ExaBGP with all sessions, and a newline begins another line, which
    the child takes for an answer.  Routers do send such data: BIRD sends its number for a wrong AS.
    4.2 escapes quotes only, so a backslash would make the line unreadable.

    Raises UnknownExabgpError or AttributeError where ExaBGP is not as the patch expects it.
    """
    processes = load_module("exabgp.reactor.api.processes").Processes
    original = processes.down

    def down(self: Any, neighbor: Any, reason: Any) -> None:
        text = str(reason)[:MAX_REASON]
        original(self, neighbor, "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text))

    def apply() -> None:
        processes.down = down

    return apply


PATCHES = (survive_child_death, kill_hanging_child, clean_reasons)
"""Patches of this file for every release, in the order in which they are applied."""
