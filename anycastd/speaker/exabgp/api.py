"""ExaBGP's words: command -> line, line -> fact (stdlib only, pure; 4.2 and 5.0 alike).

ExaBGP's API is its child's stdin and stdout.  What was measured about it, and shapes this file:

- Answers carry no id.  ``announce``, ``withdraw`` and ``show`` go through one queue and are
  answered in order; ``version`` is answered while reading, so it overtakes everything queued.
- Answers are text under both encoders.  Events differ: as text, ``neighbor 10.0.1.4 down - why``
  looks like a row of the rib; as JSON they are one object per line and cannot be mistaken, also
  in the middle of a long answer.  So the configuration says ``encoder json``.
- After the API child has died, its successor first reads what was still owed to the dead one,
  and 4.2 puts the dead one's unfinished line in front of the successor's first.  So the first
  ``say`` is preceded by a greeting: a comment that spoils an unfinished line, and two questions
  whose answers mark where our own begin.
- ``as-path [ 65010 ]`` replaces the whole path, nothing is added to it; without it, or with an
  empty one, the path is ExaBGP's choice.  So the whole path is always written.
- ``withdraw route`` matches by prefix; it gets the next hop too, since an IPv6 one needs it.
- ``announce attributes ... nlri P1 P2 ...`` is several routes in one line with one answer, and
  costs a quarter of as many lines.  Were one of them refused, nobody could tell which.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

from anycastd.bgp import session as session_module
from anycastd.bgp.route import Route, canonicalize
from anycastd.bgp.session import Session
from anycastd.lease.commands import (
    Announce,
    Answer,
    Command,
    ConfigLoaded,
    Fact,
    Ping,
    QueryAdjRibOut,
    QuerySessions,
    SessionChanged,
    Withdraw,
)
from anycastd.speaker.exabgp.contract import WATCH_COMMENT, parse_loaded_event
from anycastd.speaker.exabgp.lines import (
    describe_reason,
    format_announce,
    format_withdraw,
    group_commands,
    parse_route_row,
    parse_session_row,
)

_ENDS = {"done": None, "error": "ExaBGP refused the command"}
"""Routes that one line says; a line of ExaBGP's API may have some 16 kB."""
_UNANSWERED = "ExaBGP never answered"
MAX_VAGUE = 4
"""So many times in a row ExaBGP says nothing of why, until that replaces the last known reason."""
_EVENT = re.compile(r'"peer": "([^"]+)".*?"state": "(\w+)"')


@dataclass(slots=True)
class _Open:
    """A command that waits for its answer; ``command`` is None for the greeting's question.

    ``more`` are the others that the same line says.
    """

    command: Announce | Withdraw | QuerySessions | QueryAdjRibOut | None
    more: tuple[Command, ...] = ()
    started: bool = False
    sessions: dict[str, Session] = field(default_factory=dict)
    rib: list[Route] = field(default_factory=list)
    trouble: str | None = None

    @property
    def marked(self) -> bool:
        """Whether the answer begins with the summary's heading."""
        return self.command is None or isinstance(self.command, QuerySessions)


class ApiConversation:
    """Both directions of the talk with one ExaBGP, without any I/O.

    ``neighbors`` are the configured ones: 4.2 leaves those that are down out of its summary.
    ``local_as`` makes ``say`` refuse a path that does not start with it.  A route that
    ``QueryAdjRibOut`` finds as it was announced is the very one that was announced (communities
    have no order).  ``watched`` asks the shim to end us when we say nothing for some seconds.
    """

    def __init__(
        self,
        neighbors: Iterable[str] = (),
        local_as: int | None = None,
        *,
        watched: bool = False,
    ) -> None:
        self._comment = WATCH_COMMENT if watched else "#"
        self._neighbors = tuple(str(ip_address(neighbor)) for neighbor in neighbors)
        self._local_as = local_as
        self._sessions: dict[str, Session] = {}
        self._shown: dict[str, tuple[str, int]] = {}
        self._said: dict[tuple[str, str], Route] = {}
        self._pings: deque[Ping | None] = deque()
        self._queue: deque[_Open] = deque()
        self._version: str | None = None
        self._skip = False
        self._greeted = False
        self._one_by_one = False

    def settle(self, neighbors: Iterable[str], local_as: int | None) -> None:
        """Take over what is configured from now on."""
        self._neighbors = tuple(str(ip_address(neighbor)) for neighbor in neighbors)
        self._local_as = local_as
        self._sessions = {
            neighbor: session
            for neighbor, session in self._sessions.items()
            if neighbor in self._neighbors
        }

    @property
    def open(self) -> int:
        """How many commands wait for their answer."""
        mine = sum(1 + len(e.more) for e in self._queue if e.command is not None)
        return mine + sum(ping is not None for ping in self._pings)

    def say(self, *commands: Command) -> str:
        """Open commands and return the text to write to ExaBGP, last newline included.

        Routes that one line can say are said in one, until ExaBGP has refused such a line.
        Raises ValueError for a route that must not leave: an empty path, a path that starts with
        a foreign ASN, anything that is not a value of its kind.
        """
        groups = (
            [[each] for each in commands] if self._one_by_one else list(group_commands(commands))
        )
        lines = [self._line(group) for group in groups]  # all of them, or nothing is said
        return "".join(map(self._say, groups, lines))

    def _say(self, group: list[Command], line: str) -> str:
        greeting = ""
        if not self._greeted:
            self._greeted = True
            self._pings.append(None)
            self._queue.append(_Open(None))
            greeting = f"{self._comment}\nversion\nshow neighbor summary\n"
        command, *more = group
        if isinstance(command, Ping):
            self._pings.append(command)
        else:
            self._queue.append(_Open(command, tuple(more)))
        for each in group:
            if isinstance(each, Announce):
                self._said[canonicalize(each.route).key] = each.route
        return f"{greeting}{line}\n"

    def _line(self, group: list[Command]) -> str:
        routes = [each.route for each in group if isinstance(each, Announce | Withdraw)]
        match group[0]:
            case Announce():
                for route in routes:
                    self._own(route)
                return format_announce(*routes)
            case Withdraw():
                return format_withdraw(*routes)
            case QuerySessions():
                return "show neighbor summary"
            case QueryAdjRibOut():
                return "show adj-rib out extensive"
            case _:
                return "version"

    def _own(self, route: Route) -> None:
        first = route.as_path[:1]
        if self._local_as is not None and first and first != (self._local_as,):
            path = " ".join(map(str, route.as_path))
            raise ValueError(f"{route.prefix}: path {path} is not ours to announce")

    def hear(self, line: str) -> tuple[Fact, ...]:
        """Return what one line from ExaBGP means; never raises, whatever the line is."""
        line = line.strip()
        facts: tuple[Fact, ...] = ()
        if line.startswith("{"):
            facts = self._event(line)
        elif line in _ENDS:
            facts = self._end(_ENDS[line])
        elif line.startswith("exabgp "):
            self._version = line.removeprefix("exabgp ")
        elif line.startswith("Peer ") and "up/down" in line:
            facts = self._heading()
        elif line:
            facts = self._row(line)
        return facts

    # Answers -------------------------------------------------------------------------------------

    def _end(self, error: str | None) -> tuple[Fact, ...]:
        if self._version is not None:
            version, self._version = self._version, None
            if not self._pings:
                return ()
            ping = self._pings.popleft()
            return () if ping is None else (Answer(ping, version=version),)
        if self._skip:
            self._skip = False
            return ()
        if not self._queue or (self._queue[0].marked and not self._queue[0].started):
            return ()  # owed to a child before us, or to the greeting's comment
        if error is not None and self._queue[0].more:
            self._one_by_one = True  # said again, it is found which of them it does not take
        return self._close(self._queue.popleft(), error)

    def _close(self, entry: _Open, error: str | None) -> tuple[Fact, ...]:
        command, error = entry.command, error or entry.trouble
        if command is None:
            return ()
        if error is not None:
            return tuple(Answer(each, error=error) for each in (command, *entry.more))
        if isinstance(command, QuerySessions):
            sessions = dict.fromkeys(self._neighbors, Session.DOWN) | entry.sessions
            self._sessions.update(sessions)
            return (Answer(command, sessions=sessions),)
        if isinstance(command, QueryAdjRibOut):
            return (Answer(command, rib=tuple(sorted(map(self._as_said, entry.rib)))),)
        return tuple(Answer(each) for each in (command, *entry.more))

    def _as_said(self, route: Route) -> Route:
        """Give a route of the rib as it was announced, so that it equals what was asked for."""
        said = self._said.get(route.key)
        return said if said is not None and canonicalize(said) == route else route

    def _heading(self) -> tuple[Fact, ...]:
        """Begin a summary: whatever was queued before the question can no longer be answered."""
        if not any(entry.marked for entry in self._queue):
            self._skip = True
            return ()
        facts: list[Fact] = []
        while not self._queue[0].marked:
            facts += self._close(self._queue.popleft(), _UNANSWERED)
        self._queue[0].started = True
        return tuple(facts)

    def _row(self, line: str) -> tuple[Fact, ...]:
        entry = self._queue[0] if self._queue else None
        if line.startswith("neighbor "):
            if entry is None or not isinstance(entry.command, QueryAdjRibOut):
                self._skip = True  # rows that a child before us asked for; their end is not ours
                return ()
            try:
                entry.rib.append(parse_route_row(line))
            except ValueError as problem:
                entry.trouble = f"cannot read the rib: {problem}"
            return ()
        if self._skip or entry is None or not entry.started:
            return ()
        try:
            neighbor, session = parse_session_row(line)
        except ValueError:
            return ()
        entry.sessions[neighbor] = session
        return ()

    # Events --------------------------------------------------------------------------------------

    def _event(self, line: str) -> tuple[Fact, ...]:
        why = ""
        try:
            event = json.loads(line, strict=False)
            if event.get("type") == "notification" and event.get("notification") == "shutdown":
                return self._shutdown()
            if loaded := parse_loaded_event(event):
                return (ConfigLoaded(*loaded),)
            if event.get("type") != "state":
                return ()
            told = event["neighbor"]
            peer, state = told["address"]["peer"], told["state"]
            why = str(told.get("reason", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            # 4.2 escapes quotes only: a peer's shutdown text may leave JSON that is none
            found = _EVENT.search(line) if '"type": "state"' in line else None
            if found is None:
                return ()
            peer, state = found.groups()
        if state == "connected":
            return ()  # TCP only, and said even where the connection was refused
        return self._changed(peer, state, why)

    def _changed(self, peer: str, state: str, why: str) -> tuple[Fact, ...]:
        try:
            neighbor = str(ip_address(peer))
        except ValueError:
            return ()
        if state not in ("up", "down"):
            return ()
        session = Session(state)
        again = session is Session.DOWN and self._sessions.get(neighbor) is Session.DOWN
        self._sessions[neighbor] = session
        if session is Session.UP:
            self._shown.pop(neighbor, None)
            return (SessionChanged(neighbor, session),)
        said = describe_reason(why)
        shown, vague = self._shown.get(neighbor, ("", 0))
        # Each failed attempt to connect says "down" again; one that tells more is news.  What tells
        # nothing follows each NOTIFICATION, since ExaBGP then dials again at once.
        vague = vague + 1 if said in {"", session_module.NO_CONNECTION} else 0
        if again and (said == shown or 0 < vague < MAX_VAGUE):
            self._shown[neighbor] = (shown, vague)
            return ()
        self._shown[neighbor] = (said, vague)
        return (SessionChanged(neighbor, session, said),)

    def _shutdown(self) -> tuple[Fact, ...]:
        facts: list[Fact] = []
        for neighbor in dict.fromkeys((*self._neighbors, *self._sessions)):
            facts += self._changed(neighbor, "down", "ExaBGP is shutting down")
        return tuple(facts)
