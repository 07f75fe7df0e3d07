"""A lease without I/O for tests: its state machine, and a fake ExaBGP that answers it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.lease.commands import (
    Announce,
    Answer,
    Command,
    Ping,
    QueryAdjRibOut,
    QuerySessions,
    Withdraw,
)
from anycastd.lease.effects import Effect, SendCommand, SendReport
from anycastd.lease.machine import LeaseMachine
from anycastd.lease.messages import Report, Want
from anycastd.lease.settings import Settings

PEERS = ("192.0.2.4", "192.0.2.5")
VIPS = ("203.0.113.10/32", "203.0.113.11/32")


def route(vip: str = VIPS[0], neighbor: str = PEERS[0], asns: int = 1) -> Route:
    """Build a route whose path has our ASN ``asns`` times."""
    return Route(neighbor, vip, "192.0.2.10", (65010,) * asns)


def want(
    serial: int,
    *routes: Route,
    ttl: float = 5.0,
    epoch: int = 1,
    pid: int = 7,
    expirations: int | None = None,
) -> bytes:
    """Build the line of a Want; ``ttl`` is in seconds."""
    return Want(serial, ttl, routes, epoch, pid, expirations=expirations).dump()


@dataclass
class Exabgp:
    """A fake ExaBGP: it answers commands in order, and keeps an adj-rib-out.

    ``rib`` is its adj-rib-out, ``up`` the neighbors with a session, ``outstanding`` the commands
    without an answer, ``received`` all commands.
    """

    rib: dict[tuple[str, str], Route] = field(default_factory=dict)
    up: set[str] = field(default_factory=lambda: set(PEERS))
    outstanding: deque[Command] = field(default_factory=deque)
    received: list[Command] = field(default_factory=list)

    def receive(self, effects: list[Effect]) -> None:
        """Receive the commands among the effects of the lease."""
        for effect in effects:
            if isinstance(effect, SendCommand):
                self.outstanding.append(effect.command)
                self.received.append(effect.command)

    def answer_next(self) -> Answer:
        """Carry out the oldest command and return its answer.

        Raises AssertionError for the withdrawal of a route that is not there, or an unknown
        command; IndexError without a command.
        """
        match command := self.outstanding.popleft():
            case Announce(one):
                self.rib[one.key] = one
                return Answer(command)
            case Withdraw(one):
                assert one.key in self.rib, f"withdrew what was never announced: {one}"
                del self.rib[one.key]
                return Answer(command)
            case Ping():
                return Answer(command, version="4.2.21")
            case QuerySessions():
                return Answer(command, sessions=dict.fromkeys(self.up, Session.UP))
            case QueryAdjRibOut():
                return Answer(command, rib=tuple(self.rib.values()))
        raise AssertionError(command)


class LeaseRig:
    """A lease with a fake ExaBGP that answers at once.

    ``leased`` are the routes that the lease process before it left in ExaBGP.  ``now`` is its own
    time, in seconds.
    """

    def __init__(self, *leased: Route) -> None:
        self.now = 100.0
        self.exabgp = Exabgp({one.key: one for one in leased})
        self.lease = LeaseMachine(
            Settings(
                lease_id="test",
                prefixes=frozenset(VIPS),
                neighbors=PEERS,
                local_as=65010,
                ttl_max=10.0,
                inherit_ttl=5.0,
            ),
            self.now,
        )
        self.effects: list[Effect] = []
        self.lease.on_connected(1, self.now)
        self.carry_out(self.lease.start(self.now))

    def carry_out(self, effects: list[Effect]) -> list[Effect]:
        """Carry out effects until ExaBGP has answered everything; return all effects."""
        done = list(effects)
        self.exabgp.receive(effects)
        while self.exabgp.outstanding:
            more = self.lease.on_fact(self.exabgp.answer_next(), self.now)
            self.exabgp.receive(more)
            done += more
        self.effects += done
        return done

    def send(self, connection: int, line: bytes) -> list[Effect]:
        """Send a line of an agent to the lease; return all effects."""
        return self.carry_out(self.lease.on_message(connection, line, self.now))

    def advance(self, seconds: float) -> list[Effect]:
        """Advance own time by ``seconds``, in ticks of 50 ms; return all effects."""
        done: list[Effect] = []
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            done += self.carry_out(self.lease.tick(self.now))
        return done


def reports_in(effects: list[Effect]) -> list[Report]:
    """Return the reports among effects."""
    return [effect.report for effect in effects if isinstance(effect, SendReport)]
