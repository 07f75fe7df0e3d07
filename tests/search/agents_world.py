"""Two appliances of one region and one of another, drained in any order, with slow answers.

Each agent runs the drains of the real code.  Time goes by in steps, and whoever is drained, one of
the three has to stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from anycastd.decision.drains import Drain, DrainTable, advance_drains, check_other_regions
from anycastd.decision.levels import Level
from anycastd.decision.region_report import RegionReport, VipReport
from search.effort import InvariantError
from support.profiles import profile

VIP = "203.0.113.10/32"
REGIONS = """regions:
  - name: northeurope
    agents: [{name: ne-1, agent: "192.0.2.11:80"}, {name: ne-2, agent: "192.0.2.12:80"}]
  - {name: westeurope, agent: "192.0.2.21:80"}
"""
NAMES = ("northeurope/ne-1", "northeurope/ne-2", "westeurope")
"""The agents, as they are listed."""
STEP = 0.5
"""Seconds between two passes, at most."""

Turn = tuple[float, int, int, str, float]
"""Seconds that go by, who, whom, what (`ask`, `drain`, `undrain`), seconds of the answer."""


@dataclass
class Agent:
    """An agent: its drains, the reports that it has, those on their way to it, its level.

    ``requested_at``: when an operator asked for a drain that is not begun yet.  ``serves``: its
    service can serve.
    """

    name: str
    serves: bool = True
    table: DrainTable = field(default_factory=dict)
    reports: dict[str, RegionReport] = field(default_factory=dict)
    on_their_way: list[tuple[float, str, RegionReport]] = field(default_factory=list)
    requested_at: float | None = None
    level: Level = Level.PREFERRED

    def __post_init__(self) -> None:
        """Build the profile of this agent."""
        region, _, appliance = self.name.partition("/")
        own = f"region: {region}\n" + (f"appliance: {appliance}\n" if appliance else "")
        listed = ("platform: plain\n", f"platform: plain\n{REGIONS}")
        self.profile = profile(("region: northeurope\n", own), listed)

    @property
    def announced(self) -> bool:
        """Tell whether this agent announces a service that serves."""
        return self.serves and self.level is not Level.WITHDRAWN

    def report(self, now: float) -> RegionReport:
        """Build the report for another agent."""
        return RegionReport(now, {VIP: VipReport(self.announced, bool(self.table))})

    def run_pass(self, now: float) -> None:
        """Receive reports, begin a drain that the guard allows, and run a pass."""
        arrived = [each for each in self.on_their_way if each[0] <= now]
        self.on_their_way = [each for each in self.on_their_way if each[0] > now]
        for _, name, report in arrived:
            self.reports[name] = report
        service = self.profile.services["web"]
        if self.requested_at is not None and arrived:
            asked_after, self.requested_at = self.requested_at - 2.0, None
            if check_other_regions(self.profile, service, self.reports, asked_after, now).serves:
                self.table = {"*": Drain("new kernel", "me", now, wait=0.0)}  # the harshest
        levels = {"web": self.level}
        self.table, effects = advance_drains(self.profile, self.table, levels, self.reports, now)
        self.level = effects["web"][0].cap.level if effects else Level.PREFERRED


def run_turns(turns: list[Turn], failed: tuple[int, ...] = ()) -> None:
    """Run the turns; ``failed`` are agents that cannot serve.

    Raises InvariantError where nobody announces a service that serves any more.
    """
    agents = [Agent(name, serves=number not in failed) for number, name in enumerate(NAMES)]
    now = 0.0

    def run_all() -> None:
        for each in agents:
            each.run_pass(now)
        if not any(each.announced for each in agents):
            raise InvariantError(f"nobody announces it after {now:g} s")

    for pause, who, whom, action, takes in turns:
        ends_at = now + pause
        while now < ends_at:
            now = min(now + STEP, ends_at)
            run_all()
        agent, other = agents[who], agents[whom]
        if action == "drain" and not agent.table and agent.requested_at is None:
            agent.requested_at = now
        elif action == "undrain":
            agent.table = {}
        elif who != whom and not any(name == other.name for _, name, _ in agent.on_their_way):
            agent.on_their_way.append((now + takes, other.name, other.report(now)))
        run_all()


def drain_all_at_once(failed: tuple[int, ...] = ()) -> list[Level]:
    """Drain all three at once, with answers each half second; returns their levels at the end."""
    agents = [Agent(name, serves=number not in failed) for number, name in enumerate(NAMES)]
    for each in agents:
        each.table = {"*": Drain("new kernel", "me", 0.0, wait=5.0)}
    now = 0.0
    while now < 60.0:  # longer than every wait of a drain
        now += STEP
        for each in agents:
            each.reports = {one.name: one.report(now) for one in agents if one is not each}
        for each in agents:
            each.run_pass(now)
        if not any(each.announced for each in agents):
            raise InvariantError(f"nobody announces it after {now:g} s")
    return [each.level for each in agents]
