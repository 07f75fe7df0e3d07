"""Drains: phases, the guard, restarts, and a search over several regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anycastd.decision.drains import (
    REPORT_LIFETIME,
    SETTLE_TIME,
    Drain,
    DrainEffect,
    DrainPhase,
    DrainTable,
    advance_drains,
    check_other_regions,
    needs_region_reports,
)
from anycastd.decision.levels import Level
from anycastd.decision.region_report import RegionReport, VipReport, parse_region_report
from anycastd.decision.stored_drains import dump_drains, load_drains
from anycastd.profile.model import Profile
from support.profiles import profile

VIP = "203.0.113.10/32"
NAMES = ("northeurope", "westeurope", "uksouth")
LISTED = "regions: [" + ", ".join(
    f'{{name: {name}, agent: "192.0.2.{number}:80"}}' for number, name in enumerate(NAMES, 101)
)
AT = ("platform: plain\n", f"platform: plain\n{LISTED}]\n")
UP = {"web": Level.PREFERRED}


def profile_of(name: str = NAMES[0]) -> Profile:
    """Return the profile of one of three regions."""
    return profile(AT, ("region: northeurope", f"region: {name}"))


def drain(began_at: float = 0.0, wait: float = 40.0, **more: object) -> Drain:
    """Build a drain of all services."""
    return replace(Drain("new kernel", "me", began_at, wait), **more)  # type: ignore[arg-type]


def report_westeurope(
    now: float, *, serves: bool = True, draining: bool = False
) -> dict[str, RegionReport]:
    """Return a report of westeurope, requested at ``now``."""
    return {"westeurope": RegionReport(now, {VIP: VipReport(serves, draining)})}


def advance_web(
    region_profile: Profile,
    table: DrainTable,
    now: float,
    reports: Mapping[str, RegionReport] | None = None,
    levels: Mapping[str, Level] = UP,
    *,
    unsteered: tuple[str, ...] = (),
) -> tuple[DrainTable, DrainEffect]:
    """Advance the drains of the profile's one service by one pass."""
    table, effects = advance_drains(
        region_profile, table, levels, reports or {}, now, unsteered=unsteered
    )
    return table, effects["web"][0]


def test_a_drain_goes_through_its_phases() -> None:
    """The longest path until `wait` is over, then withdrawn until the drain ends."""
    region_profile = profile()
    table: DrainTable = {"*": drain()}
    table, effect = advance_web(region_profile, table, 0.0)
    assert (effect.phase, effect.cap.level, effect.cap.ends_at) == (
        DrainPhase.LONGER_PATH,
        Level.STANDBY,
        40.0,
    )
    table, effect = advance_web(region_profile, table, 39.9)
    assert effect.phase is DrainPhase.LONGER_PATH
    table, effect = advance_web(region_profile, table, 40.0)
    assert (effect.phase, effect.cap.level, effect.cap.ends_at) == (
        DrainPhase.WITHDRAWN,
        Level.WITHDRAWN,
        None,
    )
    assert effect.safe_from == 40.0
    assert advance_web(region_profile, table, 1e6)[1].phase is DrainPhase.WITHDRAWN


def test_what_is_withdrawn_already_stays_so() -> None:
    """There is nothing to wait for, and it must not return at the longest path."""
    table, effect = advance_web(profile(), {"*": drain()}, 0.0, levels={"web": Level.WITHDRAWN})
    assert effect.phase is DrainPhase.WITHDRAWN
    assert advance_web(profile(), table, 1.0)[1].phase is DrainPhase.WITHDRAWN


def test_where_prepends_do_not_steer_it_goes_at_once() -> None:
    """It does not count as empty before traffic has had time to move."""
    _, effect = advance_web(profile(), {"*": drain()}, 0.0, unsteered=("web",))
    assert (effect.phase, effect.safe_from) == (DrainPhase.WITHDRAWN, 40.0)


def test_the_lower_of_two_drains_counts() -> None:
    """A service's own drain and that of all services; each has to end."""
    region_profile = profile()
    own = drain(service="web", ends_at=100.0, began_at=-50.0)
    table, effects = advance_drains(region_profile, {"web": own, "*": drain()}, UP, {}, 0.0)
    assert [effect.phase for effect in effects["web"]] == [
        DrainPhase.WITHDRAWN,
        DrainPhase.WITHDRAWN,
    ] or [effect.phase for effect in effects["web"]] == [
        DrainPhase.WITHDRAWN,
        DrainPhase.LONGER_PATH,
    ]
    assert effects["web"][0].drain.service == "web"
    table, effects = advance_drains(region_profile, table, UP, {}, 100.0)
    assert list(table) == ["*"]


# The guard ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reports", "detail"),
    [
        ({}, "westeurope has not answered yet"),
        (report_westeurope(39.0 - REPORT_LIFETIME), "westeurope has not answered yet"),
        (report_westeurope(39.9, serves=False), "westeurope does not serve"),
        (report_westeurope(39.9, draining=True), "westeurope is being drained itself"),
        (
            {"westeurope": RegionReport(39.9, detail="does not answer at X")},
            "westeurope does not answer at",
        ),
        ({"westeurope": RegionReport(39.9)}, "westeurope does not have 203.0.113.10/32"),
    ],
    ids=str,
)
def test_without_another_region_it_waits_at_the_longest_path(
    reports: dict[str, RegionReport], detail: str
) -> None:
    """A region that does not answer, does not serve or is drained does not count."""
    region_profile = profile_of("uksouth")  # the last of the list
    table, effect = advance_web(region_profile, {"*": drain()}, 40.0, reports)
    assert (effect.phase, effect.cap.level) == (DrainPhase.WAITING, Level.STANDBY)
    assert detail in effect.cap.detail
    assert needs_region_reports(region_profile, table)
    table, effect = advance_web(region_profile, table, 41.0, report_westeurope(40.9))
    assert effect.phase is DrainPhase.WITHDRAWN
    assert not needs_region_reports(region_profile, table)


@pytest.mark.parametrize("more", [{"force": True}, {"stopping": True}])
def test_force_and_a_stop_ask_nobody(more: dict[str, bool]) -> None:
    """Neither an operator with --force nor systemd may have to wait."""
    table: DrainTable = {"*": drain(**more)}
    assert not needs_region_reports(profile_of(), table)
    assert advance_web(profile_of(), table, 40.0)[1].phase is DrainPhase.WITHDRAWN


def test_what_was_heard_before_the_drain_does_not_count() -> None:
    """The other region may have begun to drain since."""
    found = check_other_regions(
        profile_of(),
        profile_of().services["web"],
        report_westeurope(10.0),
        10.0,
        11.0,
    )
    assert not found.serves


def test_two_that_are_drained_at_once_do_not_wait_for_each_other() -> None:
    """The region listed first leaves, once it has seen the other one stay; the other waits."""
    stays = report_westeurope(SETTLE_TIME, draining=True)
    first = advance_web(profile_of(), {"*": drain(wait=1.0)}, SETTLE_TIME, stays)[1]
    assert first.phase is DrainPhase.WITHDRAWN
    soon = report_westeurope(SETTLE_TIME - 1, draining=True)
    assert (
        advance_web(profile_of(), {"*": drain(wait=1.0)}, SETTLE_TIME - 1, soon)[1].phase
        is DrainPhase.WAITING
    )
    other = {"northeurope": RegionReport(SETTLE_TIME, {VIP: VipReport(serves=True, draining=True)})}
    last = advance_web(profile_of("westeurope"), {"*": drain(wait=1.0)}, SETTLE_TIME, other)[1]
    assert last.phase is DrainPhase.WAITING


@dataclass
class Site:
    """A region in the search: its drains, the reports that it has, those in transit to it."""

    name: str
    table: DrainTable = field(default_factory=dict)
    reports: dict[str, RegionReport] = field(default_factory=dict)
    in_transit: list[tuple[float, str, RegionReport]] = field(default_factory=list)
    requested_at: float | None = None
    level: Level = Level.PREFERRED

    def build_report(self, now: float) -> RegionReport:
        """Build the report for another region."""
        serves = self.level is not Level.WITHDRAWN
        return RegionReport(now, {VIP: VipReport(serves, bool(self.table))})

    def run_pass(self, now: float) -> None:
        """Receive reports, decide on a requested drain, and run a pass."""
        region_profile = region_of[self.name]
        arrived = [each for each in self.in_transit if each[0] <= now]
        for _, name, answer in arrived:
            self.reports[name] = answer
        self.in_transit = [each for each in self.in_transit if each[0] > now]
        if self.requested_at is not None and arrived:
            began_at, self.requested_at = self.requested_at, None
            if check_other_regions(
                region_profile, region_profile.services["web"], self.reports, began_at - 2, now
            ).serves:
                self.table = {"*": drain(now, wait=0.0)}  # the harshest
        levels = {"web": self.level}
        self.table, effects = advance_drains(region_profile, self.table, levels, self.reports, now)
        self.level = effects["web"][0].cap.level if effects else Level.PREFERRED


region_of = {name: profile_of(name) for name in NAMES}
# Two are enough: the third never answers.
PAIR = NAMES[:2]
TURNS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.3, 1.7, 12.0]),  # time goes by
        st.sampled_from([0, 1]),  # who
        st.sampled_from(["ask", "ask", "drain", "undrain"]),
        st.sampled_from([0.0, 1.9]),  # seconds that the answer takes
    ),
    min_size=3,
    max_size=10,
)


@settings(max_examples=1000, deadline=None)
@given(TURNS)
@example(
    [(0.0, 0, "drain", 1.9), (0.0, 1, "drain", 0.0), (0.3, 1, "ask", 1.9)]
    + [(step, 0, "ask", 0.0) for step in (1.7, 0.3)]
)
def test_whoever_is_drained_somebody_stays(turns: list[tuple[float, int, str, float]]) -> None:
    """Search: no order of drains, requests and slow answers withdraws the VIP everywhere."""
    sites = [Site(name) for name in PAIR]
    now = 0.0

    def run_all() -> None:
        for each in sites:
            each.run_pass(now)
        assert any(each.level is not Level.WITHDRAWN for each in sites)

    for pause, number, action, takes in turns:
        for _ in range(int(pause / 0.5)):  # passes come at least so often
            now += 0.5
            run_all()
        now += pause % 0.5
        site, other = sites[number], sites[1 - number]
        if action == "drain" and not site.table and site.requested_at is None:
            site.requested_at = now
        if action == "undrain":
            site.table = {}
        elif not any(name == other.name for _, name, _ in site.in_transit):
            site.in_transit.append((now + takes, other.name, other.build_report(now)))
        run_all()


def test_all_that_are_drained_end_with_the_last_of_the_list_waiting() -> None:
    """If every region answers, all but the last leave one by one."""
    sites = {name: Site(name, {"*": drain(0.0, 5.0)}) for name in NAMES}
    now = 0.0
    while now < 60.0:
        now += 0.5
        for site in sites.values():
            for name in NAMES:
                if name != site.name:
                    site.reports[name] = sites[name].build_report(now)
            site.run_pass(now)
    assert [sites[name].level for name in NAMES] == [
        Level.WITHDRAWN,
        Level.WITHDRAWN,
        Level.STANDBY,
    ]


# Across a restart --------------------------------------------------------------------------------


def test_what_is_packed_comes_back_as_old_as_it_was() -> None:
    """Times are saved as ages; a drain for a stop is not saved."""
    table: DrainTable = {
        "*": drain(10.0, ends_at=500.0, withdrawn_at={"web": 50.0}),
        "*stop": drain(20.0, stopping=True),
    }
    back = load_drains(dump_drains(table, 100.0), 7.0)
    assert list(back) == ["*"]
    assert (back["*"].began_at, back["*"].ends_at) == (7.0 - 90.0, 7.0 + 400.0)
    assert back["*"].withdrawn_at == {"web": 7.0 - 50.0}
    # What had been withdrawn stays withdrawn, whoever else serves.
    assert advance_web(profile_of(), back, 8.0)[1].phase is DrainPhase.WITHDRAWN


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"region": "westeurope"}', '{"region":"westeurope","vips":[1]}']
)
def test_an_answer_that_is_none_counts_as_none(text: str) -> None:
    """Another program may listen at that address."""
    assert (
        parse_region_report(text, "westeurope", 1.0).detail
        == "gives an answer that is not an agent's report"
    )


def test_an_answer_of_somebody_else_does_not_count() -> None:
    """The addresses of two regions were mixed up."""
    text = '{"region": "uksouth", "vips": {}}'
    assert parse_region_report(text, "westeurope", 1.0).detail == (
        "has the address of the agent of uksouth"
    )
