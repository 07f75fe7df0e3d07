"""The story of one VNet, in its short form, and the window of its route table."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from anycastd.lab.programs.route_window import ChangeWindow
from support.azure_window import Reading, list_far_changes
from support.bgp_wire import ReceivedRoute
from support.lab_stories import play_story, read_best, read_paths
from support.route_log import Change

PRIMARY, SECONDARY = "10.0.2.10", "10.0.2.20"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_servers_in_one_vnet() -> None:
    """The route moves and returns, and equal paths are used by both servers at once."""
    steps = play_story("one-vnet")
    assert list(steps) == [
        "baseline",
        "speaker-stopped",
        "speaker-back",
        "speaker-killed",
        "equal",
        "one-of-two",
    ]
    both = {PRIMARY: "65010", SECONDARY: "65010 65010"}
    for name in ("baseline", "speaker-back", "speaker-killed"):
        (table,) = steps[name]["tables"]
        assert read_paths(table) == both
        assert read_best(table) == {PRIMARY}
    (table,) = steps["speaker-stopped"]["tables"]
    assert read_paths(table) == {SECONDARY: "65010 65010"}
    assert steps["speaker-stopped"]["published"] == (
        "below 2 s; its other attempts below 5, 4 and 2 s"
    )
    (table,) = steps["equal"]["tables"]
    assert read_paths(table) == dict.fromkeys(both, "65010")
    assert read_best(table) == set(both)
    assert {name.split()[0] for name in steps["equal"]["answers"]} == {"primary", "secondary"}
    (table,) = steps["one-of-two"]["tables"]
    assert read_best(table) == {SECONDARY}


def make_route(asns: int) -> ReceivedRoute:
    """Make a route whose path has so many AS numbers."""
    return ReceivedRoute("192.0.2.1/32", (65010,) * asns, "192.0.2.2", None, (), ())


def change_times(news: Sequence[tuple[float, str]], window: float) -> list[tuple[float, str]]:
    """Return when a table with a window changes, and to what; ``news``: (time, next hop)."""
    table = ChangeWindow(window)
    found = []
    for at, hop in [*news, (float("inf"), "")]:
        due = table.find_due()
        while due is not None and due <= at:
            hops = table.change(due)
            assert hops is not None
            found.append((due, hops[0]))
            due = table.find_due()
        if hop:
            table.note((hop,))
            hops = table.change(at)
            if hops is not None:
                found.append((at, hops[0]))
    return found


@pytest.mark.parametrize(
    "times", [(0, 1, 2), (0, 40), (0, 29, 31, 80), (0, 10, 35, 36), (5, 35), (0, 1, 61, 62, 63)]
)
def test_the_window_is_the_one_of_the_model(times: tuple[float, ...]) -> None:
    """The first change passes; later ones wait, and become one; as the model of Azure has it."""
    news = [(float(at), f"10.0.0.{number}") for number, at in enumerate(times, 1)]
    changes = [Change(at, 0, make_route(number)) for number, (at, _) in enumerate(news, 1)]
    model = [
        (each.at, f"10.0.0.{each.asns}")
        for each in list_far_changes(changes, 30.0, Reading.EVERYTHING)
    ]
    assert change_times(news, 30.0) == model


def test_a_route_that_is_back_in_time_changes_nothing() -> None:
    """Out and in during the window: the table never leaves, and the next change is not delayed."""
    news = [(0.0, "a"), (10.0, "b"), (12.0, "a"), (31.0, "b")]
    assert change_times(news, 30.0) == [(0.0, "a"), (31.0, "b")]
