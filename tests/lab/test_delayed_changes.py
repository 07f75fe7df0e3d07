"""Tests with a far side that delays changes, as Azure is reported to do.

It has not been measured on Azure what exactly is delayed, so both readings of the reports are
tested.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from anycastd.lab.network.appliance import LabSettings
from anycastd.lab.network.azure import PRIMARY, SECONDARY
from anycastd.lab.network.lab import Lab
from anycastd.lab.network.table import paths_by_next_hop
from support.azure_window import Reading

pytestmark = [pytest.mark.root, pytest.mark.slow]

WINDOW = 3.0
"""Seconds; Azure's is 30.  The profile's times are scaled like it."""
RETURN_TIMERS = {"rise": 1, "hold_down": 4, "hold_down_max": 4, "spacing": 3.5}
DRAIN = {"wait": 4.5, "linger": 1, "stop": 9}
MAX_REPLACEMENT = 0.01  # seconds without a kernel route while BIRD replaces one


class Gateway:
    """One gateway of the primary region: after a change it sends nothing to the MSEE for a while.

    Its BIRD is stopped meanwhile; it sends the net result of all changes afterwards.
    """

    def __init__(self, lab: Lab, number: int, reading: Reading) -> None:
        self._lab = lab
        self._reading = reading
        self._bird = lab.routers[PRIMARY.node(f"gw{number}")]
        self._address = PRIMARY.gateways[number]
        self._sent_path = self._current_path()
        self._ends_at = 0.0

    def step(self) -> None:
        """Stop BIRD after a change, and continue it at the end of the window."""
        now = time.monotonic()
        if self._ends_at and (now >= self._ends_at or self._is_passed_on(now)):
            self._ends_at = 0.0
            self._bird.thaw()
        elif not self._ends_at and (path := self._current_path()) != self._sent_path:
            self._sent_path, self._ends_at = path, now + WINDOW
            self._bird.freeze()

    def resume(self) -> None:
        """Continue BIRD for good."""
        self._bird.thaw()

    def _current_path(self) -> tuple[int, ...] | None:
        return paths_by_next_hop(self._lab.read_table()).get(self._address)

    def _is_passed_on(self, now: float) -> bool:
        """Return whether a withdrawal is pending that this reading does not delay."""
        if self._reading is Reading.EVERYTHING or self._sent_path is None:
            return False
        last = [self._lab.monitors[PRIMARY.node(f"ars{n}")].changes()[-1] for n in (0, 1)]
        return all(not each.next_hops and now - each.at > MAX_REPLACEMENT for each in last)


@contextmanager
def delayed_changes(lab: Lab, reading: Reading) -> Iterator[None]:
    """Delay what the primary region's gateways send, under one reading."""
    gateways = [Gateway(lab, number, reading) for number in (0, 1)]
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.005):
            for gateway in gateways:
                gateway.step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for gateway in gateways:
            gateway.resume()


@pytest.mark.parametrize("reading", Reading, ids=lambda reading: reading.name.lower())
def test_what_a_client_sees_of_a_far_side_that_delays_changes(reading: Reading) -> None:
    """Drains lose nothing, even right after a return; after a calm a failure is short.

    Only a failure right after a return lasts for the window, if withdrawals are delayed.
    """
    with Lab(
        LabSettings(return_timers=RETURN_TIMERS, drain_times=DRAIN), timeout=20.0, resend=True
    ) as lab:
        lab.wait_preferred()
        lab.client.start()
        lab.wait_answers(PRIMARY, 50, 20)
        with delayed_changes(lab, reading):
            drain(lab)
            assert lab.primary.run_command("undrain").returncode == 0
            wait_returned(lab)
            drain(lab)  # the longer path is delayed, but arrives before the withdrawal
            assert lab.primary.run_command("undrain").returncode == 0
            wait_returned(lab)
            assert [answer for answer in lab.client.results() if not answer.ok] == []
            wait_calm(lab)
            assert fail_over(lab)[0] < 1
            wait_returned(lab)
            promoted = lab.monitors["msee"].changes()[-1].at
            outage, switched = fail_over(lab)
            if reading is Reading.EVERYTHING:
                assert switched - promoted > WINDOW - 0.1
                assert outage < WINDOW + 1
            else:
                assert outage < 1
            wait_returned(lab)
        lab.client.stop()


def drain(lab: Lab) -> None:
    """Drain the primary region; when it is safe to reboot, it serves no request any more."""
    done = lab.primary.run_command("drain", "--reason", "a test", "--wait")
    assert done.returncode == 0, done.stderr
    safe = time.monotonic()
    lab.wait_answers(SECONDARY, 50, 20, safe)
    late = [answer for answer in lab.client.results() if answer.ended_at > safe - 0.5]
    assert {answer.region for answer in late} == {SECONDARY.name}


def wait_returned(lab: Lab) -> None:
    """Wait until the client is back at the primary region."""
    lab.wait_preferred()
    lab.wait_answers(PRIMARY, 20, 20)


def wait_calm(lab: Lab) -> None:
    """Wait until the MSEE has seen no change for longer than the window."""
    watch = lab.monitors["msee"]

    def quiet() -> bool:
        return time.monotonic() - watch.changes()[-1].at > WINDOW + 1

    lab.wait("the MSEE to be calm", quiet, 20, lab.describe)


def fail_over(lab: Lab) -> tuple[float, float]:
    """Kill HAProxy and start it again.

    Returns the client's outage in seconds, and when the MSEE switched.
    """
    began_at = lab.faults.kill_haproxy(PRIMARY.name)
    lab.wait_answers(SECONDARY, 50, 20, began_at)
    lab.faults.start_haproxy(PRIMARY.name)
    watch = lab.monitors["msee"]
    switched = lab.wait(
        "the MSEE to move", lambda: watch.moved_at(began_at, *SECONDARY.gateways), 20, lab.describe
    )
    outage = lab.client.outage(began_at)
    return (outage.seconds if outage else 0.0), switched  # it may be over between two requests
