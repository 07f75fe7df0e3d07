"""Routes behind a window that delays changes: each change arrives, in order and soon enough."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from support.appliance import VIP
from support.azure_window import Reading, list_far_changes
from support.bgp_wire import ReceivedRoute, Update
from support.drains import run_anycastd, run_drain, run_drainable
from support.peer import wait_for
from support.route_log import Change, RouteLog

WINDOW = 3.0
"""Seconds; Azure's window is 30 s.  The profile's times are scaled down in the same ratio."""
TIMES = [
    ("wait: 1.5", "wait: 4.5"),
    (
        "hold_down: 1, hold_down_max: 2, spacing: 0.5",
        "hold_down: 4, hold_down_max: 4, spacing: 3.5",
    ),
]


def route(at: float, asns: int) -> Change:
    """Build a change at one peer; ``asns`` is the length of the path, 0 for a withdrawal."""
    path = tuple([65010] * asns)
    heard = ReceivedRoute(f"{VIP}/32", path, "192.0.2.10", None, (), ()) if asns else None
    return Change(at, 0, heard)


def test_the_window_of_this_test() -> None:
    """The first change passes, the second is delayed, a third replaces it, a fourth passes."""
    changes = [route(0, 1), route(1, 7), route(2, 0), route(9, 1)]
    told = {
        reading: [(far.at, far.asns) for far in list_far_changes(changes, 3.0, reading)]
        for reading in Reading
    }
    assert told[Reading.NOT_WITHDRAWALS] == [(0, 1), (2, 0), (9, 1)]
    assert told[Reading.EVERYTHING] == [(0, 1), (3, 0), (9, 1)]


@pytest.mark.root
@pytest.mark.slow
def test_the_far_side_can_follow(tmp_path: Path) -> None:
    """A drain right after a return, then a failure: what the far side sees, by both readings.

    Each change is one UPDATE.  The far side has left the preferred path before it hears of the
    withdrawal, though the path became longer inside the window.  What happens when nothing has
    changed for a while happens there at once, and nothing is ever later than the window.
    """
    with run_drainable(tmp_path, changes=TIMES) as one:
        wire = RouteLog(one.peers, f"{VIP}/32")
        began = wait_calm(wire)
        before = [len(peer.list_events(Update)) for peer in one.peers]
        assert run_drain(one, "--wait").returncode == 0
        wait_calm(wire)
        assert run_anycastd(one, "undrain").returncode == 0
        wire.wait(1, 30, one.log())
        assert run_drain(one, "--wait").returncode == 0  # inside the window of the return
        wait_calm(wire)
        assert run_anycastd(one, "undrain").returncode == 0
        wire.wait(1, 30, one.log())
        failed = wait_calm(wire)
        one.haproxy.kill()
        wire.wait(0, 10, one.log())
        one.haproxy.start()
        wire.wait(1, 30, one.log())

        for number, peer in enumerate(one.peers):
            changes = [each for each in wire.changes() if each.peer == number]
            since = [each for each in changes if each.at > began]
            assert [each.asns for each in since] == [7, 0, 1, 7, 0, 1, 0, 7, 1]
            assert len(peer.list_events(Update)) - before[number] == len(since)
            for old, new in itertools.pairwise(since):
                if new.asns == 1:
                    assert new.at - old.at > WINDOW  # it leaves room for a failure
            for reading in Reading:
                far = [
                    each for each in list_far_changes(changes, WINDOW, reading) if each.at > began
                ]
                assert [each.asns for each in far] == [7, 0, 1, 7, 0, 1, 0, 7, 1]
                assert all(each.late <= WINDOW for each in far)
                assert far[3].late > 0  # the longer path right after the return was held
                assert far[3].at < far[4].at  # and was there before the withdrawal all the same
                assert next(each.late for each in far if each.at > failed) == 0


def wait_calm(wire: RouteLog) -> float:
    """Wait until no route has changed for longer than window and spacing; return the time."""

    def quiet() -> bool:
        return time.monotonic() - max(each.at for each in wire.changes()) > WINDOW + 1

    wait_for(quiet, 20, "calm")
    return time.monotonic()
