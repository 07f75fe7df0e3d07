"""The conversation with one ExaBGP: command -> line, line -> fact (stdlib only, pure).

ExaBGP's API is its child's standard input and output.  This was measured with 4.2 and 5.0, and
explains this file:

- Answers carry no id.  ``announce``, ``withdraw`` and ``show`` go through one queue and are
  answered in order; ``version`` is answered while ExaBGP reads, so it overtakes the queue.
- Answers are text under both encoders.  Events differ: as text, ``neighbor 10.0.1.4 down - why``
  looks like a row of the adj-rib-out; as JSON, each event is one object in one line and cannot be
  mistaken, even in the middle of a long answer.  So the configuration says ``encoder json``.
- After the API child has died, the next child first reads the answers to the dead child, and 4.2
  puts the dead child's unfinished line in front of the next child's first one.  So a greeting is
  sent before the first command: a comment, which makes an unfinished line invalid, and two
  questions whose answers mark where the answers to us begin.
- ``as-path [ 65010 ]`` replaces the whole path, nothing is added to it; without a path, or with
  an empty one, ExaBGP chooses the path.  So the whole path is always sent.
- ``withdraw route`` matches by prefix; it gets the next hop too, since an IPv6 one needs it.
- ``announce attributes ... nlri P1 P2 ...`` is several routes in one line with one answer, and
  needs a quarter of the lines.  If ExaBGP refuses such a line, it does not say which route it
  refused.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from anycastd.bgp import session as session_module
from anycastd.bgp.route import Route, canonicalize_route
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
    SessionNegotiated,
    Withdraw,
)
from anycastd.lease.fields import UNREADABLE, load_object
from anycastd.speaker.exabgp.contract import (
    WATCH_COMMENT,
    parse_loaded_event,
    parse_negotiated_event,
)
from anycastd.speaker.exabgp.lines import (
    describe_reason,
    format_announce,
    format_withdraw,
    group_commands,
    parse_route_row,
    parse_session_row,
)
from anycastd.system.printable import make_printable

MAX_LINE = 256 * 1024
"""Bytes of a line of ExaBGP's at most; one with 255 ASNs and 255 communities has some 10 kB."""

MAX_VAGUE = 4
"""Vague reasons in a row that are dropped before one replaces the last clear reason."""

_ENDS = {"done": None, "error": "ExaBGP refused the command"}
_UNANSWERED = "ExaBGP never answered"
_MAX_TEXT = 500  # characters of a reason, an error or a version
_MAX_SESSIONS = 10_000  # neighbors whose last state is kept

# What our commands are made of; anything else, a line end above all, must not reach ExaBGP.
_LINE = re.compile(r"[a-z0-9 .:/\[\]-]+")


@dataclass(slots=True)
class _Pending:
    """A line that waits for its answer.

    ``command`` is its first command, None: the greeting's question.  ``more`` are the other
    commands of the line.  ``started``: the heading of the summary was received.
    """

    command: Announce | Withdraw | QuerySessions | QueryAdjRibOut | None
    more: tuple[Command, ...] = ()
    started: bool = False
    sessions: dict[str, Session] = field(default_factory=dict)
    rib: list[Route] = field(default_factory=list)
    problem: str | None = None

    @property
    def has_heading(self) -> bool:
        """Whether the answer begins with the summary's heading."""
        return self.command is None or isinstance(self.command, QuerySessions)


class ApiConversation:
    """Both directions of the conversation with one ExaBGP, without any I/O.

    ``neighbors`` are the configured ones: 4.2 leaves out of its summary those that are down.
    ``local_as`` makes ``send`` refuse a path that does not start with it.  ``watched`` asks the
    shim to kill this process when it sends nothing for some seconds.

    The routes in the answer to QueryAdjRibOut equal the announced ones: communities have no
    order, so a route that differs in their order only is given as it was announced.

    Raises ValueError for a neighbor that is no IP address.
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
        self._reasons: dict[str, tuple[str, int]] = {}
        self._announced: dict[tuple[str, str], Route] = {}
        self._pings: deque[Ping | None] = deque()
        self._queue: deque[_Pending] = deque()
        self._version: str | None = None
        self._skip_end = False
        self._greeted = False
        self._one_per_line = False

    def reconfigure(self, neighbors: Iterable[str], local_as: int | None) -> None:
        """Use other configured neighbors, and another AS number, from now on.

        Raises ValueError for a neighbor that is no IP address.
        """
        self._neighbors = tuple(str(ip_address(neighbor)) for neighbor in neighbors)
        self._local_as = local_as
        self._sessions = {
            neighbor: session
            for neighbor, session in self._sessions.items()
            if neighbor in self._neighbors
        }

    def send(self, *commands: Command) -> str:
        """Return the text to write to ExaBGP for ``commands``; ``receive`` takes the answers.

        Each line ends with a newline; the text is empty without commands.  Routes that fit into
        one line go into one line, until ExaBGP has refused such a line.

        Raises ValueError for a route that must not leave: an empty path, a path that starts with
        a foreign AS number, an invalid value.  Then nothing is sent.
        """
        groups = (
            [[each] for each in commands] if self._one_per_line else list(group_commands(commands))
        )
        lines = [self._format(group) for group in groups]  # raises before anything is changed
        return "".join(map(self._send_line, groups, lines))

    def _send_line(self, group: list[Command], line: str) -> str:
        greeting = ""
        if not self._greeted:
            self._greeted = True
            self._pings.append(None)
            self._queue.append(_Pending(None))
            greeting = f"{self._comment}\nversion\nshow neighbor summary\n"
        command, *more = group
        if isinstance(command, Ping):
            self._pings.append(command)
        else:
            self._queue.append(_Pending(command, tuple(more)))
        for each in group:
            if isinstance(each, Announce):
                self._announced[canonicalize_route(each.route).key] = each.route
        return f"{greeting}{line}\n"

    def _format(self, group: list[Command]) -> str:
        line = self._format_command(group)
        if not _LINE.fullmatch(line):
            raise ValueError(f"{line[:80]!r} is no line of ours: a character that no route has")
        return line

    def _format_command(self, group: list[Command]) -> str:
        routes = [each.route for each in group if isinstance(each, Announce | Withdraw)]
        match group[0]:
            case Announce():
                for route in routes:
                    self._check_path(route)
                return format_announce(*routes)
            case Withdraw():
                return format_withdraw(*routes)
            case QuerySessions():
                return "show neighbor summary"
            case QueryAdjRibOut():
                return "show adj-rib out extensive"
            case _:
                return "version"

    def _check_path(self, route: Route) -> None:
        first = route.as_path[:1]
        if self._local_as is not None and first and first != (self._local_as,):
            path = " ".join(map(str, route.as_path))
            raise ValueError(f"{route.prefix}: path {path} is not ours to announce")

    def receive(self, line: str) -> tuple[Fact, ...]:
        """Return the facts in one line from ExaBGP: none where the line cannot be read.

        A line may hold no fact, or several: a summary shows that earlier commands get no answer.
        It raises nothing, whatever the line is.  A row of the adj-rib-out that cannot be read makes
        the answer an error.
        """
        if len(line) > MAX_LINE:
            self._on_unreadable("a line is too long")
            return ()
        try:
            return self._receive(line.strip())
        except UNREADABLE as problem:
            self._on_unreadable(f"{type(problem).__name__} at a line")
            return ()

    def _receive(self, line: str) -> tuple[Fact, ...]:
        facts: tuple[Fact, ...] = ()
        if line.startswith("{"):
            facts = self._on_event(line)
        elif line in _ENDS:
            facts = self._on_end(_ENDS[line])
        elif line.startswith("exabgp "):
            self._version = make_printable(line.removeprefix("exabgp "), _MAX_TEXT)
        elif line.startswith("Peer ") and "up/down" in line:
            facts = self._on_heading()
        elif line:
            self._on_row(line)
        return facts

    # Answers -------------------------------------------------------------------------------------

    def _on_end(self, error: str | None) -> tuple[Fact, ...]:
        if self._version is not None:
            version, self._version = self._version, None
            if not self._pings:
                return ()
            ping = self._pings.popleft()
            return () if ping is None else (Answer(ping, version=version),)
        if self._skip_end:
            self._skip_end = False
            return ()
        if not self._queue or (self._queue[0].has_heading and not self._queue[0].started):
            return ()  # for a child before us, or for the greeting's comment
        if error is not None and self._queue[0].more:
            self._one_per_line = True  # sent again one by one, only the bad ones are refused
        return self._answer(self._queue.popleft(), error)

    def _answer(self, entry: _Pending, error: str | None) -> tuple[Fact, ...]:
        command, error = entry.command, error or entry.problem
        if command is None:
            return ()
        if error is not None:
            return tuple(Answer(each, error=error) for each in (command, *entry.more))
        if isinstance(command, QuerySessions):
            sessions = dict.fromkeys(self._neighbors, Session.DOWN) | entry.sessions
            self._sessions.update(sessions)
            return (Answer(command, sessions=sessions),)
        if isinstance(command, QueryAdjRibOut):
            rib = sorted(map(self._as_announced, entry.rib), key=lambda route: route.key)
            return (Answer(command, rib=tuple(rib)),)
        return tuple(Answer(each) for each in (command, *entry.more))

    def _as_announced(self, route: Route) -> Route:
        announced = self._announced.get(route.key)
        same = announced is not None and canonicalize_route(announced) == route
        return announced if announced is not None and same else route

    def _on_heading(self) -> tuple[Fact, ...]:
        """Begin a summary: what was queued before it will not be answered any more."""
        if not any(entry.has_heading for entry in self._queue):
            self._skip_end = True
            return ()
        facts: list[Fact] = []
        while not self._queue[0].has_heading:
            facts += self._answer(self._queue.popleft(), _UNANSWERED)
        self._queue[0].started = True
        return tuple(facts)

    def _on_unreadable(self, problem: str) -> None:
        """Note that a line cannot be read: if it is one of the adj-rib-out's, it is unknown."""
        if self._queue and isinstance(self._queue[0].command, QueryAdjRibOut):
            problem = f"cannot read the adj-rib-out: {problem}"
            self._queue[0].problem = make_printable(problem, _MAX_TEXT)

    def _on_row(self, line: str) -> None:
        entry = self._queue[0] if self._queue else None
        if line.startswith("neighbor "):
            if entry is None or not isinstance(entry.command, QueryAdjRibOut):
                self._skip_end = True  # the rows, and the end after them, are for a child before us
                return
            try:
                entry.rib.append(parse_route_row(line))
            except ValueError as problem:
                self._on_unreadable(str(problem))
        elif not self._skip_end and entry is not None and entry.started:
            try:
                neighbor, session = parse_session_row(line)
            except ValueError:
                return
            if len(entry.sessions) < _MAX_SESSIONS:
                entry.sessions[neighbor] = session

    # Events --------------------------------------------------------------------------------------

    def _on_event(self, line: str) -> tuple[Fact, ...]:
        try:
            event = load_object(line, strict=False)
            if event.get("type") == "state":
                neighbor = event["neighbor"]
                peer, state = neighbor["address"]["peer"], neighbor["state"]
                return self._on_state(peer, state, str(neighbor.get("reason", "")))
            return self._on_other_event(event)
        except UNREADABLE:
            # 4.2 escapes quotes only: a peer's shutdown text may make the JSON invalid.
            if '"type": "state"' not in line:
                return ()
            # Each search ends where the one before it began: the cost is that of the line.
            _, _, rest = line.partition('"peer": "')
            peer, _, rest = rest.partition('"')
            return self._on_state(peer, rest.partition('"state": "')[2].partition('"')[0], None)

    def _on_other_event(self, event: dict[str, Any]) -> tuple[Fact, ...]:
        if event.get("type") == "notification" and event.get("notification") == "shutdown":
            return self._on_shutdown()
        if loaded := parse_loaded_event(event):
            config, error = loaded
            clean = None if error is None else make_printable(error, _MAX_TEXT)
            return (ConfigLoaded(config, clean),)
        if negotiated := parse_negotiated_event(event):
            return (SessionNegotiated(str(ip_address(negotiated[0])), negotiated[1]),)
        return ()

    def _on_state(self, peer: str, state: str, reason: str | None) -> tuple[Fact, ...]:
        try:
            neighbor = str(ip_address(peer))
        except ValueError:
            return ()
        if state not in ("up", "down"):
            return ()  # "connected" is of TCP only, and sent even where it was refused
        if neighbor not in self._sessions and len(self._sessions) >= _MAX_SESSIONS:
            return ()
        session = Session(state)
        was_down = self._sessions.get(neighbor) is Session.DOWN
        self._sessions[neighbor] = session
        if session is Session.UP:
            self._reasons.pop(neighbor, None)
            return (SessionChanged(neighbor, session),)
        detail = make_printable(describe_reason(reason), _MAX_TEXT)
        last, vague = self._reasons.get(neighbor, ("", 0))
        if detail == session_module.NO_CONNECTION and last:
            detail = last if last.startswith(detail) else f"{detail}; before that: {last}"
        # Each failed attempt to connect sends "down" again; only a new reason is news.  A vague
        # reason follows each NOTIFICATION, since ExaBGP then connects again at once.
        vague = vague + 1 if detail.startswith(session_module.NO_CONNECTION) else 0
        if was_down and (detail == last or 0 < vague < MAX_VAGUE):
            self._reasons[neighbor] = (last, vague)
            return ()
        self._reasons[neighbor] = (detail, vague)
        return (SessionChanged(neighbor, session, detail),)

    def _on_shutdown(self) -> tuple[Fact, ...]:
        facts: list[Fact] = []
        for neighbor in dict.fromkeys((*self._neighbors, *self._sessions)):
            facts += self._on_state(neighbor, "down", "ExaBGP is shutting down")
        return tuple(facts)
