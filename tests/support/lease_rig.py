"""A lease without any I/O for tests: its machine, and an ExaBGP by hand that answers it."""

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
    """Give a route of ours with ``asns`` times our ASN."""
    return Route(neighbor, vip, "192.0.2.10", (65010,) * asns)


def want(
    serial: int,
    *routes: Route,
    ttl: float = 5.0,
    epoch: int = 1,
    pid: int = 7,
    expirations: int | None = None,
) -> bytes:
    """Give a Want as it comes over the socket."""
    return Want(serial, ttl, routes, epoch, pid, expirations=expirations).dump()


@dataclass
class Exabgp:
    """An ExaBGP by hand: answers what it is asked, in order, and keeps an adj-rib-out.

    It fails loudly where the real one would: an unknown command is a bug of the test.
    """

    rib: dict[tuple[str, str], Route] = field(default_factory=dict)
    up: set[str] = field(default_factory=lambda: set(PEERS))
    asked: deque[Command] = field(default_factory=deque)
    heard: list[Command] = field(default_factory=list)

    def take(self, effects: list[Effect]) -> None:
        """Hear what the lease says."""
        for effect in effects:
            if isinstance(effect, SendCommand):
                self.asked.append(effect.command)
                self.heard.append(effect.command)

    def answer(self) -> Answer:
        """Do and answer the oldest command."""
        match command := self.asked.popleft():
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


class Bed:
    """A lease with an ExaBGP that answers at once."""

    def __init__(self, *held: Route) -> None:
        self.now = 100.0
        self.exabgp = Exabgp({one.key: one for one in held})
        self.lease = LeaseMachine(
            Settings(
                instance="test",
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
        self.do(self.lease.start(self.now))

    def do(self, effects: list[Effect]) -> list[Effect]:
        """Carry effects out until ExaBGP has answered everything; give all of them."""
        done = list(effects)
        self.exabgp.take(effects)
        while self.exabgp.asked:
            more = self.lease.on_fact(self.exabgp.answer(), self.now)
            self.exabgp.take(more)
            done += more
        self.effects += done
        return done

    def say(self, connection: int, line: bytes) -> list[Effect]:
        """Let an agent say something."""
        return self.do(self.lease.on_message(connection, line, self.now))

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass in ticks of 50 ms."""
        done: list[Effect] = []
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            done += self.do(self.lease.tick(self.now))
        return done


def reports(effects: list[Effect]) -> list[Report]:
    """Pick the reports."""
    return [effect.report for effect in effects if isinstance(effect, SendReport)]
