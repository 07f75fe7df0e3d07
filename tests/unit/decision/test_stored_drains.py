"""Drains across a restart: what cannot be read counts as a drain."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycastd.decision.caps import Cap
from anycastd.decision.drains import UNREADABLE, Drain, DrainTable, advance_drains
from anycastd.decision.levels import CapSource, Level
from anycastd.decision.region_report import RegionReport, VipReport
from anycastd.decision.stored_drains import build_unreadable_drain, dump_drains, load_drains
from anycastd.reasons import Reason
from support.json_values import json_values
from support.profiles import profile

VIP = "203.0.113.10/32"
REGIONS = (
    "platform: plain\n",
    (
        'platform: plain\nregions: [{name: northeurope, agent: "192.0.2.1:80"}, '
        '{name: westeurope, agent: "192.0.2.2:80"}]\n'
    ),
)
UNSTEERED = ("  local_as: 65010", "  prepends_steer: false\n  local_as: 65010")
ITEM = {
    "service": "web",
    "reason": "new kernel",
    "by": "me",
    "age": 10.0,
    "wait": 40.0,
    "left": None,
    "force": False,
    "gone": {},
}


def cap_web(table: DrainTable, *changes: tuple[str, str], serves: bool | None = None) -> Cap | None:
    """Return the cap on `web` ten seconds after the load, at 1,000 s; None if there is none.

    ``serves``: what the other region says (None: nothing).
    """
    its = profile(*changes)
    unsteered = {name for name, each in its.services.items() if not each.prepends_steer}
    report = RegionReport(1010.0, {VIP: VipReport(serves=bool(serves), draining=False)})
    reports = {} if serves is None else {"westeurope": report}
    levels = {"web": Level.PREFERRED}
    _, effects = advance_drains(its, table, levels, reports, 1010.0, unsteered=unsteered)
    return effects["web"][0].cap if "web" in effects else None


@pytest.mark.parametrize("items", [7, None, {}, "[]", True, 1.5], ids=str)
def test_what_is_no_list_is_refused(items: object) -> None:
    """Then the whole file is unreadable."""
    with pytest.raises(ValueError, match="no list of drains"):
        load_drains(items, 0.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("age", 10**400),
        ("age", float("nan")),
        ("age", True),
        ("age", "1"),
        ("wait", float("inf")),
        ("left", -(10**400)),
        ("left", "soon"),
        ("gone", {"web": 10**400}),
        ("gone", ["web"]),
        ("gone", 7),
        ("force", "false"),
        ("unreadable", 1),
    ],
    ids=str,
)
def test_one_damaged_drain_counts_for_its_service(key: str, value: Any) -> None:
    """The others are read as ever."""
    sound = ITEM | {"service": "other"}
    table = load_drains([ITEM | {key: value}, sound], 1000.0)
    assert list(table) == [f"{UNREADABLE} web", "other"]
    assert table["other"].reason == "new kernel"
    cap = cap_web(table)
    assert cap is not None
    assert (cap.level, cap.reason) == (Level.STANDBY, Reason.DRAINS_UNREADABLE)


@pytest.mark.parametrize("item", [None, [], "x", 7, {}, {"service": 5}, ITEM | {"service": 5}])
def test_a_drain_of_which_nothing_is_known_counts_for_all(item: object) -> None:
    """Nobody knows which service it was."""
    assert list(load_drains([item], 1000.0)) == [UNREADABLE]


def test_what_a_newer_release_adds_is_ignored() -> None:
    """Keys are only ever added."""
    table = load_drains([ITEM | {"color": "red", "unreadable": False}], 1000.0)
    assert list(table) == ["web"]
    assert table["web"].began_at == 990.0


def test_an_older_file_has_no_such_key() -> None:
    """A drain of release 0.1.0 is read."""
    assert list(load_drains([ITEM], 1000.0)) == ["web"]


def test_it_outlives_further_restarts_until_it_is_ended() -> None:
    """It is stored like any other drain."""
    table: DrainTable = load_drains([{"service": "web"}], 1000.0)
    for _ in range(3):
        table = load_drains(json.loads(json.dumps(dump_drains(table, 1000.0))), 1000.0)
    assert list(table) == [f"{UNREADABLE} web"]
    cap = cap_web(table)
    assert cap is not None
    assert (cap.level, cap.source) == (Level.STANDBY, CapSource.DRAINS_FILE)


def test_beside_a_drain_that_withdraws_the_lower_one_counts() -> None:
    """An operator drains again what was drained, before ending what could not be read."""
    drain = Drain("new kernel", "me", 900.0, 0.0, "web", withdrawn_at={"web": 900.0})
    unreadable = build_unreadable_drain("it is damaged", 1000.0)
    cap = cap_web({drain.key: drain, unreadable.key: unreadable})
    assert cap is not None
    assert (cap.level, cap.reason) == (Level.WITHDRAWN, Reason.DRAINED)


@pytest.mark.parametrize(
    ("serves", "level"), [(True, Level.WITHDRAWN), (False, Level.STANDBY), (None, Level.STANDBY)]
)
def test_where_prepends_do_not_steer_another_region_has_to_serve(
    serves: bool | None, level: Level
) -> None:
    """The longest path keeps no traffic away there, so it is a withdrawal, but never the last."""
    unreadable = build_unreadable_drain("it is damaged", 1000.0)
    cap = cap_web({unreadable.key: unreadable}, REGIONS, UNSTEERED, serves=serves)
    assert cap is not None
    assert (cap.level, cap.reason) == (level, Reason.DRAINS_UNREADABLE)


def test_where_prepends_do_not_steer_and_no_regions_are_known_it_is_withdrawn_at_once() -> None:
    """As by an operator's drain: without `regions` nobody can be asked."""
    unreadable = build_unreadable_drain("it is damaged", 1000.0)
    cap = cap_web({unreadable.key: unreadable}, UNSTEERED)
    assert cap is not None
    assert (cap.level, cap.reason) == (Level.WITHDRAWN, Reason.DRAINS_UNREADABLE)


def test_where_prepends_steer_no_other_region_is_asked() -> None:
    """It never withdraws there."""
    unreadable = build_unreadable_drain("it is damaged", 1000.0)
    cap = cap_web({unreadable.key: unreadable}, REGIONS, serves=True)
    assert cap is not None
    assert cap.level is Level.STANDBY


KEYS = st.sampled_from(sorted([*ITEM, "unreadable"]))


@given(st.lists(st.dictionaries(KEYS, json_values()) | json_values(), max_size=4))
def test_any_list_is_as_many_drains_or_fewer(items: list[Any]) -> None:
    """Nothing raises, nothing takes long, and what is there keeps something back."""
    began = time.thread_time()
    table = load_drains(items, 1000.0)
    assert time.thread_time() - began < 0.5
    assert bool(table) == bool(items)
    again = load_drains(json.loads(json.dumps(dump_drains(table, 1000.0))), 1000.0)
    assert again.keys() == table.keys()
