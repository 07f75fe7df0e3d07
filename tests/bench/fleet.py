"""A fleet in one process: every appliance's decision and lease, and the router that they all feed.

200 appliances in 20 regions, each with its own profile, memory, pass (``advance``) and lease
(``LeaseMachine``), as they run in production, and one route reflector that counts what it receives.
Looks at HAProxy are made up, ExaBGP answers at once, and an agent whose lease has expired goes on
where it was (a real one begins at standby); nothing else is left out.  Time is an
argument, so a minute of the fleet takes a second or two.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noise import print_line, show_progress

from anycastd.bgp.route import Route
from anycastd.decision.memory import Memory
from anycastd.decision.pipeline import Inputs, LeaseView, VipState, advance
from anycastd.evidence.sources import Evidence
from anycastd.lease.effects import Effect, SendReport
from anycastd.lease.machine import LeaseMachine
from anycastd.lease.messages import Report, Want
from anycastd.lease.settings import Settings
from anycastd.profile.model import Profile
from support.lease_rig import Exabgp
from support.profiles import profile
from support.snapshots import NO, UNPROVED, YES, snapshot

REGIONS, EACH = 20, 10
NEIGHBORS = ("192.0.2.4", "192.0.2.5")
TTL, PASS_EVERY = 5.0, 1.0
TIERS = ((0, 2, 5), (1, 3, 6))
"""Prepends (preferred, degraded, standby) of a first and a second half of the regions."""

Table = dict[tuple[int, str], Route]


class Reflector:
    """The route reflector: what each appliance has announced to it, and how often that changed."""

    def __init__(self) -> None:
        self.routes: Table = {}
        self.changes = 0

    def receive(self, appliance: int, rib: Mapping[tuple[str, str], Route]) -> None:
        """Take over what an appliance has in its adj-rib-out for the first of its neighbors."""
        theirs = {key for key in self.routes if key[0] == appliance}
        now = {
            (appliance, each.prefix): each for each in rib.values() if each.neighbor == NEIGHBORS[0]
        }
        for key in theirs | now.keys():
            if self.routes.get(key) != now.get(key):
                self.changes += 1
        for key in theirs - now.keys():
            del self.routes[key]
        self.routes |= now

    def find_best(self, prefix: str) -> set[int]:
        """Return the appliances with the shortest path for a prefix."""
        found = {key[0]: len(each.as_path) for key, each in self.routes.items() if key[1] == prefix}
        return {number for number, length in found.items() if length == min(found.values())}


class Appliance:
    """One appliance.  ``servers`` is what a look finds, in order; None: its agent hangs."""

    def __init__(self, number: int, its: Profile, now: float) -> None:
        self.number, self.profile = number, its
        self.servers: tuple[Any, ...] | None = (YES, YES)
        self.exabgp = Exabgp(up=set(NEIGHBORS))
        self.memory: Mapping[str, Memory] = {}
        self.report: Report | None = None
        self.serial = 0
        self.want_bytes = 0
        self.vips = {each.prefix: VipState(usable=True) for each in its.services.values()}
        self.lease = LeaseMachine(
            Settings(f"i{number}", frozenset(self.vips), NEIGHBORS, 65010, 10.0, TTL), now
        )
        self.lease.on_connected(1, now)
        self.carry_out(self.lease.start(now), now)

    def carry_out(self, effects: list[Effect], now: float) -> None:
        """Have ExaBGP answer everything, and keep the newest report."""
        while effects or self.exabgp.outstanding:
            self.exabgp.receive(effects)
            for each in effects:
                if isinstance(each, SendReport):
                    self.report = each.report
            effects = []
            if self.exabgp.outstanding:
                effects = self.lease.on_fact(self.exabgp.answer_next(), now)

    def step(self, now: float) -> None:
        """Look, run a pass, renew the lease; an appliance that hangs only has its lease's time."""
        if self.servers is not None:
            evidence = Evidence({"main": snapshot(*self.servers, asked_at=now, pid=1)})
            leased = tuple(self.exabgp.rib.values())
            view = LeaseView(True, self.report, leased)
            step = advance(self.profile, self.memory, Inputs(evidence, self.vips, view), now)
            self.memory, self.serial = step.memory, self.serial + 1
            want = Want(self.serial, TTL, step.wanted or (), 1, 7).dump()
            self.want_bytes = len(want)
            self.carry_out(self.lease.on_message(1, want, now), now)
        self.carry_out(self.lease.tick(now), now)


class Fleet:
    """All appliances with one VIP, and the reflector."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reflector = Reflector()
        self.appliances = [
            Appliance(number, _build_profile(number // EACH), self.now)
            for number in range(REGIONS * EACH)
        ]
        self.prefix = next(iter(self.appliances[0].vips))

    def run(self, seconds: float) -> tuple[int, float]:
        """Let time pass; return the route changes, and the CPU seconds of all appliances."""
        changes, took = self.reflector.changes, 0.0
        for _ in range(round(seconds / PASS_EVERY)):
            self.now += PASS_EVERY
            for each in self.appliances:
                began_at = time.thread_time()
                each.step(self.now)
                took += time.thread_time() - began_at
                self.reflector.receive(each.number, each.exabgp.rib)
        return self.reflector.changes - changes, took


def _build_profile(region: int) -> Profile:
    preferred, degraded, standby = TIERS[region * len(TIERS) // REGIONS]
    return profile(
        ("region: northeurope", f"region: r{region}"),
        ("    prepend: 0\n", f"    prepend: {preferred}\n    ecmp: true\n"),
        ("degraded: {prepend: 3", f"degraded: {{prepend: {degraded}"),
        ("standby: {prepend: 6", f"standby: {{prepend: {standby}"),
    )


def measure_fleet(_: Path, __: str) -> dict[str, Any]:
    """Run the fleet through some faults, print what each costs, and return the figures."""
    fleet = Fleet()
    count, figures = len(fleet.appliances), {}
    print_line(f"a fleet of {count} appliances in {REGIONS} regions, one reflector, 1 VIP")
    print_line(f"{'':44} {'changes':>8} {'best at':>8} {'CPU, us per appliance and s':>28}")

    def tell(what: str, seconds: float) -> None:
        show_progress(what)
        changes, took = fleet.run(seconds)
        best = Counter(number // EACH for number in fleet.reflector.find_best(fleet.prefix))
        each = 1e6 * took / seconds / count
        print_line(f"{what:44} {changes:8} {sum(best.values()):5}/{len(best):2} {each:28.0f}")
        figures[what] = {"changes": changes, "best": sum(best.values()), "cpu_us": each}

    def set_servers(numbers: range, servers: tuple[Any, ...] | None) -> None:
        for number in numbers:
            fleet.appliances[number].servers = servers

    everyone = range(count)
    tell("all start at once", 90)
    tell("ten quiet seconds", 10)
    set_servers(range(1), (NO, NO))
    tell("the servers of one appliance die", 10)
    set_servers(range(EACH), (NO, NO))
    tell("those of its whole region", 10)
    set_servers(range(EACH), (YES, YES))
    tell("they come back", 110)
    set_servers(range(EACH, 2 * EACH), None)
    tell("the agents of one region hang", 10)
    set_servers(everyone, (UNPROVED, UNPROVED))  # those that hung run again, too
    tell("all HAProxys reload, checks come 10 s later", 10)
    set_servers(everyone, (YES, YES))
    tell("checks have come, and the region is back", 110)
    set_servers(range(count // 2), (NO, NO))
    tell("the first ten regions die at once", 10)
    set_servers(range(count // 2, count), (NO, NO, YES))
    tell("the other ten have a third of their servers", 10)
    set_servers(everyone, (NO, NO))
    tell("no server anywhere", 5)
    figures["want_bytes"] = {"one": fleet.appliances[-1].want_bytes}
    return figures
