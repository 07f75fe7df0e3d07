"""State machine of the lease: messages, facts and time in, effects out (stdlib only, pure).

It is a dead man's switch: a route is advertised only while an agent renews it.

* A Want replaces the whole set of wanted routes and renews it for its time to live.  Withdrawals
  are sent first.
* When the lease expires, everything is withdrawn.  A Want decided before the agent learned of the
  expiry is void: it is answered, and announces nothing.
* A Want that arrives twice, or after a later one of the same agent, changes and renews nothing.
* Routes that the settings do not have (VIP, neighbor, first ASN) are left out, and named in the
  report.
* The lease has one owner: the agent with the newest epoch, while it is connected or its lease runs.
  The agent that loses it is told so, and its connection is closed.  Agents that crash in a loop
  are banned for a while (``owner``).  What they may send is in ``intake``.
* A lease that starts inherits what it finds in ExaBGP's adj-rib-out, for a bounded time and without
  an owner: the lease process before it died a moment ago.
* When a session comes up, its routes are announced again.  ExaBGP sends no UPDATE for what its
  neighbor has already (``adj_rib_out``).
* ExaBGP is asked something at least every ``ping_interval`` seconds.  If the oldest question gets
  no answer within ``answer_timeout``, ExaBGP is killed, which closes its sessions
  (``outstanding``).
* Its adj-rib-out is read back when no question is open: some time after a change, and at a slow
  interval.  What differs is sent again and counted.  While it cannot be read it is not known what
  is advertised: ExaBGP is killed after ``inherit_ttl + answer_timeout`` seconds of that at the
  start, and later after some readings in a row (``adj_rib_out``).
* Other sessions and VIPs are taken over while it runs, step by step (``reconfigure``).

``now`` is always own time, in seconds (``anycastd.system.clock``): it does not pass while this
process is stalled.
"""

from __future__ import annotations

from collections import deque

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.lease.adj_rib_out import AdjRibOut
from anycastd.lease.commands import (
    Announce,
    Answer,
    ConfigLoaded,
    Fact,
    Ping,
    QueryAdjRibOut,
    QuerySessions,
    SessionChanged,
    SessionNegotiated,
    Withdraw,
    describe_command,
)
from anycastd.lease.effects import CloseConnection, Effect, KillSpeaker, Log, SendReport
from anycastd.lease.intake import Sender, accept_message
from anycastd.lease.messages import Levels, MessageError, Reload, Want, read_epoch
from anycastd.lease.neighbor import NeighborState, compare_sessions
from anycastd.lease.outstanding import OutstandingCommands
from anycastd.lease.owner import LeaseOwner
from anycastd.lease.reconfigure import Reconfiguration, ReconfigurePhase, WriteResult
from anycastd.lease.reports import build_report
from anycastd.lease.settings import Settings

_ANYBODY = Sender()


class LeaseMachine:
    """State machine of the lease; it does no I/O itself.

    Events return the effects to carry out, in their order.  A connection is a number that the
    caller chooses.  ``expires_at``: end of the lease in own time (None: nothing is leased).
    ``serial``: of the newest Want that was accepted.  ``expirations``: how often the lease expired.
    ``shortage``: what the lease process lacks, as a sentence; set by it.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        self.settings = settings
        self.owner = LeaseOwner()
        self.reconfiguration = Reconfiguration(
            can_reload=settings.can_reload, loaded_config=settings.config
        )
        self.adj_rib_out = AdjRibOut(now)
        self.outstanding = OutstandingCommands(now)
        self.neighbors = {address: NeighborState(now) for address in settings.neighbors}
        self.expires_at: float | None = None
        self.serial = 0
        self.expirations = 0
        self.shortage = ""
        self.version = ""
        self.errors: deque[str] = deque(maxlen=10)
        self._started_at = now
        self._next_settings: Settings | None = None  # written, but not loaded yet
        self._changed_neighbors: tuple[str, ...] = ()
        self._settings_changed = False
        # connection -> routes and levels in the newest report on it (None: no report yet)
        self._reported: dict[int, tuple[tuple[Route, ...], Levels | None] | None] = {}

    # For the lease process ------------------------------------------------------------------------

    @property
    def owner_connection(self) -> int | None:
        """Return the connection of the agent that owns the lease; None where it has none."""
        return self.owner.connection

    @property
    def loaded_config(self) -> str:
        """Return the hash of the configuration that ExaBGP runs."""
        return self.reconfiguration.loaded_config

    def pop_new_settings(self) -> Settings | None:
        """Return the settings if they changed since the last call, else None."""
        changed, self._settings_changed = self._settings_changed, False
        return self.settings if changed else None

    # Events ---------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Query what the lease process before this one left: sessions, and the adj-rib-out."""
        return self.outstanding.send((Ping(), QuerySessions(), QueryAdjRibOut()), now)

    def on_connected(self, connection: int, now: float) -> list[Effect]:
        """Handle a new connection: send it the whole state.  It owns nothing yet."""
        self._reported[connection] = None
        if not self.adj_rib_out.known:
            return []  # every connection gets a report as soon as the state is known
        return [self._report_to(connection, now)]

    def on_disconnected(self, connection: int) -> None:
        """Handle the end of a connection; the lease itself stays valid until it expires."""
        self._reported.pop(connection, None)
        self.owner.disconnect(connection)

    def on_message(
        self, connection: int, line: bytes, now: float, sender: Sender = _ANYBODY
    ) -> list[Effect]:
        """Handle a line from an agent; a bad one is reported to it, and its connection closed."""
        self._reported.setdefault(connection, None)
        epoch = read_epoch(line)
        if epoch is not None and self._is_stale(connection, epoch):
            return self._refuse_stale(connection, now)  # not worth parsing
        try:
            owns = self.owner.owns(connection, sender)
            message = accept_message(line, sender, self.settings, owns=owns)
        except MessageError as error:
            return self.refuse_message(connection, str(error), now)
        if isinstance(message, Reload):
            return self.reconfiguration.request() + self._broadcast(now)
        return self._on_want(connection, message, sender, now)

    def refuse_message(self, connection: int, problem: str, now: float) -> list[Effect]:
        """Tell the agent of a connection what is wrong with its message, and close it."""
        refused = f"refused a message: {problem}"
        report = self._report_to(connection, now, refused=problem)
        return [report, CloseConnection(connection, refused)]

    def on_fact(self, fact: Fact, now: float) -> list[Effect]:
        """Handle a fact from ExaBGP: an answer, or what happened to a session or its files."""
        if isinstance(fact, SessionChanged):
            return self._on_session(fact.neighbor, fact.session, fact.detail, now)
        if isinstance(fact, SessionNegotiated):
            neighbor = self.neighbors.get(fact.neighbor)
            changed = neighbor is not None and neighbor.set_negotiated(fact.negotiated)
            return self._broadcast(now) if changed else []
        if isinstance(fact, ConfigLoaded):
            return self._on_loaded(fact, now)
        return self._on_answer(fact, now)

    def on_written(self, written: WriteResult, settings: Settings, now: float) -> list[Effect]:
        """Handle that the speaker's files were written.

        ``settings`` are those of the new files; they count once ExaBGP has loaded its own.
        """
        self._next_settings, self._changed_neighbors = settings, written.changed_neighbors
        effects = self.reconfiguration.on_written(written, self._sessions(), now)
        if not written.file_changed and written.config == self.loaded_config:
            effects += self._adopt(now)
        return effects + self._broadcast(now)

    def on_write_failed(self, problem: str, now: float) -> list[Effect]:
        """Handle that the speaker's files could not be written; ``problem`` says why."""
        return self.reconfiguration.on_write_failed(problem) + self._broadcast(now)

    def tick(self, now: float) -> list[Effect]:
        """Advance time to ``now``.  Call it often, after everything pending has been read."""
        effects: list[Effect] = []
        if self.expires_at is not None and now >= self.expires_at:
            count = len(self.adj_rib_out.advertised)
            effects.append(Log(f"the lease expired: {count} routes are withdrawn"))
            self.expirations += 1
            self.expires_at = None
            self.adj_rib_out.request(())
            effects += self._send_difference(now) + self._broadcast(now)
        if self.owner.tick(now):
            effects += [Log("agents may announce again"), *self._send_difference(now)]
            effects += self._broadcast(now)
        before = self.reconfiguration.phase
        effects += self.reconfiguration.tick(self._sessions(), now)
        if self.reconfiguration.phase is not before:
            effects += self._broadcast(now)
        return effects + self._poll_speaker(now)

    # Agents ---------------------------------------------------------------------------------------

    def _on_want(self, connection: int, want: Want, sender: Sender, now: float) -> list[Effect]:
        if self._is_stale(connection, want.epoch):
            return self._refuse_stale(connection, now)
        if want.epoch == self.owner.epoch and want.serial <= self.serial:
            return [self._report_to(connection, now)]  # repeated or overtaken: it renews nothing
        effects = self._acquire(connection, want, sender, now)
        if want.routes and want.expirations not in {None, self.expirations}:
            return effects + self._report_to_owner(now)
        self.serial = want.serial
        self.adj_rib_out.request(want.routes, want.levels)
        self.expires_at = now + min(want.ttl, self.settings.ttl_max) if want.routes else None
        effects += self._send_difference(now)
        self.outstanding.mark_want(want.serial)
        # Answered at once, so that the agent can tell silence; and again when all is confirmed.
        return effects + (self._report_confirmed(now) or self._report_to_owner(now))

    def _is_stale(self, connection: int, epoch: int) -> bool:
        return self.owner.is_stale(connection, epoch, leased=self.expires_at is not None)

    def _refuse_stale(self, connection: int, now: float) -> list[Effect]:
        lost = f"pid {self.owner.pid} owns the lease; it started later"
        return [self._report_to(connection, now, lost=lost), CloseConnection(connection, lost)]

    def _acquire(self, connection: int, want: Want, sender: Sender, now: float) -> list[Effect]:
        """Make the agent that sent ``want`` the owner, and tell the one that loses the lease."""
        before = (self.owner.connection, self.owner.epoch, self.owner.crash_looping)
        loser = self.owner.acquire(connection, want, now)
        effects: list[Effect] = []
        if connection == before[0]:
            return effects
        if loser is not None:
            lost = f"pid {want.pid} took the lease over"
            effects += [self._report_to(loser, now, lost=lost), CloseConnection(loser, lost)]
        if want.epoch != before[1]:
            effects.append(Log(f"the agent with pid {want.pid} owns the lease ({sender})"))
            # Each agent counts its own serials: those of another one mean nothing to it.
            self.outstanding.reset_acked()
        if self.owner.crash_looping and not before[2]:
            effects.append(Log(self.owner.describe_ban(now)))
        return effects

    # The speaker ----------------------------------------------------------------------------------

    def _poll_speaker(self, now: float) -> list[Effect]:
        """Send ExaBGP the query that is due, and kill it where it does not answer."""
        timeout = self.settings.answer_timeout
        if self.outstanding.is_waiting():
            overdue = self.outstanding.pop_overdue(timeout, now)
            if overdue is None:
                return []
            detail = f"no answer within {timeout:g} s to: {describe_command(overdue)}"
            return [KillSpeaker(detail)]
        if self.adj_rib_out.is_read_due(self.settings, now):
            self.adj_rib_out.on_query()
            # No summary during a reload: ExaBGP may fail at a neighbor that is gone.
            idle = self.reconfiguration.phase is ReconfigurePhase.IDLE
            queries = (QuerySessions(), QueryAdjRibOut()) if idle else (QueryAdjRibOut(),)
            return self.outstanding.send(queries, now)
        if not self.outstanding.is_ping_due(self.settings.ping_interval, now):
            return []
        if self.adj_rib_out.known:
            return self.outstanding.send((Ping(),), now)
        return self._retry_query(now)

    def _retry_query(self, now: float) -> list[Effect]:
        """Query the adj-rib-out once more; kill ExaBGP if it could not be read for too long."""
        if now - self._started_at < self.settings.inherit_ttl + self.settings.answer_timeout:
            return self.outstanding.send((QueryAdjRibOut(),), now)
        self._started_at = now
        return [KillSpeaker("its adj-rib-out cannot be read: what it announces is unknown")]

    def _send_difference(self, now: float) -> list[Effect]:
        """Filter the requested routes by the settings, and send what differs from advertised."""
        commands = self.adj_rib_out.update(self.settings, banned=self.owner.crash_looping, now=now)
        if commands:
            self.errors.clear()
        return self.outstanding.send(commands, now)

    def _on_answer(self, answer: Answer, now: float) -> list[Effect]:
        effects: list[Effect] = []
        command = answer.command
        self.outstanding.confirm_answer(answer)
        if answer.error is not None:
            text = f"{describe_command(command)}: {answer.error}"
            self.errors.append(text)
            effects.append(Log(f"ExaBGP refused {text}"))
        if isinstance(command, Announce | Withdraw):
            if answer.error is not None:
                self.adj_rib_out.on_refused(command)
        elif answer.version is not None:
            self.version = answer.version
        elif answer.sessions is not None:
            changes, doubtful = compare_sessions(self.neighbors, answer.sessions)
            for address, session, detail in changes:
                effects += self._on_session(address, session, detail, now)
            if doubtful:
                effects += self.outstanding.send((QuerySessions(),), now)
        elif isinstance(command, QueryAdjRibOut):
            effects += self._on_rib(None if answer.error is not None else answer.rib or (), now)
        return effects + self._report_confirmed(now)

    def _on_session(self, address: str, session: Session, detail: str, now: float) -> list[Effect]:
        neighbor = self.neighbors.get(address)
        if neighbor is None:
            return []
        before = neighbor.session
        if not neighbor.set_session(session, detail, now):
            return []
        if before is session:
            return self._broadcast(now)
        self.reconfiguration.on_session(address, session)
        effects: list[Effect] = []
        if session is Session.UP:
            effects += self.outstanding.send(self.adj_rib_out.reannounce(address, now), now)
        return effects + self._broadcast(now)

    def _on_rib(self, rib: tuple[Route, ...] | None, now: float) -> list[Effect]:
        """Handle ExaBGP's adj-rib-out; None: it could not be read."""
        self.adj_rib_out.on_read(now)
        if rib is None:
            self.adj_rib_out.on_unreadable(self.neighbors, now)
            return self._check_rib(now)
        if not self.adj_rib_out.known:
            return self._inherit(rib, now)
        if self.outstanding.list_unconfirmed_routes():
            return []  # sent since the query: the answer is older than what is advertised
        commands = self.adj_rib_out.compare_rib(rib, self.neighbors, now)
        effects = self.outstanding.send(commands, now)
        if commands:
            effects.append(Log(f"ExaBGP's adj-rib-out differed: repaired {len(commands)} routes"))
        return effects + self._check_rib(now)

    def _check_rib(self, now: float) -> list[Effect]:
        """Report the result of a reading; kill ExaBGP if it failed too often in a row."""
        detail = self.adj_rib_out.pop_failure()
        return self._broadcast(now) + ([KillSpeaker(detail)] if detail else [])

    def _inherit(self, rib: tuple[Route, ...], now: float) -> list[Effect]:
        self.adj_rib_out.inherit_routes(rib)
        effects: list[Effect] = []
        if self.owner.connection is None and self.expires_at is None:
            self.adj_rib_out.request(rib)
            self.expires_at = now + self.settings.inherit_ttl if rib else None
        if rib:
            effects.append(Log(f"inherited {len(rib)} routes from the lease before"))
        effects += self._send_difference(now)
        return effects + self._broadcast(now)

    # Other settings -------------------------------------------------------------------------------

    def _on_loaded(self, fact: ConfigLoaded, now: float) -> list[Effect]:
        effects = self.reconfiguration.on_loaded(fact, now)
        if fact.error is None and self._next_settings is not None:
            effects += self._adopt(now)
        return effects + self._broadcast(now)

    def _adopt(self, now: float) -> list[Effect]:
        """Adopt the settings that were written, and send what differs because of them."""
        settings, self._next_settings = self._next_settings, None
        if settings is None:
            return []
        self.settings, self._settings_changed = settings, True
        self.neighbors = {
            address: self.neighbors.get(address) or NeighborState(now)
            for address in settings.neighbors
        }
        # A session that starts anew has no routes, whatever was advertised to its neighbor before.
        self.adj_rib_out.keep_neighbors(set(self.neighbors) - set(self._changed_neighbors))
        return self._send_difference(now) + self.outstanding.send((QuerySessions(),), now)

    def _sessions(self) -> dict[str, Session]:
        return {address: neighbor.session for address, neighbor in self.neighbors.items()}

    # Reports --------------------------------------------------------------------------------------

    def _report_confirmed(self, now: float) -> list[Effect]:
        """Report to the owner if ExaBGP has confirmed all of a Want."""
        return self._report_to_owner(now) if self.outstanding.update_acked() else []

    def _report_to_owner(self, now: float) -> list[Effect]:
        """Report to the owner, once the state is known."""
        owner = self.owner.connection
        return [self._report_to(owner, now)] if self.adj_rib_out.known and owner is not None else []

    def _broadcast(self, now: float) -> list[Effect]:
        """Report to every connection, once the state is known."""
        if not self.adj_rib_out.known:
            return []
        return [self._report_to(connection, now) for connection in self._reported]

    def _report_to(
        self, connection: int, now: float, *, lost: str = "", refused: str = ""
    ) -> SendReport:
        """Report to one connection; ``leased`` only where it differs from the report before."""
        now_leased = self.adj_rib_out.describe_leased()
        leased = None if self._reported.get(connection) == now_leased else now_leased
        self._reported[connection] = now_leased
        report = build_report(self, now, leased, lost=lost, refused=refused)
        return SendReport(report, connection)
