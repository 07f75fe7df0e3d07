"""Change the sessions of a running speaker, one loss of a session at a time (stdlib only, pure).

The steps: write the files, have ExaBGP load them, and where that closes sessions wait until those
are up again before the next step::

    IDLE --request--> WRITING --on_written--> READING --on_loaded--> SETTLING --up--> WRITING
                                                                     SETTLING --all done--> IDLE

The first write changes what closes no session: other VIPs, neighbors that are new or removed.
What remains are sessions that must close for their change (another hold time, AS number, address,
password).  Those that are down are changed first.  One that is up is closed only while another one
is up, or where there is no other neighbor.  All times are own time, in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from anycastd.bgp.session import Session
from anycastd.lease.commands import ConfigLoaded
from anycastd.lease.effects import Effect, Log, ReloadConfig, WriteConfig
from anycastd.lease.fields import UNREADABLE, load_object

READ_TIMEOUT = 10.0
"""Seconds that ExaBGP has to load its configuration; it takes some milliseconds."""
UP_TIMEOUT = 60.0
"""Seconds to wait until a session that was changed is up again, before the next one is changed."""

VERSION = 1
"""Version of the answer that ``WriteResult.dump`` and ``dump_problem`` write."""

_CANNOT_RELOAD = "this speaker cannot take over other sessions while it runs: restart it for them"


class RewriteError(Exception):
    """The speaker's files could not be written.  The text says why."""


class ReconfigurePhase(Enum):
    """The step that a reconfiguration is in."""

    IDLE = "idle"
    WRITING = "writing"
    READING = "reading"
    SETTLING = "settling"


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Result of one write of the speaker's files.

    ``config``: hash of the configuration that ExaBGP is to run now.  ``file_changed``: ExaBGP's
    file differs from the one before.  ``changed_neighbors``: addresses of those that are new, or
    whose session closes for its change.  ``deferred_neighbors``: addresses of those whose change
    is still to be written.
    """

    config: str
    file_changed: bool
    changed_neighbors: tuple[str, ...] = ()
    deferred_neighbors: tuple[str, ...] = ()

    def dump(self) -> str:
        """Return it as one line of JSON, without a newline."""
        return json.dumps(
            {
                "v": VERSION,
                "config": self.config,
                "changed": self.file_changed,
                "fresh": list(self.changed_neighbors),
                "left": list(self.deferred_neighbors),
            }
        )

    @classmethod
    def load(cls, text: str | bytes | bytearray) -> WriteResult:
        """Parse what ``dump`` or ``dump_problem`` wrote.

        Raises RewriteError for a problem, for another version, and for what is not such a line.
        """
        try:
            data = load_object(text)
            if data["v"] != VERSION:
                raise RewriteError(f"version {data['v']!r} of its files' writer is not known here")
            if problem := data.get("problem"):
                raise RewriteError(str(problem))
            return cls(
                config=str(data["config"]),
                file_changed=bool(data["changed"]),
                changed_neighbors=tuple(map(str, data["fresh"])),
                deferred_neighbors=tuple(map(str, data["left"])),
            )
        except UNREADABLE as error:
            raise RewriteError(f"the answer of its files' writer is none: {error!r}") from None


def dump_problem(problem: str) -> str:
    """Return, as one line of JSON, why the files could not be written."""
    return json.dumps({"v": VERSION, "problem": problem})


class Reconfiguration:
    """State machine of a reconfiguration.

    Its methods return the effects to carry out, in their order.  ``can_reload``: the speaker can do
    it at all.  ``loaded_config``: hash of the configuration that ExaBGP runs.  ``problem``: why the
    newest change was not made, or not completely; empty where there is none.
    """

    def __init__(self, *, can_reload: bool, loaded_config: str) -> None:
        self.can_reload = can_reload
        self.loaded_config = loaded_config
        self.phase = ReconfigurePhase.IDLE
        self.problem = ""
        self._repeat = False
        self._reset: tuple[str, ...] = ()
        self._written = WriteResult(loaded_config, file_changed=False)
        self._ends_at = 0.0
        # neighbor -> its old session is known to have closed
        self._awaited: dict[str, bool] = {}

    @property
    def availability(self) -> str:
        """Return the text for a Report: ``ready``, ``busy``, or empty where it cannot reload."""
        if not self.can_reload:
            return ""
        return "ready" if self.phase is ReconfigurePhase.IDLE else "busy"

    def request(self) -> list[Effect]:
        """Start a reconfiguration, or another one after the one that is under way."""
        if not self.can_reload:
            self.problem = _CANNOT_RELOAD
            return [Log(_CANNOT_RELOAD)]
        if self.phase is not ReconfigurePhase.IDLE:
            self._repeat = True
            return []
        return self._write(())

    def on_write_failed(self, problem: str) -> list[Effect]:
        """Handle that the files could not be written; the sessions stay as they are.

        ``problem`` says why, as text.
        """
        return self._end(f"the speaker keeps its sessions as they are: {problem}")

    def on_written(
        self, written: WriteResult, sessions: Mapping[str, Session], now: float
    ) -> list[Effect]:
        """Handle that the files were written.

        ``sessions``: neighbor's address -> state of its session now.
        """
        self._written = written
        deferred = [address for address in self._reset if address in written.deferred_neighbors]
        if deferred:
            return self._end(f"the change for {', '.join(deferred)} was not written; a bug of ours")
        # A session that is not up now will not be seen to close.
        self._awaited = {
            address: sessions.get(address) is not Session.UP
            for address in written.changed_neighbors
        }
        if written.file_changed or written.config != self.loaded_config:
            self.phase, self._ends_at = ReconfigurePhase.READING, now + READ_TIMEOUT
            return [ReloadConfig()]
        self.phase, self._ends_at = ReconfigurePhase.SETTLING, now + UP_TIMEOUT
        return self._continue(sessions, now)

    def on_loaded(self, loaded: ConfigLoaded, now: float) -> list[Effect]:
        """Handle that ExaBGP loaded its configuration, or refused it."""
        if loaded.error is None:
            self.loaded_config = loaded.config
        if self.phase is not ReconfigurePhase.READING:
            return []
        if loaded.error is not None:
            return self._end(f"ExaBGP does not take its new configuration: {loaded.error}")
        self.phase, self._ends_at = ReconfigurePhase.SETTLING, now + UP_TIMEOUT
        return []

    def on_session(self, neighbor: str, session: Session) -> None:
        """Handle that the session with ``neighbor`` changed its state."""
        if session is not Session.UP and neighbor in self._awaited:
            self._awaited[neighbor] = True

    def tick(self, sessions: Mapping[str, Session], now: float) -> list[Effect]:
        """Advance time to ``now``.  ``sessions``: neighbor's address -> state of its session."""
        if self.phase is ReconfigurePhase.READING and now >= self._ends_at:
            return self._end(f"ExaBGP did not read its new configuration within {READ_TIMEOUT:g} s")
        if self.phase is ReconfigurePhase.SETTLING:
            settled = all(
                closed and sessions.get(address) is Session.UP
                for address, closed in self._awaited.items()
            )
            if settled or not self._written.deferred_neighbors or now >= self._ends_at:
                return self._continue(sessions, now)
        return []

    def _write(self, reset: tuple[str, ...]) -> list[Effect]:
        self.phase, self.problem, self._reset = ReconfigurePhase.WRITING, "", reset
        return [WriteConfig(reset)]

    def _continue(self, sessions: Mapping[str, Session], now: float) -> list[Effect]:
        """Change the next session that was deferred, or end."""
        deferred = self._written.deferred_neighbors
        if not deferred:
            return self._end("")
        down = tuple(address for address in deferred if sessions.get(address) is not Session.UP)
        if down:
            return self._write(down)
        first = deferred[0]
        up = [address for address, session in sessions.items() if session is Session.UP]
        if len(sessions) == 1 or up != [first]:
            return self._write((first,))
        if self.phase is ReconfigurePhase.SETTLING and now < self._ends_at:
            return []  # another session may still come up
        return self._end(
            f"the session with {first} would have to close for its change, and no other one is up: "
            "mend another one and reload again, or restart the speaker"
        )

    def _end(self, problem: str) -> list[Effect]:
        self.phase, self.problem = ReconfigurePhase.IDLE, problem
        effects: list[Effect] = [Log(problem)] if problem else []
        if self._repeat:
            self._repeat = False
            effects += self._write(())
        return effects
