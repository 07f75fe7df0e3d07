"""How a running speaker takes over other sessions, one loss at a time (stdlib only, pure).

The steps: write the files, have ExaBGP read them, and where that closes sessions wait for those
to be up again before the next one.  In words of the machine::

    IDLE --ask--> WRITING --written--> READING --loaded--> SETTLING --up--> WRITING ... IDLE

The first writing changes what disturbs nobody: other VIPs, neighbors that are new or that go.
What remains are sessions that must close for their change (another hold time, AS number, address,
password).  Those that are down anyway go first; one that is up is closed only while another one is
up, or where there is no other.  All times are own time, in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from anycastd.bgp.session import Session
from anycastd.lease.commands import ConfigLoaded
from anycastd.lease.effects import Effect, Log, ReloadConfig, WriteConfig

READ_TIMEOUT = 10.0
"""Seconds that ExaBGP has to read its configuration; it takes some milliseconds."""
UP_TIMEOUT = 60.0
"""Seconds for which the next session waits for the one before to be up again."""

_NOT_ABLE = "this speaker cannot take over other sessions while it runs: restart it for them"


class ReconfigurePhase(Enum):
    """Where in its steps a change is."""

    IDLE = "idle"
    WRITING = "writing"
    READING = "reading"
    SETTLING = "settling"


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a writing did: ``config`` is the hash of what ExaBGP is to run now.

    ``changed``: the file for ExaBGP is another one than before.  ``fresh``: neighbors that are
    new or whose session closes for it.  ``left``: neighbors that still wait for their turn.
    """

    config: str
    changed: bool
    fresh: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Reconfiguration:
    """The machine.  ``able``: the speaker can do it; ``loaded`` is the hash of what ExaBGP runs.

    ``problem`` says in words why the newest change has not been made, or not wholly.
    """

    def __init__(self, *, able: bool, loaded: str) -> None:
        self.able = able
        self.loaded = loaded
        self.phase = ReconfigurePhase.IDLE
        self.problem = ""
        self._again = False
        self._reset: tuple[str, ...] = ()
        self._written = WriteResult(loaded, changed=False)
        self._ends = 0.0
        self._awaited: dict[str, bool] = {}  # neighbor -> its old session is known to be gone

    @property
    def word(self) -> str:
        """What a Report says of it."""
        if not self.able:
            return ""
        return "ready" if self.phase is ReconfigurePhase.IDLE else "busy"

    def ask(self) -> list[Effect]:
        """Begin a change, or another one after the one that is under way."""
        if not self.able:
            self.problem = _NOT_ABLE
            return [Log(_NOT_ABLE)]
        if self.phase is not ReconfigurePhase.IDLE:
            self._again = True
            return []
        return self._write(())

    def failed(self, problem: str) -> list[Effect]:
        """Take it that the files could not be written; what runs goes on."""
        return self._end(f"the speaker keeps its sessions as they are: {problem}")

    def written(
        self, written: WriteResult, sessions: Mapping[str, Session], now: float
    ) -> list[Effect]:
        """Take it that the files have been written."""
        self._written = written
        if stuck := [address for address in self._reset if address in written.left]:
            return self._end(f"the change for {', '.join(stuck)} was not written; a bug of ours")
        # Only what is up now can be seen to go.
        self._awaited = {
            address: sessions.get(address) is not Session.UP for address in written.fresh
        }
        if written.changed or written.config != self.loaded:
            self.phase, self._ends = ReconfigurePhase.READING, now + READ_TIMEOUT
            return [ReloadConfig()]
        self.phase, self._ends = ReconfigurePhase.SETTLING, now + UP_TIMEOUT
        return self._next(sessions, now)

    def read(self, loaded: ConfigLoaded, now: float) -> list[Effect]:
        """Take it that ExaBGP has read its configuration, or why not."""
        if loaded.error is None:
            self.loaded = loaded.config
        if self.phase is not ReconfigurePhase.READING:
            return []
        if loaded.error is not None:
            return self._end(f"ExaBGP does not take its new configuration: {loaded.error}")
        self.phase, self._ends = ReconfigurePhase.SETTLING, now + UP_TIMEOUT
        return []

    def session(self, neighbor: str, session: Session) -> None:
        """Take the change of a session."""
        if session is not Session.UP and neighbor in self._awaited:
            self._awaited[neighbor] = True

    def tick(self, sessions: Mapping[str, Session], now: float) -> list[Effect]:
        """Let time pass."""
        if self.phase is ReconfigurePhase.READING and now >= self._ends:
            return self._end(f"ExaBGP did not read its new configuration within {READ_TIMEOUT:g} s")
        if self.phase is ReconfigurePhase.SETTLING:
            settled = all(
                gone and sessions.get(address) is Session.UP
                for address, gone in self._awaited.items()
            )
            if settled or not self._written.left or now >= self._ends:
                return self._next(sessions, now)
        return []

    def _write(self, reset: tuple[str, ...]) -> list[Effect]:
        self.phase, self.problem, self._reset = ReconfigurePhase.WRITING, "", reset
        return [WriteConfig(reset)]

    def _next(self, sessions: Mapping[str, Session], now: float) -> list[Effect]:
        left = self._written.left
        if not left:
            return self._end("")
        down = tuple(address for address in left if sessions.get(address) is not Session.UP)
        if down:
            return self._write(down)
        one = left[0]
        up = [address for address, session in sessions.items() if session is Session.UP]
        if len(sessions) == 1 or up != [one]:
            return self._write((one,))
        if self.phase is ReconfigurePhase.SETTLING and now < self._ends:
            return []  # another one may come up yet
        return self._end(
            f"the session with {one} would have to close for its change, and no other one is up: "
            "mend another one and reload again, or restart the speaker"
        )

    def _end(self, problem: str) -> list[Effect]:
        self.phase, self.problem = ReconfigurePhase.IDLE, problem
        effects: list[Effect] = [Log(problem)] if problem else []
        if self._again:
            self._again = False
            effects += self._write(())
        return effects
