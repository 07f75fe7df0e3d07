"""A watcher's service with two next hops and a MED by load, driven pass by pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.levels import Level
from anycastd.decision.memory import Memory, dump_memory, load_memory
from anycastd.decision.pipeline import Inputs, LeaseView, PassResult, advance, restart_at_withdrawn
from anycastd.decision.policy import Decision
from anycastd.evidence.checks.observation import CheckObservation
from anycastd.evidence.sources import Evidence
from anycastd.lease.messages import NeighborReport, Report
from anycastd.profile.model import Profile
from anycastd.profile.validate import validate_profile

VIP = "203.0.113.10/32"
FIRST, SECOND, THIRD = "192.0.2.21", "192.0.2.22", "192.0.2.23"
"""The next hops, in the order of the profile; the checks are called c1, c2 and c3."""
TEXT = f"""\
region: northeurope
platform: plain
bgp:
  local_as: 65010
  router_id: 192.0.2.10
  local_address: 192.0.2.10
  neighbors:
    - {{address: 192.0.2.4, peer_as: 65515}}
    - {{address: 192.0.2.5, peer_as: 65515}}
checks:
  c1: {{tcp: "{FIRST}:80", every: 1, timeout: 0.5, deadline: 4.5}}
  c2: {{tcp: "{SECOND}:80", every: 1, timeout: 0.5, deadline: 4.5}}
  c3: {{tcp: "{THIRD}:80", every: 1, timeout: 0.5, deadline: 4.5}}
  load: {{load: {{load_average: [0.7, 0.9]}}, every: 1, timeout: 0.5, deadline: 4.5}}
services:
  voip:
    vip: {VIP}
    interface: none
    med: {{check: load, steps: [50, 100, 200]}}
    next_hops:
      - {{address: {FIRST}, serve: {{check: c1}}}}
      - {{address: {SECOND}, serve: {{check: c2}}}}
      - {{address: {THIRD}, serve: {{check: c3}}}}
    standby: {{prepend: 6, after: 1}}
    failed: withdraw
    return: {{rise: 10, hold_down: 60, hold_down_max: 900, spacing: 35}}
"""


def watcher_profile(*changes: tuple[str, str]) -> Profile:
    """Return the Profile of TEXT after replacing (old, new) texts."""
    text = TEXT
    for old, new in changes:
        assert old in text, f"the watcher's profile has no {old!r}"
        text = text.replace(old, new)
    validation = validate_profile(text, "watcher.yaml")
    assert validation.profile is not None, "\n".join(map(str, validation.problems))
    return validation.profile


@dataclass
class Watcher:
    """An agent with the profile; ``checks``: name -> what it finds (None: it cannot see).

    ``now`` is own time.  ``result`` is that of the last pass.  ``leased`` are the routes that this
    agent found on the lease.
    """

    profile: Profile = field(default_factory=watcher_profile)
    checks: dict[str, bool | None] = field(
        default_factory=lambda: {"c1": True, "c2": True, "c3": True}
    )
    step: int | None = 0
    now: float = 1000.0
    memory: dict[str, Memory] = field(default_factory=dict)
    leased: tuple[Route, ...] | None = ()
    returned_at: float | None = None
    frozen_until: float | None = None
    result: PassResult | None = None
    changes: list[str] = field(default_factory=list)
    seen: dict[str, CheckObservation] = field(default_factory=dict)

    def run_pass(self) -> Decision:
        """Run a pass on results of this moment."""
        for name, passed in self.checks.items():
            known = self.seen.get(name)
            if passed is None:
                before = known or CheckObservation(self.now, None, self.now, "")
                self.seen[name] = replace(before, unseen="no descriptor left")
            else:
                detail = "connected" if passed else "refused"
                self.seen[name] = CheckObservation(self.now, passed, self.now, detail)
        if self.step is not None:
            self.seen["load"] = CheckObservation(self.now, True, self.now, "load", step=self.step)
        peers = {
            str(each.address): NeighborReport(Session.UP, 100.0)
            for each in self.profile.bgp.neighbors
        }
        inputs = Inputs(
            Evidence(checks=dict(self.seen)),
            lease=LeaseView(True, Report("test", 1, 1, 5.0, peers), self.leased),
            returned_at={} if self.returned_at is None else {"voip": self.returned_at},
            frozen_until=self.frozen_until,
        )
        result = advance(self.profile, self.memory, inputs, self.now)
        again = advance(self.profile, result.memory, inputs, self.now)
        assert (again.wanted, again.memory) == (result.wanted, result.memory), "passes differ"
        self.result, self.memory = result, dict(result.memory)
        self.changes += [f"{each.reason.name} {each.detail}" for each in result.transitions]
        return result.decisions["voip"]

    def wait(self, seconds: float) -> Decision:
        """Let time go by, with a pass each half second and whenever one is due."""
        end, decision = self.now + seconds, None
        while self.now < end:
            due = None if self.result is None else self.result.wake_at
            later = min(self.now + 0.5, end)
            self.now = due if due is not None and self.now < due < later else later
            decision = self.run_pass()
        assert decision is not None
        return decision

    def set(self, **checks: bool | None) -> Decision:
        """Let checks find something else from now on, and run a pass."""
        self.checks |= checks
        return self.run_pass()

    @property
    def routes(self) -> tuple[Route, ...]:
        """Return the wanted routes of the last pass."""
        return (self.result and self.result.wanted) or ()

    @property
    def next_hop(self) -> str | None:
        """Return the next hop of the wanted routes, None where there is none."""
        return next(iter({each.next_hop for each in self.routes}), None)

    @property
    def med(self) -> int | None:
        """Return the MED of the wanted routes, None where there is none."""
        return next(iter({each.med for each in self.routes}), None)

    def up(self) -> Watcher:
        """Bring the service to preferred, at its first next hop."""
        assert self.wait(60.0).level is Level.PREFERRED
        self.changes.clear()
        return self

    def restart(
        self,
        *,
        kept: bool = True,
        in_time: bool = True,
        blind: bool = False,
        profile: Profile | None = None,
    ) -> Watcher:
        """Return a new agent: with its memory or without, before the lease expires or after.

        With ``blind`` none of its checks has a result yet.
        """
        memory = {}
        if kept:
            memory = {
                name: load_memory(dump_memory(each, self.now), self.now)
                for name, each in self.memory.items()
            }
        leased = self.routes if in_time else ()
        # Its first look comes before the first report of the lease.
        checks = {} if blind else dict(self.checks)
        step = None if blind else self.step
        again = Watcher(profile or self.profile, checks, step, self.now, memory, leased=None)
        again.run_pass()
        again.leased = leased
        return again

    def expire(self) -> Decision:
        """Let the lease expire while the agent runs."""
        self.memory |= restart_at_withdrawn(self.memory, self.now)
        return self.run_pass()
