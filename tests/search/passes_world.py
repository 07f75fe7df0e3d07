"""The fast way of a pass beside the plain one, over random sequences of everything around it.

``Passes`` runs each pass twice: as it is, and with its short ways closed.  Both must have the same
result, whatever has happened before.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from unittest.mock import patch

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision import pipeline, policy, verdict
from anycastd.decision.caps import Context, stays_preferred
from anycastd.decision.drains import Drain
from anycastd.decision.last_known import LastKnown
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory, dump_memory, load_memory
from anycastd.decision.pipeline import Inputs, LeaseView, PassResult, VipState
from anycastd.decision.policy import Decision
from anycastd.decision.routes import Announced, build_wanted_routes
from anycastd.decision.verdict import JoinedVerdict, TrueVerdict
from anycastd.evidence.checks.observation import CheckObservation
from anycastd.evidence.haproxy.servers import Override
from anycastd.evidence.haproxy.snapshot import (
    Backend,
    Frontend,
    Gone,
    Observation,
    Snapshot,
    Unreadable,
    Worker,
)
from anycastd.evidence.servers.refusals import ReachReport
from anycastd.evidence.vip.selftest import Outcome, Probe
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import Profile
from search.effort import InvariantError
from support.profiles import profile
from support.snapshots import NO, UNPROVED, YES, server

STEPS = 40
"""Passes of one sequence."""
MAP = ("/etc/haproxy/maintenance.map", "web")
OTHERS = """\
  api:
    vip: 203.0.113.11/32
    serve: {any: [{all: [{frontend: web}, {backend: api, usable: 1}]}]}
    healthy: {all: [{backend: api, usable: 60%, by: weight}, {frontend: web, sessions_below: 5}]}
    standby: {prepend: 6, after: 0.5}
    failed: standby
    return: {rise: 1, hold_down: 2, hold_down_max: 4, spacing: 1.5}
  tested:
    vip: 203.0.113.12/32
    serve: {backend: web, usable: 1, count_unchecked: true}
    self_test: {tcp: 80}
    standby: {prepend: 6, after: 0.5}
    failed: withdraw
    return: {rise: 1, hold_down: 2, hold_down_max: 4, spacing: 1.5}
  moving:
    vip: 203.0.113.13/32
    interface: none
    med: {check: load, steps: [50, 100]}
    next_hops:
      - {address: 192.0.2.21, serve: {backend: web, usable: 1}}
      - {address: 192.0.2.22, serve: {backend: api, usable: 1}}
    standby: {prepend: 6, after: 0.5}
    failed: withdraw
    return: {rise: 1, hold_down: 2, hold_down_max: 4, spacing: 1.5}
"""
CHANGES = (
    ("    failed:", f"    maintenance: {{map: {MAP[0]}, key: {MAP[1]}}}\n    failed:"),
    ("haproxy:", "checks: {load: {load: {load_average: [0.7]}}}\nhaproxy:"),
    ("{address: 192.0.2.5, ", "{address: 192.0.2.5, graceful_shutdown: true, "),
    ("fall: 5}", "fall: 1}"),
    ("{rise: 10, hold_down: 60, hold_down_max: 900, spacing: 35}\n", f"{{rise: 1}}\n{OTHERS}"),
    ("{rise: 1}", "{rise: 1, hold_down: 2, hold_down_max: 4, spacing: 1.5}"),
)
VARIANTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "plain": (),
    "manual": (("return: {rise", "return: {manual: true, rise"),),
    "unsteered": (
        ("  local_as: 65010", "  prepends_steer: false\n  local_as: 65010"),
        (", {frontend: web, sessions_below: 5}", ""),
        ("failed: standby", "failed: withdraw"),
    ),
    "longer": (("prepend: 6", "prepend: 7"), ("steps: [50", "steps: [60")),
}
SESSIONS = ("up",) * 6 + ("half", "down", "unknown", "lost")
SERVERS = ((YES, YES),) * 4 + ((YES, NO), (NO, NO), (UNPROVED, UNPROVED), (YES, UNPROVED), ())
LOOKS = ("answer",) * 12 + ("kept",) * 3 + ("gone", "unreadable")


@cache
def build_profile(variant: str) -> Profile:
    """Build the profile of a variant."""
    return profile(*CHANGES, *VARIANTS[variant])


class Passes:
    """An agent, pass after pass; ``rng`` decides what happens, and how far the time goes on."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 1000.0
        self.profile = build_profile("plain")
        self.memory: Mapping[str, Memory] = {}
        self.inputs = Inputs(lease=LeaseView(True, _report("up"), ()))
        self.wanted: list[tuple[Route, ...]] = [(), ()]
        self.wake_at: float | None = None
        self.is_calm = False
        self.fast = self.all = 0

    def run(self, steps: int = STEPS) -> None:
        """Run passes; raises InvariantError where the two ways differ."""
        for number in range(steps):
            if number % 10 == 0:  # long enough for every wait to end
                self.is_calm = not self.is_calm
            self._wait()
            if self.is_calm or self.rng.random() < 0.5:
                self._recover()
            if not self.is_calm:
                self.rng.choice((self._change_surroundings, self._change_agent, int))()
            elif self.rng.random() < 0.1:
                self._twist_memory()
            self._change_evidence()
            self._run_pass()

    def _run_pass(self) -> None:
        arguments = self.profile, self.memory, self.inputs, self.now
        found = pipeline.advance(*arguments)
        with close_short_ways():
            plain = pipeline.advance(*arguments)
        for name, got, expected in zip(
            ("memory", "routes", "wake_at", "drains", "effects", "decisions"),
            _flatten(found),
            _flatten(plain),
            strict=True,
        ):
            if got != expected:
                raise InvariantError(f"{name} of the pass at {self.now} differ")
        decided = found.decisions.values()
        self.all += len(decided)
        self.fast += sum(
            stays_preferred(each.verdict, Context(True, True), self.memory.get(name) or Memory())
            for name, each in found.decisions.items()
            if isinstance(each.verdict, TrueVerdict)
        )
        self.memory, self.wake_at = found.memory, found.wake_at
        self.inputs = replace(self.inputs, drains=found.drains)
        if found.wanted is not None:
            self.wanted = [self.wanted[1], found.wanted]

    def _wait(self) -> None:
        if self.wake_at is not None and self.rng.random() < 0.3:
            self.now = max(self.now, self.wake_at)
        else:
            self.now += self.rng.choice((0.0, 0.05, 0.5, 1.0, 1.0, 1.0, 2.0, 2.9))

    # What is around it ----------------------------------------------------------------------------

    def _change_evidence(self) -> None:
        kind = "answer" if self.is_calm else self.rng.choice(LOOKS)
        evidence = self.inputs.evidence
        if kind != "kept":
            evidence = replace(evidence, haproxy={"main": self._look(kind)})
        outcome = Outcome.PASSED if self.is_calm else self.rng.choice(list(Outcome))
        if self.rng.random() < 0.8:
            probe = Probe(self.now, outcome, "found", self.now, self.rng.randrange(1, 4), 2)
            evidence = replace(evidence, self_test={"tested": probe})
        if self.rng.random() < 0.8:
            step = self.rng.randrange(2)
            load = CheckObservation(self.now, True, self.now, "load", step=step)
            evidence = replace(evidence, checks={"load": load})
        self.inputs = replace(self.inputs, evidence=evidence)

    def _look(self, kind: str) -> Observation:
        if kind == "gone":
            return Gone(self.now, "refused")
        if kind == "unreadable":
            return Unreadable(self.now, self.now - 1.0, self.rng.randrange(1, 4), "silent")
        good, rng = self.is_calm or self.rng.random() < 0.5, self.rng
        frontend = Frontend("web", good or rng.random() < 0.8, "?", 1 if good else rng.randrange(9))
        entry = None if good else rng.choice((None, "on"))
        return Snapshot(
            self.now,
            Worker(1, 9.0, stopping=False, version="2.6"),
            {name: self._backend(name, good=good) for name in ("web", "api")},
            {"web": frontend} if good or rng.random() < 0.9 else {},
            entries={MAP: entry} if good or rng.random() < 0.8 else {},
        )

    def _backend(self, name: str, *, good: bool) -> Backend:
        usable = SERVERS[0] if good else self.rng.choice(SERVERS)
        rows = tuple(server(f"s{n}", each, checked=n == 0) for n, each in enumerate(usable))
        refused = "" if good or self.rng.random() < 0.8 else "Permission denied"
        return Backend(name, "UP", rows, weights_refused=refused)

    def _change_surroundings(self) -> None:
        rng, now = self.rng, self.now
        usable = (True, True, True, True, False, None)
        vips = {name: rng.choice(usable) for name in self._prefixes()}
        sessions = rng.choice(SESSIONS)
        drains = dict(self.inputs.drains)
        if rng.random() < 0.15:
            ends_at = rng.choice((None, now + 2.0))
            service = rng.choice((None, "web"))
            drain = Drain("work", "", now, 1.0, service, ends_at, force=rng.random() < 0.5)
            drains[drain.key] = drain
        elif rng.random() < 0.3:
            drains = {}
        self.inputs = replace(
            self.inputs,
            vips={name: VipState(each) for name, each in vips.items() if each is not None},
            lease=replace(
                self.inputs.lease,
                connected=sessions != "lost",
                report=_report("up" if sessions == "lost" else sessions),
            ),
            drains=drains,
            returned_at={"web": now} if rng.random() < 0.1 else self.inputs.returned_at,
            frozen_until=now if rng.random() < 0.1 else self.inputs.frozen_until,
        )
        refused: Mapping[str, Mapping[str, Override]] = rng.choice(REFUSED)
        reached = {"main": ReachReport(refused)}
        self.inputs = replace(self.inputs, evidence=replace(self.inputs.evidence, reached=reached))

    def _recover(self) -> None:
        self.inputs = replace(
            self.inputs,
            evidence=replace(self.inputs.evidence, reached={}),
            vips={name: VipState(usable=True) for name in self._prefixes()},
            lease=replace(self.inputs.lease, connected=True, report=_report("up")),
            drains={},
        )

    def _prefixes(self) -> Iterator[str]:
        return (each.prefix for each in self.profile.services.values())

    # The agent itself -----------------------------------------------------------------------------

    def _change_agent(self) -> None:
        rng, now = self.rng, self.now
        what = rng.choice(("nothing",) * 3 + ("expiry", "restart", "reload"))
        if what == "expiry":
            new = pipeline.restart_at_withdrawn(self.memory, now)
            self.memory = {**self.memory, **new}
        elif what in {"restart", "reload"}:
            if what == "reload":
                self.profile = build_profile(rng.choice(list(VARIANTS)))
            dumps = {name: dump_memory(each, now) for name, each in self.memory.items()}
            kept = rng.random() < 0.7
            self.memory = {n: load_memory(d, now) for n, d in dumps.items()} if kept else {}
            # The lease may not have read the newest message.
            self.inputs = replace(
                self.inputs, lease=replace(self.inputs.lease, leased=rng.choice(self.wanted))
            )

    def _twist_memory(self) -> None:
        """Have a memory that none of ours leaves; whoever changes that has the same decision."""
        rng, now = self.rng, self.now
        known = LastKnown(rng.choice((True, False, None)), now - 5.0)
        doubted = replace(known, unknown_began_at=rng.choice((None, now - 1.0)))
        fields: tuple[dict[str, object], ...] = (
            {"level": rng.choice(list(Level))},
            {"adopted": False, "level": Level.PREFERRED},
            {"serve": doubted, "level": Level.PREFERRED},
            {"healthy": doubted, "level": Level.PREFERRED},
            {"sessions": known, "level": Level.PREFERRED},
            {"maintenance": known, "level": Level.PREFERRED},
            {"failed_at": now - rng.choice((1, 9)), "failures": 1, "level": Level.PREFERRED},
            {"returned_at": rng.choice((None, now))},
        )
        for name in rng.sample(sorted(self.memory), k=min(1, len(self.memory))):
            twisted = replace(self.memory[name], **rng.choice(fields))  # type: ignore[arg-type]
            self.memory = {**self.memory, name: twisted}


REFUSED: tuple[Mapping[str, Mapping[str, Override]], ...] = (
    *({},) * 4,
    {"web": {"s0": Override(NO, "refuses"), "s1": Override(NO, "refuses")}},
    {"api": {"s0": Override(NO, "refuses")}},
)


@cache
def _report(sessions: str) -> Report:
    first, second = {
        "up": (Session.UP, Session.UP),
        "half": (Session.UP, Session.DOWN),
        "down": (Session.DOWN, Session.DOWN),
        "unknown": (Session.UNKNOWN, Session.DOWN),
    }[sessions]
    neighbors = {"192.0.2.4": NeighborReport(first, 9.0), "192.0.2.5": NeighborReport(second, 9.0)}
    return Report("search", 1, 1, 5.0, neighbors)


@contextmanager
def close_short_ways() -> Iterator[None]:
    """Close every short way of a pass: what is left is the plain one."""
    with ExitStack() as stack:
        for module, name, instead in (
            (verdict, "_find_true", lambda *_: None),
            (policy, "stays_preferred", lambda *_: False),
            (pipeline, "_build_wanted", _build_anew),
        ):
            stack.enter_context(patch.object(module, name, instead))
        yield


def _build_anew(
    its: Profile, decisions: Mapping[str, Decision], draining: Container[str]
) -> tuple[Route, ...]:
    announced = [
        Announced(its.services[name], each.level, each.next_hop, each.med)
        for name, each in decisions.items()
    ]
    return build_wanted_routes(its, announced, draining)


def _flatten(result: PassResult) -> tuple[object, ...]:
    decisions = {
        name: each._replace(verdict=_join(each.verdict)) for name, each in result.decisions.items()
    }
    return (
        result.memory,
        result.wanted,
        result.wake_at,
        result.drains,
        result.drain_effects,
        decisions,
    )


def _join(found: JoinedVerdict | TrueVerdict) -> JoinedVerdict:
    return found.join() if isinstance(found, TrueVerdict) else found


def try_passes(sequences: int, first: int = 0) -> float:
    """Try so many sequences, from the seed ``first`` on; return the share of the fast decisions.

    Raises InvariantError where the two ways differ.
    """
    fast = decided = 0
    for seed in range(first, first + sequences):
        passes = Passes(random.Random(seed))  # noqa: S311 - the same in each run
        try:
            passes.run()
        except InvariantError as error:
            raise InvariantError(f"seed {seed}: {error}") from None
        fast, decided = fast + passes.fast, decided + passes.all
    return fast / decided
