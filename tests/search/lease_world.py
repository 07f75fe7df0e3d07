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

from anycastd.bgp.session import Session
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, VipState, advance, restart_at_withdrawn
from anycastd.evidence.haproxy.snapshot import Gone, Observation
from anycastd.evidence.sources import Evidence
from anycastd.lease.commands import SessionChanged
from anycastd.lease.effects import Effect, SendReport
from anycastd.lease.machine import LeaseMachine
from anycastd.lease.messages import Report, Want
from search.effort import thorough
from support.lease_rig import PEERS, VIPS, LeaseRig
from support.profiles import profile
from support.snapshots import NO, UNPROVED, YES, snapshot

ITS = profile()
TTL, TICK = ITS.ttl, 0.05
SPACING, STANDBY = 35.0, 7
WHICH = st.sampled_from([0, 1, -1])
"""Of the messages that are on their way: the oldest ones, or the newest."""
SHOWN = {
    "well": partial(snapshot, YES, YES),
    "less": partial(snapshot, YES, NO, NO),
    "failed": partial(snapshot, NO, NO),
    "unproved": partial(snapshot, UNPROVED, UNPROVED),
}


@dataclass
class Agent:
    """The agent's core with a connection; ``now`` is its own time."""

    epoch: int
    now: float
    connection: int
    memory: dict[str, Memory] = field(default_factory=dict)
    serial: int = 0
    view: LeaseView = field(default_factory=LeaseView)

    def hear(self, line: bytes) -> None:
        """Take a report."""
        report, before = Report.load(line), self.view.report
        leased = self.view.leased if report.leased is None else report.leased
        if before is not None:
            lapsed = before.expirations != report.expirations
            if before.instance != report.instance:  # another process, which may hold nothing
                lapsed = not leased and report.expires_in is None
            if lapsed:
                self.memory |= restart_at_withdrawn(self.memory, self.now)
        self.view = LeaseView(connected=True, report=report, leased=leased)

    def act(self, look: Observation) -> bytes | None:
        """Run a pass, and give what it says."""
        inputs = Inputs(Evidence({"main": look}), {VIPS[0]: VipState(usable=True)}, self.view)
        step = advance(ITS, self.memory, inputs, self.now)
        self.memory = dict(step.memory)
        if step.wanted is None:
            return None
        self.serial += 1
        expirations = None if self.view.report is None else self.view.report.expirations
        return Want(
            self.serial, TTL, step.wanted, self.epoch, self.epoch, expirations=expirations
        ).dump()


class Whole(RuleBasedStateMachine):
    """One agent at a time, its lease, and what is between them."""

    lease: type[LeaseMachine] = LeaseMachine

    def __init__(self) -> None:
        super().__init__()
        self.rig = LeaseRig()
        self.instances = 0
        self._begin_lease()
        self.shown = "well"
        self.wire: list[tuple[int, bytes]] = []
        self.last: tuple[int, bytes] | None = None
        self.deaf = False
        self.newest = (0, 0)
        self.granted = self.rig.now
        self.lapsed: float | None = None
        self.epochs = 0
        self.agent = self._another()

    def _begin_lease(self) -> None:
        self.instances += 1
        settings = replace(self.rig.lease.settings, instance=f"lease {self.instances}")
        self.rig.lease = self.lease(settings, self.rig.now)
        self.rig.exabgp.outstanding.clear()

    def _another(self) -> Agent:
        self.epochs += 1
        now = 1000.0 if self.epochs == 1 else self.agent.now
        agent = self.agent = Agent(self.epochs, now, 10 * self.epochs)
        self._back(self.rig.lease.on_connected(agent.connection, self.rig.now))
        self._back(self.rig.lease.start(self.rig.now))
        return agent

    def _back(self, effects: list[Effect]) -> None:
        """Carry out what the lease asks for; the agent hears of it, unless it is deaf."""
        for effect in self.rig.carry_out(effects):
            if (
                isinstance(effect, SendReport)
                and effect.to == self.agent.connection
                and not self.deaf
            ):
                self.agent.hear(effect.report.dump())

    def _look(self) -> Observation:
        if self.shown == "gone":
            return Gone(self.agent.now, "refused")
        return SHOWN[self.shown](asked_at=self.agent.now)

    def _pass(self) -> None:
        line = self.agent.act(self._look())
        if line is not None:
            self.wire.append((self.agent.connection, line))

    def _deliver(self, connection: int, line: bytes) -> None:
        self.last = connection, line
        said = Want.load(line)
        if (said.epoch, said.serial) > self.newest:
            self.newest = (said.epoch, said.serial)
            self.granted = self.rig.now + TTL
        self._back(self.rig.lease.on_message(connection, line, self.rig.now))

    @initialize(settled=st.booleans())
    def begin(self, *, settled: bool) -> None:
        """It begins just now, or is at its preferred path already."""
        self._pass()
        if settled:
            self._time(60.0, TICK)
            self.calm()

    @rule(shown=st.sampled_from([*SHOWN, "gone"]))
    def see(self, shown: str) -> None:
        """HAProxy shows something else, and the agent looks."""
        self.shown = shown
        self._pass()

    @rule(seconds=st.sampled_from([0.05, 0.5, 1.0, 2.0, 4.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        """Both sides live on; nothing that the agent says arrives meanwhile."""
        self._time(seconds, seconds)

    @rule(seconds=st.sampled_from([0.5, 5.0, 60.0]), who=st.sampled_from(["agent", "lease", "all"]))
    def stall(self, seconds: float, who: str) -> None:
        """Somebody is away: of that, his own time counts two ticks."""
        away = 2 * TICK
        self._time(
            seconds if who == "lease" else away,
            seconds if who == "agent" else away,
        )

    def _time(self, agents: float, leases: float) -> None:
        began, expirations = self.agent.now, self.rig.lease.expirations
        self.agent.now += agents
        for _ in range(round(leases / TICK)):
            self.rig.now += TICK
            self._back(self.rig.lease.tick(self.rig.now))
        if self.rig.lease.expirations > expirations:
            self.lapsed = began
        self._pass()

    @precondition(lambda self: self.wire)
    @rule(which=WHICH, again=st.booleans())
    def arrives(self, which: int, again: bool) -> None:
        """Any message arrives, and may arrive again."""
        at = which % len(self.wire)
        self._deliver(*self.wire[at])
        if not again:
            del self.wire[at]

    @precondition(lambda self: self.last is not None)
    @rule()
    def comes_again(self) -> None:
        """What arrived last arrives once more."""
        assert self.last is not None
        self._deliver(*self.last)

    @precondition(lambda self: self.wire)
    @rule(which=WHICH)
    def lost(self, which: int) -> None:
        """A message never arrives."""
        del self.wire[which % len(self.wire)]

    @rule(deaf=st.booleans())
    def reports_are_lost(self, deaf: bool) -> None:
        """What the lease says does not arrive, for a while."""
        self.deaf = deaf

    @rule(known=st.booleans())
    def agent_dies(self, known: bool) -> None:
        """Another one comes; of the first, the lease hears at once or never."""
        if known:
            self.rig.lease.on_disconnected(self.agent.connection)
        self.deaf = False
        self._another()

    @rule()
    def lease_dies(self) -> None:
        """Another lease process inherits what stands in ExaBGP, for a bounded time."""
        self._begin_lease()
        self.newest = (0, 0)
        self.wire.clear()
        self.last = None
        self.granted = self.rig.now + self.rig.lease.settings.inherit_ttl
        self.agent.connection += 1
        # Nothing is said on a connection before its first report.
        deaf, self.deaf = self.deaf, False
        self._back(self.rig.lease.on_connected(self.agent.connection, self.rig.now))
        self._back(self.rig.lease.start(self.rig.now))
        self.deaf = deaf

    @rule(peer=st.sampled_from(PEERS), session=st.sampled_from([Session.UP, Session.DOWN]))
    def session(self, peer: str, session: Session) -> None:
        """A session comes or goes."""
        self._back(self.rig.lease.on_fact(SessionChanged(peer, session), self.rig.now))

    @rule()
    def calm(self) -> None:
        """Everything arrives in order: what stands is what the agent wants, and rightly."""
        self.deaf = False
        self.wire.clear()
        self._back(self.rig.lease.on_connected(self.agent.connection, self.rig.now))
        for _ in range(2):
            self._pass()
            while self.wire:
                self._deliver(*self.wire.pop(0))
        if self.shown in {"failed", "gone"}:
            assert not self.rig.exabgp.rib, "nobody serves, and it is announced"

    @invariant()
    def nothing_is_held_past_its_time(self) -> None:
        """Each route that stands was wanted by a message that was new, a short time ago."""
        rib = self.rig.exabgp.rib
        assert set(rib.values()) == set(self.rig.lease.adj_rib_out.permitted.values())
        if rib:
            assert self.rig.now <= self.granted + TICK + 1e-6, "held past its time"

    @invariant()
    def what_ran_out_comes_back_at_standby(self) -> None:
        """Whatever was on its way meanwhile; better paths wait for the spacing."""
        if self.lapsed is not None and self.agent.now - self.lapsed < SPACING:
            for stands in self.rig.exabgp.rib.values():
                assert len(stands.as_path) == STANDBY, "it comes back as if nothing had happened"

    def teardown(self) -> None:
        """The agent is gone for good: so is what it announced, after its time."""
        for _ in range(round(self.rig.lease.settings.ttl_max / TICK) + 1):
            self.rig.now += TICK
            self._back(self.rig.lease.tick(self.rig.now))
        assert not self.rig.exabgp.rib, "it outlives its agent"


def search(lease: type[LeaseMachine], examples: int, *, shrink: bool = True) -> None:
    """Search for a broken promise of agent and lease."""
    run_state_machine_as_test(
        type("WholeOfALease", (Whole,), {"lease": lease}),
        settings=thorough(examples, shrink=shrink),
    )
