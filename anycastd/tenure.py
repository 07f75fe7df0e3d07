"""The lease's state machine: messages, answers and time in, effects out (stdlib only, pure)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from anycastd.lease import (
    Announce,
    AskRib,
    AskSessions,
    Command,
    Fact,
    MessageError,
    NeighborReport,
    Ping,
    Report,
    Route,
    Session,
    SessionChanged,
    Want,
    Withdraw,
)

# What the lease asks its edge to do --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Say:
    """Say a command to ExaBGP; routes are answered in the order in which they were said."""

    command: Command


@dataclass(frozen=True, slots=True)
class Send:
    """Send a report to one connection, or to all (None)."""

    report: Report
    to: int | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """Close a connection; ``why`` in words."""

    connection: int
    why: str


@dataclass(frozen=True, slots=True)
class EndExabgp:
    """End ExaBGP: it does not answer, so its sessions must close; ``why`` in words."""

    why: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a line in the log."""

    text: str


Effect = Say | Send | Hang | EndExabgp | Note


@dataclass(frozen=True, slots=True)
class Settings:
    """What a lease is told at its start.

    ``prefixes`` are all it will ever announce, to ``neighbors`` only, ``local_as`` first in each
    path.  ``ttl_max`` bounds a lease, ``inherit`` is how long a lease that finds routes in ExaBGP
    at its start keeps them without a holder, ``answer_within`` is how long ExaBGP may take to
    answer: seconds.
    """

    instance: str
    prefixes: frozenset[str]
    neighbors: tuple[str, ...]
    local_as: int
    ttl_max: float
    inherit: float
    answer_within: float = 4.0
    ping_every: float = 1.0
    read_every: float = 30.0
    settle: float = 1.0
    config: str = ""


@dataclass(slots=True)
class _Peer:
    session: Session = Session.UNKNOWN
    since: float = 0.0
    why: str = ""
    rib: str = "unread"
    rib_at: float | None = None


class Lease:
    """The machine: messages, answers and time in, effects out; it does no I/O itself.

    What stands on the wire is wanted by somebody for a bounded time, or it is withdrawn:

    * A Want replaces the whole wanted set and renews it for its ttl.  Withdrawals go first.
    * When the time is over, everything is withdrawn.
    * One holder at a time: the newest epoch wins, the loser is told and its connection closed.
    * A lease that starts inherits what it finds in ExaBGP's adj-rib-out, for one bounded time and
      without a holder: the process before it has died a moment ago.
    * What a session was told before it came up does not count: its set is said again (ExaBGP
      drops what is identical, so this costs nothing on the wire).
    * ExaBGP is asked something at least each ``ping_every`` seconds; if the oldest open question
      gets no answer within ``answer_within``, ExaBGP is ended, which closes its sessions.
    * Its adj-rib-out is read back when nothing is open, after changes have settled and at a slow
      rhythm; what differs is said again and counted.

    ``now`` is always own time (``anycastd.clock``): one's own stalls do not spend it.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        self.settings = settings
        self.wanted: dict[tuple[str, str], Route] = {}
        self.told: dict[tuple[str, str], Route] = {}
        self.expires: float | None = None
        self.holder: int | None = None
        self.epoch = 0
        self.pid = 0
        self.serial = 0
        self.acked = 0
        self.repairs = 0
        self.exabgp = ""
        self.errors: deque[str] = deque(maxlen=10)
        self.peers = {address: _Peer(since=now) for address in settings.neighbors}
        self._inherited = False
        self._said = 0
        self._answered = 0
        self._marks: deque[tuple[int, int]] = deque()
        self._open: deque[tuple[Command, float]] = deque()
        self._changed = now
        self._unread = False
        self._read = now
        self._spoke = now
        self._reported: tuple[Route, ...] | None = None

    # Facts from outside -------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Ask for what a dead process before us left: session states, and the adj-rib-out."""
        return [*self._say(Ping(), now), *self._say(AskSessions(), now), *self._say(AskRib(), now)]

    def connected(self, connection: int, now: float) -> list[Effect]:
        """Greet an agent with the whole state; it holds nothing before its first Want."""
        if not self._inherited:
            return []  # the state is not known yet: everybody hears it when it is
        return [Send(self._report(now, held=True), connection)]

    def disconnected(self, connection: int) -> None:
        """Forget a connection; the lease itself lives on until its time is over."""
        if self.holder == connection:
            self.holder = None

    def message(self, connection: int, line: bytes, now: float) -> list[Effect]:
        """Take a Want from an agent."""
        try:
            want = Want.load(line)
            self._refuse(want)
        except MessageError as error:
            return [Note(f"refused a message: {error}"), Hang(connection, str(error))]
        effects: list[Effect] = []
        if connection != self.holder:
            if want.epoch < self.epoch:
                lost = f"pid {self.pid} holds the lease; it started later"
                return [Send(self._report(now, lost=lost), connection), Hang(connection, lost)]
            if self.holder is not None:
                lost = f"pid {want.pid} took the lease over"
                effects += [Send(self._report(now, lost=lost), self.holder)]
                effects += [Hang(self.holder, lost)]
            effects.append(Note(f"held by the agent with pid {want.pid}"))
            self.holder, self.epoch, self.pid = connection, want.epoch, want.pid
        self.serial = want.serial
        self.wanted = {route.key: route for route in want.routes}
        self.expires = now + min(want.ttl, self.settings.ttl_max) if want.routes else None
        effects += self._tell(now)
        self._marks.append((self._said, want.serial))
        return effects + self._acknowledge(now)

    def heard(self, fact: Fact, now: float) -> list[Effect]:
        """Take a fact that ExaBGP said."""
        if isinstance(fact, SessionChanged):
            return self._session(fact.neighbor, fact.session, fact.why, now)
        effects: list[Effect] = []
        command = fact.command
        for index, (asked, _) in enumerate(self._open):
            if asked == command:  # pings overtake: ExaBGP answers them at once
                del self._open[index]
                break
        if isinstance(command, Announce | Withdraw):
            self._answered += 1
        if fact.error is not None:
            text = f"{_words(command)}: {fact.error}"
            self.errors.append(text)
            effects.append(Note(f"ExaBGP refused {text}"))
        if isinstance(command, Announce | Withdraw):
            if fact.error is not None and self.told.get(command.route.key) == command.route:
                del self.told[command.route.key]  # so that the next pass says it again
        elif fact.version is not None:
            self.exabgp = fact.version
        elif fact.sessions is not None:
            for address in self.peers:
                state = fact.sessions.get(address, Session.DOWN)
                effects += self._session(address, state, "", now)
        elif isinstance(command, AskRib):
            effects += self._compare(fact.rib or (), now, readable=fact.error is None)
        return effects + self._acknowledge(now)

    def tick(self, now: float) -> list[Effect]:
        """Let time pass; call it often, after everything pending has been read."""
        effects: list[Effect] = []
        if self.expires is not None and now >= self.expires:
            effects.append(Note(f"the lease ran out: {len(self.told)} routes are withdrawn"))
            self.expires = None
            self.wanted = {}
            effects += self._tell(now)
            effects.append(Send(self._report(now, held=True)))
        if self._open:
            command, said_at = self._open[0]
            if now - said_at >= self.settings.answer_within:
                took = f"{self.settings.answer_within:g} s"
                effects.append(EndExabgp(f"no answer within {took} to: {_words(command)}"))
                self._open.clear()
            return effects
        due = self._read + self.settings.read_every
        if self._unread:
            due = min(due, self._changed + self.settings.settle)
        if self._inherited and now >= due:
            self._unread = False
            effects += self._say(AskRib(), now)
        elif now - self._spoke >= self.settings.ping_every:
            effects += self._say(Ping(), now)
        return effects

    # The inside -----------------------------------------------------------------------------------

    def _say(self, command: Command, now: float) -> list[Effect]:
        if isinstance(command, Announce | Withdraw):
            self._said += 1
        self._open.append((command, now))
        self._spoke = now
        return [Say(command)]

    def _touch(self, now: float) -> None:
        """Remember that what was read back is not what stands there any more."""
        self._changed, self._unread = now, True

    def _refuse(self, want: Want) -> None:
        for route in want.routes:
            if route.prefix not in self.settings.prefixes:
                raise MessageError(f"{route.prefix} is not a VIP of this profile")
            if route.neighbor not in self.peers:
                raise MessageError(f"{route.neighbor} is not a neighbor of this profile")
            if route.as_path[0] != self.settings.local_as:
                raise MessageError(f"the path {list(route.as_path)} does not begin with our ASN")

    def _tell(self, now: float) -> list[Effect]:
        """Say the difference between wanted and told; withdrawals first."""
        effects: list[Effect] = []
        for key in [key for key in self.told if key not in self.wanted]:
            effects += self._say(Withdraw(self.told.pop(key)), now)
        for key, route in self.wanted.items():
            if self.told.get(key) != route:
                self.told[key] = route
                effects += self._say(Announce(route), now)
        if effects:
            self._touch(now)
            self.errors.clear()
        return effects

    def _session(self, address: str, session: Session, why: str, now: float) -> list[Effect]:
        peer = self.peers.get(address)
        if peer is None or peer.session is session:
            return []
        came_up = session is Session.UP
        self.peers[address] = _Peer(session, now, why)
        effects: list[Effect] = []
        if came_up:
            for route in self.told.values():
                if route.neighbor == address:
                    effects += self._say(Announce(route), now)
            self._touch(now)
        if self._inherited:
            effects.append(Send(self._report(now)))
        return effects

    def _compare(self, rib: tuple[Route, ...], now: float, *, readable: bool) -> list[Effect]:
        self._read = now
        if not self._inherited:
            return self._inherit(rib, now)
        if not readable or self._unconfirmed():
            return []  # said since the question was asked: the answer is older than what we told
        effects: list[Effect] = []
        found = {route.key: route for route in rib}
        for address, peer in self.peers.items():
            if peer.session is not Session.UP:
                continue
            before = len(effects)
            for key, route in found.items():
                if key[0] == address and key not in self.told:
                    effects += self._say(Withdraw(route), now)
            for key, route in self.told.items():
                if key[0] == address and found.get(key) != route:
                    effects += self._say(Announce(route), now)
            peer.rib = "agrees" if len(effects) == before else "differs"
            peer.rib_at = now
        if effects:
            self.repairs += len(effects)
            self._touch(now)
            effects.append(Note(f"ExaBGP's adj-rib-out differed: repaired {len(effects)} routes"))
        effects.append(Send(self._report(now)))
        return effects

    def _inherit(self, rib: tuple[Route, ...], now: float) -> list[Effect]:
        self._inherited = True
        # What was told since the question was asked is newer than its answer.
        self.told = {route.key: route for route in rib} | self.told
        effects: list[Effect] = []
        if self.holder is None:
            self.wanted = {
                route.key: route
                for route in rib
                if route.prefix in self.settings.prefixes and route.neighbor in self.peers
            }
            self.expires = now + self.settings.inherit if self.wanted else None
        if rib:
            effects.append(Note(f"inherited {len(rib)} routes from the lease before"))
        effects += self._tell(now)
        return [*effects, Send(self._report(now, held=True))]

    def _acknowledge(self, now: float) -> list[Effect]:
        """Report when ExaBGP has confirmed all that a Want asked for."""
        acked = self.acked
        while self._marks and self._marks[0][0] <= self._answered:
            acked = self._marks.popleft()[1]
        if acked == self.acked:
            return []
        self.acked = acked
        return [Send(self._report(now), self.holder)] if self.holder is not None else []

    def _unconfirmed(self) -> list[Route]:
        return [
            command.route for command, _ in self._open if isinstance(command, Announce | Withdraw)
        ]

    def _report(self, now: float, *, held: bool = False, lost: str = "") -> Report:
        routes = tuple(sorted(self.told.values()))
        changed = routes != self._reported
        if not lost:
            self._reported = routes
        unconfirmed = self._unconfirmed()
        return Report(
            instance=self.settings.instance,
            serial=self.serial,
            acked=self.acked,
            expires_in=None if self.expires is None else max(0.0, self.expires - now),
            neighbors={
                address: NeighborReport(
                    session=peer.session,
                    since=now - peer.since,
                    untold=sum(route.neighbor == address for route in unconfirmed),
                    rib=peer.rib,
                    rib_age=None if peer.rib_at is None else round(now - peer.rib_at, 3),
                    why=peer.why,
                )
                for address, peer in self.peers.items()
            },
            held=routes if held or changed else None,
            errors=tuple(self.errors),
            exabgp=self.exabgp,
            config=self.settings.config,
            repairs=self.repairs,
            lost=lost,
        )


def _words(command: Command) -> str:
    match command:
        case Announce(route):
            return f"announce {route.prefix} to {route.neighbor}"
        case Withdraw(route):
            return f"withdraw {route.prefix} from {route.neighbor}"
        case Ping():
            return "version"
        case AskSessions():
            return "session states"
        case AskRib():
            return "adj-rib-out"
