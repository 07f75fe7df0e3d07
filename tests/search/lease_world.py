"""Agent and lease together, over a connection that loses, repeats and reorders messages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.session import Session
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import (
    Inputs,
    LeaseView,
    VipState,
    advance,
    has_lost_routes,
    restart_at_withdrawn,
)
from anycastd.evidence.haproxy.snapshot import Gone, Observation
from anycastd.evidence.sources import Evidence
from anycastd.lease.commands import Fact, SessionChanged, SessionNegotiated
from anycastd.lease.due import find_due_at
from anycastd.lease.effects import Effect, SendReport
from anycastd.lease.machine import LeaseMachine
from anycastd.lease.messages import Report, Want
from search.effort import search_settings
from support.lease_rig import PEERS, VIPS, LeaseRig
from support.profiles import profile
from support.snapshots import NO, UNPROVED, YES, snapshot

PROFILE = profile()
TTL, TICK = PROFILE.ttl, 0.05
SPACING, STANDBY_LENGTH = 35.0, 7
POSITIONS = st.sampled_from([0, 1, -1])
"""Positions among the messages in transit: one of the oldest, or the newest."""
LOOKS = {
    "healthy": partial(snapshot, YES, YES),
    "degraded": partial(snapshot, YES, NO, NO),
    "failed": partial(snapshot, NO, NO),
    "unproved": partial(snapshot, UNPROVED, UNPROVED),
}


@dataclass
class Agent:
    """The decisions of an agent, and its end of the connection; ``now`` is its own time."""

    epoch: int
    now: float
    connection: int
    memory: dict[str, Memory] = field(default_factory=dict)
    serial: int = 0
    view: LeaseView = field(default_factory=LeaseView)

    def receive(self, line: bytes) -> None:
        """Receive a report."""
        report = Report.load(line)
        leased = self.view.leased if report.leased is None else report.leased
        answers_newest = report.serial == self.serial
        if has_lost_routes(self.view, report, leased, answers_newest=answers_newest):
            self.memory |= restart_at_withdrawn(self.memory, self.now)
        self.view = LeaseView(connected=True, report=report, leased=leased)

    def connect(self) -> None:
        """Connect anew: the connection before is closed."""
        self.connection += 1
        self.view = replace(self.view, connected=False)

    def run_pass(self, look: Observation) -> bytes | None:
        """Run a pass and return its message to the lease, None where there is none."""
        inputs = Inputs(Evidence({"main": look}), {VIPS[0]: VipState(usable=True)}, self.view)
        result = advance(PROFILE, self.memory, inputs, self.now)
        self.memory = dict(result.memory)
        if result.wanted is None:
            return None
        self.serial += 1
        expirations = None if self.view.report is None else self.view.report.expirations
        return Want(
            self.serial, TTL, result.wanted, self.epoch, self.epoch, expirations=expirations
        ).dump()


class AgentAndLease(RuleBasedStateMachine):
    """One agent at a time, its lease, and the messages in transit from the agent.

    Agent and lease have clocks of their own.  ``renewed_until``: when the lease must expire at the
    latest, by its clock.  ``expired_at``: the last expiry, or connection that was closed while
    nothing was leased, by the agent's clock.  ``families``:
    neighbor -> what its session carries, where that is reported.
    """

    lease: type[LeaseMachine] = LeaseMachine

    def __init__(self) -> None:
        super().__init__()
        self.rig = LeaseRig()
        self.instances = 0
        self.families: dict[str, tuple[str, ...]] = {}
        self._start_lease()
        self.haproxy = "healthy"
        self.in_transit: list[tuple[int, bytes]] = []
        self.delivered: tuple[int, bytes] | None = None
        self.reports_lost = False
        self.newest_want = (0, 0)
        self.renewed_until = self.rig.now
        self.expired_at: float | None = None
        self.epochs = 0
        self.agent = self._start_agent()

    def _start_lease(self) -> None:
        self.instances += 1
        settings = replace(self.rig.lease.settings, lease_id=f"lease {self.instances}")
        self.rig.lease = self.lease(settings, self.rig.now)
        self.rig.exabgp.outstanding.clear()
        for neighbor in self.families:  # ExaBGP tells each new lease process
            self._carry_out(self.rig.lease.on_fact(self._build_negotiated(neighbor), self.rig.now))

    def _start_agent(self) -> Agent:
        self.epochs += 1
        now = 1000.0 if self.epochs == 1 else self.agent.now
        agent = self.agent = Agent(self.epochs, now, 1000 * self.epochs)
        self._carry_out(self.rig.lease.on_connected(agent.connection, self.rig.now))
        self._carry_out(self.rig.lease.start(self.rig.now))
        return agent

    def _carry_out(self, effects: list[Effect]) -> None:
        """Carry out the effects of the lease; the agent receives the reports to it."""
        for effect in self.rig.carry_out(effects):
            if (
                isinstance(effect, SendReport)
                and effect.to == self.agent.connection
                and not self.reports_lost
            ):
                self.agent.receive(effect.report.dump())

    def _look(self) -> Observation:
        if self.haproxy == "gone":
            return Gone(self.agent.now, "refused")
        return LOOKS[self.haproxy](asked_at=self.agent.now)

    def _run_pass(self) -> None:
        line = self.agent.run_pass(self._look())
        if line is not None:
            self.in_transit.append((self.agent.connection, line))

    def _deliver(self, connection: int, line: bytes) -> None:
        self.delivered = connection, line
        want = Want.load(line)
        if (want.epoch, want.serial) > self.newest_want:
            self.newest_want = (want.epoch, want.serial)
            self.renewed_until = self.rig.now + TTL
        self._carry_out(self.rig.lease.on_message(connection, line, self.rig.now))

    @initialize(settled=st.booleans())
    def begin(self, *, settled: bool) -> None:
        """Begin with a new agent, or with one at its preferred path."""
        self._run_pass()
        if settled:
            self._advance(60.0, TICK)
            self.deliver_in_order()

    @rule(state=st.sampled_from([*LOOKS, "gone"]))
    def change_haproxy(self, state: str) -> None:
        """Change the state of HAProxy, and run a pass."""
        self.haproxy = state
        self._run_pass()

    @rule(seconds=st.sampled_from([0.05, 0.5, 1.0, 2.0, 4.0, 6.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass on both sides; no message of the agent arrives meanwhile."""
        self._advance(seconds, seconds)

    @rule(
        seconds=st.sampled_from([0.5, 5.0, 60.0]),
        side=st.sampled_from(["agent", "lease", "both"]),
    )
    def stall(self, seconds: float, side: str) -> None:
        """Stall a side: of that time, its own time counts two ticks."""
        stalled = 2 * TICK
        self._advance(
            seconds if side == "lease" else stalled,
            seconds if side == "agent" else stalled,
        )

    def _advance(self, agent: float, lease: float) -> None:
        began_at, expirations = self.agent.now, self.rig.lease.expirations
        self.agent.now += agent
        for _ in range(round(lease / TICK)):
            self._tick()
        if self.rig.lease.expirations > expirations:
            self.expired_at = began_at
        self._run_pass()

    def _tick(self) -> None:
        """Advance the lease by a tick; the lease process leaves out those that are not due."""
        self.rig.now += TICK
        is_due = self.rig.now >= find_due_at(self.rig.lease)
        effects = self.rig.lease.tick(self.rig.now)
        assert is_due or not effects, "the lease process would have left out this tick"
        self._carry_out(effects)

    @precondition(lambda self: self.in_transit)
    @rule(position=POSITIONS, keep=st.booleans())
    def deliver(self, position: int, keep: bool) -> None:
        """Deliver any message; ``keep`` it in transit, so that it may arrive twice."""
        index = position % len(self.in_transit)
        self._deliver(*self.in_transit[index])
        if not keep:
            del self.in_transit[index]

    @precondition(lambda self: self.delivered is not None)
    @rule()
    def repeat_message(self) -> None:
        """Deliver the last delivered message once more."""
        assert self.delivered is not None
        self._deliver(*self.delivered)

    @precondition(lambda self: self.in_transit)
    @rule(position=POSITIONS)
    def lose_message(self, position: int) -> None:
        """Lose a message."""
        del self.in_transit[position % len(self.in_transit)]

    @rule(lost=st.booleans())
    def lose_reports(self, lost: bool) -> None:
        """Lose all reports of the lease, until this changes."""
        self.reports_lost = lost

    @rule(noticed=st.booleans())
    def replace_agent(self, noticed: bool) -> None:
        """Replace the agent; the lease notices the end of the first at once, or never.

        Where it has noticed, it has read all that came before.
        """
        if noticed:
            closed = self.agent.connection
            self.rig.lease.on_disconnected(closed)
            self.in_transit = [each for each in self.in_transit if each[0] != closed]
            if self.delivered is not None and self.delivered[0] == closed:
                self.delivered = None
        self.reports_lost = False
        self._start_agent()

    @rule()
    def replace_lease(self) -> None:
        """Replace the lease process: the next one inherits the routes for a bounded time."""
        self._start_lease()
        self.newest_want = (0, 0)
        self.in_transit.clear()
        self.delivered = None
        self.renewed_until = self.rig.now + self.rig.lease.settings.inherit_ttl
        self.agent.connect()
        self._receive_first_report()

    @rule(seconds=st.sampled_from([0.05, 2.0, 60.0]))
    def close_connection(self, seconds: float) -> None:
        """Close the connection: nothing in transit arrives any more; the agent is back later."""
        self.rig.lease.on_disconnected(self.agent.connection)
        self.agent.connect()
        self._advance(seconds, seconds)
        # A lease process that answers a new connection has read what came on older ones.
        self.in_transit.clear()
        self.delivered = None
        if self.rig.lease.expires_at is None:
            self.expired_at = self.agent.now  # whatever it has decided until now
        self._receive_first_report()

    @rule(
        neighbor=st.sampled_from(PEERS),
        session=st.sampled_from([Session.UP, Session.DOWN]),
        families=st.sampled_from([None, ("ipv4",), ("ipv6",), ("ipv4", "ipv6"), ()]),
    )
    def change_session(
        self, neighbor: str, session: Session, families: tuple[str, ...] | None
    ) -> None:
        """Close the session with a neighbor; where it comes up again, it carries ``families``.

        None: ExaBGP does not report what was agreed on.
        """
        facts: list[Fact] = [SessionChanged(neighbor, Session.DOWN)]
        self.families.pop(neighbor, None)
        self.rig.exabgp.up.discard(neighbor)
        if session is Session.UP:
            self.rig.exabgp.up.add(neighbor)
            if families is not None:
                self.families[neighbor] = families
                facts.append(self._build_negotiated(neighbor))
            facts.append(SessionChanged(neighbor, Session.UP))
        for fact in facts:
            self._carry_out(self.rig.lease.on_fact(fact, self.rig.now))

    def _receive_first_report(self) -> None:
        """Connect: an agent sends nothing on a connection before its first report arrived."""
        lost, self.reports_lost = self.reports_lost, False
        self._carry_out(self.rig.lease.on_connected(self.agent.connection, self.rig.now))
        self._carry_out(self.rig.lease.start(self.rig.now))
        self.reports_lost = lost

    def _build_negotiated(self, neighbor: str) -> SessionNegotiated:
        agreed = Negotiated(self.families[neighbor], 9, four_octet_as=True)
        return SessionNegotiated(neighbor, agreed)

    def _has_session(self) -> bool:
        """Tell whether a session is up that carries the VIP's family, as far as it is reported."""
        return any("ipv4" in self.families.get(each, ("ipv4",)) for each in self.rig.exabgp.up)

    @rule()
    def deliver_in_order(self) -> None:
        """Deliver everything in order: without a server, nothing is announced after that."""
        self.reports_lost = False
        self.in_transit.clear()
        self._carry_out(self.rig.lease.on_connected(self.agent.connection, self.rig.now))
        for _ in range(2):
            self._run_pass()
            while self.in_transit:
                self._deliver(*self.in_transit.pop(0))
        if self.haproxy in {"failed", "gone"}:
            assert not self.rig.exabgp.rib, "announced although no server is up"
        if not self._has_session():
            lengths = {len(announced.as_path) for announced in self.rig.exabgp.rib.values()}
            at_standby = lengths <= {STANDBY_LENGTH}
            assert at_standby, "at a shorter path without a session that carries its family"

    @invariant()
    def routes_end_with_the_lease(self) -> None:
        """Each announced route was wanted by a new message, at most its time to live ago."""
        rib = self.rig.exabgp.rib
        assert set(rib.values()) == set(self.rig.lease.adj_rib_out.permitted.values())
        if rib:
            in_time = self.rig.now <= self.renewed_until + TICK + 1e-6
            assert in_time, "announced after the lease must have expired"

    @invariant()
    def expired_routes_return_at_standby(self) -> None:
        """After an expiry, whatever is lost, a shorter path waits for the spacing."""
        if self.expired_at is not None and self.agent.now - self.expired_at < SPACING:
            for announced in self.rig.exabgp.rib.values():
                at_standby = len(announced.as_path) == STANDBY_LENGTH
                assert at_standby, "announced at a shorter path soon after an expiry"

    def teardown(self) -> None:
        """End the agent for good: all routes end with the lease."""
        for _ in range(round(self.rig.lease.settings.ttl_max / TICK) + 1):
            self._tick()
        assert not self.rig.exabgp.rib, "announced after the end of its agent"


def search_lease(lease: type[LeaseMachine], examples: int, *, shrink: bool = True) -> None:
    """Try ``examples`` random sequences; ``shrink`` a sequence that breaks an invariant."""
    run_state_machine_as_test(
        type("AgentAndThisLease", (AgentAndLease,), {"lease": lease}),
        settings=search_settings(examples, shrink=shrink),
    )
