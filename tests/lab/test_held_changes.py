"""A far side that holds changes back, as Azure is reported to: what a client sees of it.

Nobody has measured on Azure what exactly is held, so both readings of the reports are played.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from anycastd.lab.network.appliance import LabSettings
from anycastd.lab.network.lab import Lab, paths_by_next_hop
from anycastd.lab.network.topology import PRIMARY, SECONDARY
from support.azure_window import Reading

pytestmark = [pytest.mark.root, pytest.mark.slow]

WINDOW = 3.0
"""Seconds; Azure's is 30.  The profile's times stand to it as the shipped ones do to that."""
BACK = {"rise": 1, "hold_down": 4, "hold_down_max": 4, "spacing": 3.5}
DRAIN = {"wait": 4.5, "linger": 1, "stop": 9}
REPLACED = 0.01  # seconds for which a route that BIRD replaces is away from the kernel


class Gateway:
    """One gateway of the primary region: after a change it says nothing to the MSEE for a while.

    It is BIRD, stopped: what the route servers tell it meanwhile waits, and is told as one.
    """

    def __init__(self, lab: Lab, number: int, reading: Reading) -> None:
        self._lab = lab
        self._reading = reading
        self._bird = lab.routers[PRIMARY.node(f"gw{number}")]
        self._address = PRIMARY.gateways[number]
        self._told = self._tells()
        self._until = 0.0

    def turn(self) -> None:
        """Look at what it tells, and stop it or let it go on."""
        now = time.monotonic()
        if self._until and (now >= self._until or self._passes(now)):
            self._until = 0.0
            self._bird.thaw()
        elif not self._until and (tells := self._tells()) != self._told:
            self._told, self._until = tells, now + WINDOW
            self._bird.freeze()

    def go_on(self) -> None:
        """Let it go on for good."""
        self._bird.thaw()

    def _tells(self) -> tuple[int, ...] | None:
        return paths_by_next_hop(self._lab.msee_table()).get(self._address)

    def _passes(self, now: float) -> bool:
        """Whether what waits is a withdrawal that is not held: both route servers have it."""
        if self._reading is Reading.EVERYTHING or self._told is None:
            return False
        last = [self._lab.monitors[PRIMARY.node(f"ars{n}")].changes()[-1] for n in (0, 1)]
        return all(not each.next_hops and now - each.at > REPLACED for each in last)


@contextmanager
def held(lab: Lab, reading: Reading) -> Iterator[None]:
    """Hold back what the primary region's gateways tell, under one reading."""
    gateways = [Gateway(lab, number, reading) for number in (0, 1)]
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.005):
            for gateway in gateways:
                gateway.turn()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for gateway in gateways:
            gateway.go_on()


@pytest.mark.parametrize("reading", Reading, ids=lambda reading: reading.name.lower())
def test_what_a_client_sees_of_a_far_side_that_holds_changes(reading: Reading) -> None:
    """Drains lose nothing, even right after a return; a failure in calm is over at once.

    Only a failure right after a return meets the window, and only where withdrawals do.
    """
    with Lab(LabSettings(return_timers=BACK, drain_times=DRAIN), timeout=20.0, resend=True) as lab:
        lab.wait_preferred()
        lab.client.start()
        lab.wait_answers(PRIMARY, 50, 20)
        with held(lab, reading):
            drain(lab)
            assert lab.primary.run_command("undrain").returncode == 0
            returned(lab)
            drain(lab)  # the longer path is held, and is there before the withdrawal
            assert lab.primary.run_command("undrain").returncode == 0
            returned(lab)
            assert [answer for answer in lab.client.results() if not answer.ok] == []
            calm(lab)
            assert fail(lab)[0] < 1
            returned(lab)
            promoted = lab.monitors["msee"].changes()[-1].at
            outage, switched = fail(lab)
            if reading is Reading.EVERYTHING:
                assert switched - promoted > WINDOW - 0.1
                assert outage < WINDOW + 1
            else:
                assert outage < 1
            returned(lab)
        lab.client.stop()


def drain(lab: Lab) -> None:
    """Drain the primary region to the end; when it is safe to reboot, nobody has been there."""
    done = lab.primary.run_command("drain", "--reason", "a test", "--wait")
    assert done.returncode == 0, done.stderr
    safe = time.monotonic()
    lab.wait_answers(SECONDARY, 50, 20, safe)
    late = [answer for answer in lab.client.results() if answer.ended_at > safe - 0.5]
    assert {answer.region for answer in late} == {SECONDARY.name}


def returned(lab: Lab) -> None:
    """Wait until the client is back at the primary region."""
    lab.wait_preferred()
    lab.wait_answers(PRIMARY, 20, 20)


def calm(lab: Lab) -> None:
    """Wait until the MSEE has seen no change for longer than the window."""
    watch = lab.monitors["msee"]

    def quiet() -> bool:
        return time.monotonic() - watch.changes()[-1].at > WINDOW + 1

    lab.wait("the MSEE to be calm", quiet, 20, lab.describe)


def fail(lab: Lab) -> tuple[float, float]:
    """Kill HAProxy and start it again; the client's outage in seconds, when the MSEE switched."""
    began = lab.faults.kill_haproxy(PRIMARY.name)
    lab.wait_answers(SECONDARY, 50, 20, began)
    lab.faults.start_haproxy(PRIMARY.name)
    switched = lab.monitors["msee"].moved_at(began, *SECONDARY.gateways)
    assert switched is not None
    outage = lab.client.outage(began)
    return (outage.seconds if outage else 0.0), switched  # it may be over between two requests
