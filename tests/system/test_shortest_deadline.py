"""The shortest `deadline` of a profile: a machine that is starved or paused keeps its route."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from anycastd.profile.schema import load_schema
from support.haproxy import until
from support.machine import pass_time
from support.pressure import CpuBurners
from support.processes import signal_pid
from support.watched import Watched, watched

pytestmark = [pytest.mark.root, pytest.mark.alone]

DEADLINE = 0.3
PAUSE = 1.0
"""Seconds for which the machine is paused; longer than the deadline."""
BACK = "x 7 1"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run one appliance for all tests of this file."""
    with watched(tmp_path_factory.mktemp("one"), deadline=DEADLINE, ttl=5) as it:
        yield it


@pytest.fixture
def here(one: Watched) -> Watched:
    """Give it once it is well."""
    one.wait_well()
    return one


def test_it_is_the_shortest_deadline() -> None:
    """The schema allows what this file tests, and nothing shorter."""
    keys = load_schema()["$defs"]["instance"]["properties"]
    assert keys["deadline"]["minimum"] == DEADLINE


def test_a_starved_and_paused_machine_keeps_its_route(here: Watched) -> None:
    """No CPU for HAProxy and agent proves nothing, nor a pause of both that is longer."""
    agent, burners, began = here.appliance.agent, CpuBurners(), time.monotonic()
    assert agent is not None
    burners.start()
    try:
        here.assert_calm(began, 2.0)
        for _ in range(2):
            paused_at = time.monotonic()
            here.haproxy.signal(signal.SIGSTOP)
            signal_pid(agent.pid, signal.SIGSTOP)
            try:
                pass_time(paused_at, PAUSE)
            finally:
                here.haproxy.signal(signal.SIGCONT)
                signal_pid(agent.pid, signal.SIGCONT)
            here.assert_calm(began, time.monotonic() - began + 1)
    finally:
        burners.stop()
    here.assert_calm(began, time.monotonic() - began + 1)
    until(lambda: here.appliance.status()["haproxy"]["main"]["state"] == "answers", 20)


def test_haproxy_hangs_for_good(here: Watched) -> None:
    """A stopped HAProxy is withdrawn by the deadline, and long before the default one."""
    began = time.monotonic()
    here.haproxy.signal(signal.SIGSTOP)
    try:
        here.wire.wait(0, 20)
        here.wait_reason("haproxy_silent")
    finally:
        here.haproxy.signal(signal.SIGCONT)
    gone = [at - began for at in here.wire.list_first_changes(began)]
    # A look may have been on its way when HAProxy stopped.
    assert min(gone) > DEADLINE * 2 / 3
    assert max(gone) < 2.5
    here.wait_well()
    assert here.wire.describe_changes(began) == [BACK, BACK]
