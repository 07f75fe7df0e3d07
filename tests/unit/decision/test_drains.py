"""Drains as values: phases, the guard, what outlives a restart, and a search over regions."""

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
    Table,
    advance_drains,
    another_region_serves,
    dump_drains,
    load_drains,
    needs_region_reports,
)
from anycastd.decision.levels import Level
from anycastd.decision.region_report import RegionReport, VipReport, parse_region_report
from anycastd.profile.model import Profile
from support.profiles import profile

VIP = "203.0.113.10/32"
NAMES = ("northeurope", "westeurope", "uksouth")
LISTED = "regions: [" + ", ".join(
    f'{{name: {name}, agent: "192.0.2.{number}:80"}}' for number, name in enumerate(NAMES, 101)
)
AT = ("platform: plain\n", f"platform: plain\n{LISTED}]\n")
UP = {"web": Level.PREFERRED}


def region(name: str = NAMES[0]) -> Profile:
    """Give a profile of one of three regions."""
    return profile(AT, ("region: northeurope", f"region: {name}"))


def drain(began_at: float = 0.0, wait: float = 40.0, **more: object) -> Drain:
    """Give a drain of everything."""
    return replace(Drain("new kernel", "me", began_at, wait), **more)  # type: ignore[arg-type]


def answers(now: float, *, serves: bool = True, draining: bool = False) -> dict[str, RegionReport]:
    """Give the answer of westeurope at ``now``."""
    return {"westeurope": RegionReport(now, {VIP: VipReport(serves, draining)})}


def one(
    its: Profile,
    table: Table,
    now: float,
    others: Mapping[str, RegionReport] | None = None,
    levels: Mapping[str, Level] = UP,
    *,
    unsteered: tuple[str, ...] = (),
) -> tuple[Table, DrainEffect]:
    """Run a pass with the one service."""
    table, holds = advance_drains(its, table, levels, others or {}, now, unsteered=unsteered)
    return table, holds["web"][0]


def test_a_drain_goes_through_its_phases() -> None:
    """The longest path until `wait` is over, then withdrawn, for ever."""
    its = profile()
    table: Table = {"*": drain()}
    table, hold = one(its, table, 0.0)
    assert (hold.phase, hold.cap.level, hold.cap.ends_at) == (
        DrainPhase.LONGER_PATH,
        Level.STANDBY,
        40.0,
    )
    table, hold = one(its, table, 39.9)
    assert hold.phase is DrainPhase.LONGER_PATH
    table, hold = one(its, table, 40.0)
    assert (hold.phase, hold.cap.level, hold.cap.ends_at) == (
        DrainPhase.WITHDRAWN,
        Level.WITHDRAWN,
        None,
    )
    assert hold.safe_from == 40.0
    assert one(its, table, 1e6)[1].phase is DrainPhase.WITHDRAWN


def test_what_is_withdrawn_already_stays_so() -> None:
    """There is nothing to wait for, and it must not come back at the longest path."""
    table, hold = one(profile(), {"*": drain()}, 0.0, levels={"web": Level.WITHDRAWN})
    assert hold.phase is DrainPhase.WITHDRAWN
    assert one(profile(), table, 1.0)[1].phase is DrainPhase.WITHDRAWN


def test_where_prepends_do_not_steer_it_goes_at_once() -> None:
    """And is not called empty before the far side has had its time."""
    _, hold = one(profile(), {"*": drain()}, 0.0, unsteered=("web",))
    assert (hold.phase, hold.safe_from) == (DrainPhase.WITHDRAWN, 40.0)


def test_the_lower_of_two_drains_counts() -> None:
    """A service's own drain and that of everything; each ends for itself."""
    its = profile()
    own = drain(service="web", ends_at=100.0, began_at=-50.0)
    table, holds = advance_drains(its, {"web": own, "*": drain()}, UP, {}, 0.0)
    assert [hold.phase for hold in holds["web"]] == [
        DrainPhase.WITHDRAWN,
        DrainPhase.WITHDRAWN,
    ] or [hold.phase for hold in holds["web"]] == [DrainPhase.WITHDRAWN, DrainPhase.LONGER_PATH]
    assert holds["web"][0].drain.service == "web"
    table, holds = advance_drains(its, table, UP, {}, 100.0)
    assert list(table) == ["*"]


# The guard ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({}, "westeurope has not answered yet"),
        (answers(39.0 - REPORT_LIFETIME), "westeurope has not answered yet"),
        (answers(39.9, serves=False), "westeurope does not serve"),
        (answers(39.9, draining=True), "westeurope is being drained itself"),
        (
            {"westeurope": RegionReport(39.9, detail="does not answer at X")},
            "westeurope does not answer at",
        ),
        ({"westeurope": RegionReport(39.9)}, "westeurope does not have 203.0.113.10/32"),
    ],
    ids=str,
)
def test_without_another_region_it_waits_at_the_longest_path(
    others: dict[str, RegionReport], why: str
) -> None:
    """Who cannot be reached, does not serve or is to leave itself does not count."""
    its = region("uksouth")  # the last of the list: nobody yields to it
    table, hold = one(its, {"*": drain()}, 40.0, others)
    assert (hold.phase, hold.cap.level) == (DrainPhase.WAITING, Level.STANDBY)
    assert why in hold.cap.detail
    assert needs_region_reports(its, table)
    table, hold = one(its, table, 41.0, answers(40.9))
    assert hold.phase is DrainPhase.WITHDRAWN
    assert not needs_region_reports(its, table)


@pytest.mark.parametrize("more", [{"force": True}, {"stopping": True}])
def test_force_and_a_stop_ask_nobody(more: dict[str, bool]) -> None:
    """They are an operator's word and systemd's; neither may hang."""
    table: Table = {"*": drain(**more)}
    assert not needs_region_reports(region(), table)
    assert one(region(), table, 40.0)[1].phase is DrainPhase.WITHDRAWN


def test_what_was_heard_before_the_drain_does_not_count() -> None:
    """The other region may have begun to drain since."""
    found = another_region_serves(region(), region().services["web"], answers(10.0), 10.0, 11.0)
    assert not found.serves


def test_two_that_are_drained_at_once_do_not_wait_for_each_other() -> None:
    """The one that is listed first goes, once it has seen the other stay; the other waits."""
    stays = answers(SETTLE_TIME, draining=True)
    first = one(region(), {"*": drain(wait=1.0)}, SETTLE_TIME, stays)[1]
    assert first.phase is DrainPhase.WITHDRAWN
    soon = answers(SETTLE_TIME - 1, draining=True)
    assert (
        one(region(), {"*": drain(wait=1.0)}, SETTLE_TIME - 1, soon)[1].phase is DrainPhase.WAITING
    )
    other = {"northeurope": RegionReport(SETTLE_TIME, {VIP: VipReport(serves=True, draining=True)})}
    last = one(region("westeurope"), {"*": drain(wait=1.0)}, SETTLE_TIME, other)[1]
    assert last.phase is DrainPhase.WAITING


@dataclass
class Site:
    """A region in the search: its drains, what it has heard, what is on its way to it."""

    name: str
    table: Table = field(default_factory=dict)
    others: dict[str, RegionReport] = field(default_factory=dict)
    on_the_way: list[tuple[float, str, RegionReport]] = field(default_factory=list)
    asking: float | None = None
    level: Level = Level.PREFERRED

    def says(self, now: float) -> RegionReport:
        """Answer another region's question."""
        serves = self.level is not Level.WITHDRAWN
        return RegionReport(now, {VIP: VipReport(serves, bool(self.table))})

    def turn(self, now: float) -> None:
        """Take what has come, decide on a drain that was asked for, run a pass."""
        its = region_of[self.name]
        come = [each for each in self.on_the_way if each[0] <= now]
        for _, name, answer in come:
            self.others[name] = answer
        self.on_the_way = [each for each in self.on_the_way if each[0] > now]
        if self.asking is not None and come:
            began, self.asking = self.asking, None
            if another_region_serves(its, its.services["web"], self.others, began - 2, now).serves:
                self.table = {"*": drain(now, wait=0.0)}  # the harshest
        levels = {"web": self.level}
        self.table, holds = advance_drains(its, self.table, levels, self.others, now)
        self.level = holds["web"][0].cap.level if holds else Level.PREFERRED


region_of = {name: region(name) for name in NAMES}
# Two are enough: the third never answers anybody.
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
    """Search: no order of drains, questions and slow answers withdraws the VIP everywhere."""
    sites = [Site(name) for name in PAIR]
    now = 0.0

    def everybody() -> None:
        for each in sites:
            each.turn(now)
        assert any(each.level is not Level.WITHDRAWN for each in sites)

    for passed, number, action, takes in turns:
        for _ in range(int(passed / 0.5)):  # passes come at least so often
            now += 0.5
            everybody()
        now += passed % 0.5
        site, other = sites[number], sites[1 - number]
        if action == "drain" and not site.table and site.asking is None:
            site.asking = now
        if action == "undrain":
            site.table = {}
        elif not any(name == other.name for _, name, _ in site.on_the_way):
            site.on_the_way.append((now + takes, other.name, other.says(now)))
        everybody()


def test_all_that_are_drained_end_with_the_last_of_the_list_waiting() -> None:
    """With everybody's questions answered, the others go one by one."""
    sites = {name: Site(name, {"*": drain(0.0, 5.0)}) for name in NAMES}
    now = 0.0
    while now < 60.0:
        now += 0.5
        for site in sites.values():
            for name in NAMES:
                if name != site.name:
                    site.others[name] = sites[name].says(now)
            site.turn(now)
    assert [sites[name].level for name in NAMES] == [
        Level.WITHDRAWN,
        Level.WITHDRAWN,
        Level.STANDBY,
    ]


# Across a restart --------------------------------------------------------------------------------


def test_what_is_packed_comes_back_as_old_as_it_was() -> None:
    """Times are carried as ages; a drain for a stop is forgotten."""
    table: Table = {
        "*": drain(10.0, ends_at=500.0, withdrawn_at={"web": 50.0}),
        "*stop": drain(20.0, stopping=True),
    }
    back = load_drains(dump_drains(table, 100.0), 7.0)
    assert list(back) == ["*"]
    assert (back["*"].began_at, back["*"].ends_at) == (7.0 - 90.0, 7.0 + 400.0)
    assert back["*"].withdrawn_at == {"web": 7.0 - 50.0}
    # What had been withdrawn stays withdrawn, whoever else serves.
    assert one(region(), back, 8.0)[1].phase is DrainPhase.WITHDRAWN


@pytest.mark.parametrize(
    "items",
    [7, ["x"], [{}], [{"reason": "x"}], None, [[]]],
    ids=str,
)
def test_what_is_no_drain_is_refused(items: object) -> None:
    """Only ValueError, whatever it is."""
    with pytest.raises(ValueError, match="no list of drains"):
        load_drains(items, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), True, "1"])
def test_a_time_that_is_none_is_refused(number: object) -> None:
    """A drain that never began, or lasts for ever by mistake."""
    (item,) = dump_drains({"*": drain()}, 0.0)
    with pytest.raises(ValueError, match="no number of seconds"):
        load_drains([item | {"age": number}], 0.0)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"region": "westeurope"}', '{"region":"westeurope","vips":[1]}']
)
def test_an_answer_that_is_none_counts_as_none(text: str) -> None:
    """Another service may listen there."""
    assert (
        parse_region_report(text, "westeurope", 1.0).detail
        == "gives an answer that is not an agent's report"
    )


def test_an_answer_of_somebody_else_does_not_count() -> None:
    """Two addresses were mixed up."""
    text = '{"region": "uksouth", "vips": {}}'
    assert parse_region_report(text, "westeurope", 1.0).detail == (
        "has the address of the agent of uksouth"
    )
