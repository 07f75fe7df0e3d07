"""The lease's state machine: messages, answers and time in, effects out (stdlib only, pure)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from anycastd.bgp.route import Route
from anycastd.bgp.session import NO_CONNECTION, Session
from anycastd.lease.commands import (
    Announce,
    Command,
    ConfigLoaded,
    Fact,
    Ping,
    QueryAdjRibOut,
    QuerySessions,
    SessionChanged,
    Withdraw,
    describe_command,
)
from anycastd.lease.effects import (
    CloseConnection,
    Effect,
    KillSpeaker,
    Log,
    SendCommand,
    SendReport,
)
from anycastd.lease.messages import MessageError, Reload, Report, Want, parse_agent_message
from anycastd.lease.neighbor import NeighborState
from anycastd.lease.owner import LeaseOwner
from anycastd.lease.reconfigure import Reconfiguration, WriteResult
from anycastd.lease.settings import Settings

MAX_PROBLEMS = 10
"""Problems that a report names; of a profile with 1,000 wrong VIPs ten say it all."""


class LeaseMachine:
    """The machine: messages, answers and time in, effects out; it does no I/O itself.

    What stands on the wire is wanted by somebody for a bounded time, or it is withdrawn:

    * A Want replaces the whole wanted set and renews it for its ttl.  Withdrawals go first.
    * When the time is over, everything is withdrawn.  A Want of an agent that has not heard of that
      yet was decided before it, however late it comes: it is answered and holds nothing.
    * A Want that comes twice, or after a later one of its agent, changes and renews nothing.
    * What the profile does not have (VIP, neighbor, first AS) is left out and named, whoever
      wants it.
    * One holder at a time: the newest epoch wins, the loser is told and its connection closed.
      Agents that crash again and again are barred for a while (``holder``).
    * A lease that starts inherits what it finds in ExaBGP's adj-rib-out, for one bounded time and
      without a holder: the process before it has died a moment ago.
    * What a session was told before it came up does not count: its set is said again (ExaBGP
      drops what is identical, so this costs nothing on the wire).
    * ExaBGP is asked something at least each ``ping_every`` seconds; if the oldest open question
      gets no answer within ``answer_within``, ExaBGP is ended, which closes its sessions.
    * Its adj-rib-out is read back when nothing is open, after changes have settled and at a slow
      rhythm; what differs is said again and counted.  One that cannot be read at the start, where
      nobody knows what stands there, ends ExaBGP after ``inherit`` seconds.
    * Other sessions and VIPs are taken over while it runs, step by step (``resettle``).

    ``now`` is always own time (``anycastd.system.clock``): one's own stalls do not spend it.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        self.settings = settings
        self.holder = LeaseOwner()
        self.resettle = Reconfiguration(able=settings.able, loaded=settings.config)
        self.asked: tuple[Route, ...] = ()
        self.wanted: dict[tuple[str, str], Route] = {}
        self.told: dict[tuple[str, str], Route] = {}
        self.expires: float | None = None
        self.serial = 0
        self.acked = 0
        self.repairs = 0
        self.lapses = 0
        self.exabgp = ""
        self.errors: deque[str] = deque(maxlen=10)
        self.peers = {address: NeighborState(now) for address in settings.neighbors}
        self._started = now
        self._inherited = False
        self._coming: Settings | None = None
        self._fresh: tuple[str, ...] = ()
        self._refused: list[str] = []
        self._said = 0
        self._answered = 0
        self._marks: deque[tuple[int, int]] = deque()
        self._open: deque[tuple[Command, float]] = deque()
        self._changed = now
        self._unread = False
        self._read = now
        self._spoke = now
        self._reported: dict[int, tuple[Route, ...] | None] = {}

    # Facts from outside -------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Ask for what a dead process before us left: session states, and the adj-rib-out."""
        return [
            *self._say(Ping(), now),
            *self._say(QuerySessions(), now),
            *self._say(QueryAdjRibOut(), now),
        ]

    def connected(self, connection: int, now: float) -> list[Effect]:
        """Greet an agent with the whole state; it holds nothing before its first Want."""
        self._reported[connection] = None
        if not self._inherited:
            return []  # the state is not known yet: everybody hears it when it is
        return [self._send(connection, now)]

    def disconnected(self, connection: int) -> None:
        """Forget a connection; the lease itself lives on until its time is over."""
        self._reported.pop(connection, None)
        self.holder.gone(connection)

    def message(self, connection: int, line: bytes, now: float) -> list[Effect]:
        """Take a line of an agent's."""
        self._reported.setdefault(connection, None)
        try:
            want = parse_agent_message(line)
        except MessageError as error:
            told = self._send(connection, now, refused=str(error))
            return [
                Log(f"refused a message: {error}"),
                told,
                CloseConnection(connection, str(error)),
            ]
        if isinstance(want, Reload):
            return self.resettle.ask() + self._broadcast(now)
        if self.holder.late(connection, want):
            lost = f"pid {self.holder.pid} holds the lease; it started later"
            return [self._send(connection, now, lost=lost), CloseConnection(connection, lost)]
        if want.epoch == self.holder.epoch and want.serial <= self.serial:
            return [self._send(connection, now)]  # said before: it renews nothing
        effects = self._hold(connection, want, now)
        if want.routes and want.lapses not in {None, self.lapses}:
            return effects + self._answer(now)
        self.serial = want.serial
        self.asked = want.routes
        self.expires = now + min(want.ttl, self.settings.ttl_max) if want.routes else None
        said = self._permit(now)
        self._marks.append((self._said, want.serial))
        # Answered at once, so that silence means something; and again when all is confirmed.
        return effects + said + (self._acknowledge(now) or self._answer(now))

    def heard(self, fact: Fact, now: float) -> list[Effect]:
        """Take a fact that ExaBGP said."""
        if isinstance(fact, SessionChanged):
            return self._session(fact.neighbor, fact.session, fact.why, now)
        if isinstance(fact, ConfigLoaded):
            return self._loaded(fact, now)
        effects: list[Effect] = []
        command = fact.command
        for index, (asked, _) in enumerate(self._open):
            if asked == command:  # pings overtake: ExaBGP answers them at once
                del self._open[index]
                break
        if fact.error is not None:
            text = f"{describe_command(command)}: {fact.error}"
            self.errors.append(text)
            effects.append(Log(f"ExaBGP refused {text}"))
        if isinstance(command, Announce | Withdraw):
            self._answered += 1
            if fact.error is not None and self.told.get(command.route.key) == command.route:
                del self.told[command.route.key]  # so that the next pass says it again
        elif fact.version is not None:
            self.exabgp = fact.version
        elif fact.sessions is not None:
            for address in self.peers:
                state = fact.sessions.get(address, Session.DOWN)
                # The reason was an event before our time, or there was none: it dials in vain.
                known = state is Session.UP or self.peers[address].session is Session.DOWN
                effects += self._session(address, state, "" if known else NO_CONNECTION, now)
        elif isinstance(command, QueryAdjRibOut):
            effects += self._compare(fact.rib or (), now, readable=fact.error is None)
        return effects + self._acknowledge(now)

    def written(self, written: WriteResult, settings: Settings, now: float) -> list[Effect]:
        """Take what the speaker's files say now; it counts once ExaBGP has read them too."""
        self._coming, self._fresh = settings, written.fresh
        effects = self.resettle.written(written, self._sessions(), now)
        if not written.changed and written.config == self.resettle.loaded:
            effects += self._adopt(now)
        return effects + self._broadcast(now)

    def not_written(self, problem: str, now: float) -> list[Effect]:
        """Take it that the speaker's files are as before; ``problem`` in words."""
        return self.resettle.failed(problem) + self._broadcast(now)

    def tick(self, now: float) -> list[Effect]:
        """Let time pass; call it often, after everything pending has been read."""
        effects: list[Effect] = []
        if self.expires is not None and now >= self.expires:
            effects.append(Log(f"the lease ran out: {len(self.told)} routes are withdrawn"))
            self.lapses += 1
            self.expires = None
            self.asked = ()
            effects += self._permit(now) + self._broadcast(now)
        if self.holder.patience(now):
            effects += [Log("agents may announce again"), *self._permit(now)]
            effects += self._broadcast(now)
        before = self.resettle.phase
        effects += self.resettle.tick(self._sessions(), now)
        if self.resettle.phase is not before:
            effects += self._broadcast(now)
        return effects + self._converse(now)

    # The inside -----------------------------------------------------------------------------------

    def _hold(self, connection: int, want: Want, now: float) -> list[Effect]:
        """Let the agent that said ``want`` hold the lease; tell who loses it."""
        before = (self.holder.connection, self.holder.epoch, self.holder.barred)
        loser = self.holder.take(connection, want, now)
        effects: list[Effect] = []
        if connection == before[0]:
            return effects
        if loser is not None:
            lost = f"pid {want.pid} took the lease over"
            effects += [self._send(loser, now, lost=lost), CloseConnection(loser, lost)]
        if want.epoch != before[1]:
            effects.append(Log(f"held by the agent with pid {want.pid}"))
            # Serials are an agent's own: what its predecessor was confirmed says nothing to it.
            self.acked = 0
            self._marks.clear()
        if self.holder.barred and not before[2]:
            effects.append(Log(self.holder.sentence(now)))
        return effects

    def _converse(self, now: float) -> list[Effect]:
        """Ask ExaBGP what is due, and end it where it does not answer."""
        if self._open:
            command, said_at = self._open[0]
            if now - said_at < self.settings.answer_within:
                return []
            self._open.clear()
            took = f"{self.settings.answer_within:g} s"
            return [KillSpeaker(f"no answer within {took} to: {describe_command(command)}")]
        if self._due(now):
            self._unread = False
            return self._say(QueryAdjRibOut(), now)
        if now - self._spoke < self.settings.ping_every:
            return []
        return self._say(Ping(), now) if self._inherited else self._ask_again(now)

    def _ask_again(self, now: float) -> list[Effect]:
        """Ask once more what the process before us left; without that nothing can be promised."""
        if now - self._started < self.settings.inherit + self.settings.answer_within:
            return self._say(QueryAdjRibOut(), now)
        self._started = now
        return [KillSpeaker("its adj-rib-out cannot be read: nobody knows what stands there")]

    def _due(self, now: float) -> bool:
        """Whether it is time to read the adj-rib-out back."""
        settled = self._unread and now >= self._changed + self.settings.settle
        return self._inherited and (settled or now >= self._read + self.settings.read_every)

    def _sessions(self) -> dict[str, Session]:
        return {address: peer.session for address, peer in self.peers.items()}

    def _say(self, command: Command, now: float) -> list[Effect]:
        if isinstance(command, Announce | Withdraw):
            self._said += 1
        self._open.append((command, now))
        self._spoke = now
        return [SendCommand(command)]

    def _touch(self, now: float) -> None:
        """Remember that what was read back is not what stands there any more."""
        self._changed, self._unread = now, True

    def _permit(self, now: float) -> list[Effect]:
        """Want what is asked for and permitted, and say the difference to what was told."""
        self._refused = []
        self.wanted = {}
        if self.holder.barred:
            return self._tell(now)
        for route in self.asked:
            if route.prefix not in self.settings.prefixes:
                self._refused.append(f"{route.prefix} is not a VIP that the speaker may announce")
            elif route.neighbor not in self.peers:
                self._refused.append(f"{route.neighbor} is not a neighbor of the speaker")
            elif route.as_path[0] != self.settings.local_as:
                path = " ".join(map(str, route.as_path))
                self._refused.append(f"{route.prefix}: the path {path} does not begin with our ASN")
            else:
                self.wanted[route.key] = route
        self._refused = list(dict.fromkeys(self._refused))
        return self._tell(now)

    def _loaded(self, fact: ConfigLoaded, now: float) -> list[Effect]:
        effects = self.resettle.read(fact, now)
        if fact.error is None and self._coming is not None:
            effects += self._adopt(now)
        return effects + self._broadcast(now)

    def _adopt(self, now: float) -> list[Effect]:
        """Take over the settings that are valid from now on, and say what they make of the set."""
        settings, self._coming = self._coming, None
        if settings is None:
            return []
        self.settings = settings
        self.peers = {
            address: self.peers.get(address) or NeighborState(now) for address in settings.neighbors
        }
        # A session that begins anew knows nothing, whatever its neighbor was told before.
        keep = [key for key in self.told if key[0] in self.peers and key[0] not in self._fresh]
        self.told = {key: self.told[key] for key in keep}
        return self._permit(now) + self._say(QuerySessions(), now)

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
        if peer is None:
            return []
        before = peer.session
        if not peer.become(session, why, now):
            return []
        if before is session:
            return self._broadcast(now)
        self.resettle.session(address, session)
        effects: list[Effect] = []
        if session is Session.UP:
            for route in self.told.values():
                if route.neighbor == address:
                    effects += self._say(Announce(route), now)
            self._touch(now)
        return effects + self._broadcast(now)

    def _compare(self, rib: tuple[Route, ...], now: float, *, readable: bool) -> list[Effect]:
        self._read = now
        if not self._inherited:
            return self._inherit(rib, now) if readable else []
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
            effects.append(Log(f"ExaBGP's adj-rib-out differed: repaired {len(effects)} routes"))
        return effects + self._broadcast(now)

    def _inherit(self, rib: tuple[Route, ...], now: float) -> list[Effect]:
        self._inherited = True
        # What was told since the question was asked is newer than its answer.
        self.told = {route.key: route for route in rib} | self.told
        effects: list[Effect] = []
        if self.holder.connection is None and self.expires is None:
            self.asked = rib
            self.expires = now + self.settings.inherit if rib else None
        if rib:
            effects.append(Log(f"inherited {len(rib)} routes from the lease before"))
        effects += self._permit(now)
        return effects + self._broadcast(now)

    def _acknowledge(self, now: float) -> list[Effect]:
        """Report when ExaBGP has confirmed all that a Want asked for."""
        acked = self.acked
        while self._marks and self._marks[0][0] <= self._answered:
            acked = self._marks.popleft()[1]
        if acked == self.acked:
            return []
        self.acked = acked
        return self._answer(now)

    def _answer(self, now: float) -> list[Effect]:
        """Report to the holder, once the state is known."""
        holder = self.holder.connection
        return [self._send(holder, now)] if self._inherited and holder is not None else []

    def _unconfirmed(self) -> list[Route]:
        return [
            command.route for command, _ in self._open if isinstance(command, Announce | Withdraw)
        ]

    def _broadcast(self, now: float) -> list[Effect]:
        """Tell everybody the state, once it is known."""
        if not self._inherited:
            return []
        return [self._send(connection, now) for connection in self._reported]

    def _send(
        self, connection: int, now: float, *, lost: str = "", refused: str = ""
    ) -> SendReport:
        """Report to one connection; ``held`` only where it was told another set before."""
        routes = tuple(sorted(self.told.values()))
        held = None if self._reported.get(connection) == routes else routes
        self._reported[connection] = routes
        unconfirmed = self._unconfirmed()
        report = Report(
            instance=self.settings.instance,
            serial=self.serial,
            acked=self.acked,
            expires_in=None if self.expires is None else max(0.0, self.expires - now),
            neighbors={
                address: peer.report(sum(route.neighbor == address for route in unconfirmed), now)
                for address, peer in self.peers.items()
            },
            held=held,
            errors=tuple(self.errors),
            exabgp=self.exabgp,
            config=self.resettle.loaded,
            repairs=self.repairs,
            lost=lost,
            refused=refused,
            problems=tuple(self._problems(now)),
            vips=self.settings.vips,
            reload=self.resettle.word,
            lapses=self.lapses,
        )
        return SendReport(report, connection)

    def _problems(self, now: float) -> Iterable[str]:
        if self.holder.barred:
            yield self.holder.sentence(now)
        if self.resettle.problem:
            yield self.resettle.problem
        for address, peer in self.peers.items():
            if flaps := peer.flaps(now):
                yield f"neighbor {address}: {flaps}"
        yield from self._refused[:MAX_PROBLEMS]
        if len(self._refused) > MAX_PROBLEMS:
            yield f"and {len(self._refused) - MAX_PROBLEMS} more"
