"""The table of promises, fault by fault, on a whole appliance that is restarted as installed.

Real HAProxy, agent, lease process and ExaBGP; what counts is what two BGP peers saw.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycastd.speaker.start import build_environment
from support.bgp_wire import Closed, Refreshed
from support.faults import FAULTS
from support.haproxy import until
from support.machine import Machine, pass_time, run_machine
from support.peer import wait_for

pytestmark = [pytest.mark.root, pytest.mark.alone]

TTL, DEADLINE = 3.0, 1.5
SLACK = 0.5
"""Seconds that a busy machine may add to a bound; the benches measure the real times."""
BACK = "x 7 1"
"""Withdrawn, back at standby, then preferred: what a peer must see of every absence."""


@pytest.fixture(scope="module")
def python() -> str:
    """Choose the last ExaBGP, Debian's; the test of the chaos run uses the first one."""
    pythons = os.environ.get("ANYCASTD_EXABGP_PYTHONS", "").split(os.pathsep)
    return pythons[-1] or sys.executable


@pytest.fixture(scope="module")
def one(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Run one machine for all tests of this file."""
    with run_machine(tmp_path_factory.mktemp("machine"), python, ttl=TTL, deadline=DEADLINE) as it:
        yield it


@pytest.fixture
def machine(one: Machine) -> Machine:
    """Wait until the machine is well: so each test also tests the recovery from the one before."""
    one.wait_settled()
    one.wait_in_order()
    return one


@pytest.mark.parametrize(
    ("name", "lasts", "watch"),
    [
        ("agent killed", 0, TTL + 1),
        ("lease killed", 0, TTL + 1),
        ("agent and lease killed", 0, TTL + 1),
        ("agent stopped for a moment", 1, 1.5),
        ("lease stopped for a moment", 2, TTL),
        ("exabgp stopped for a moment", 2, 3),
        ("haproxy stopped for a moment", 1.1, 2),
        ("stats socket taken", 1.1, 2),
        ("server 0 down", 1, 1.5),
        ("vip removed", 0, 1),
        ("cpu starved", 4, 6),
    ],
)
def test_nothing_moves(machine: Machine, name: str, lasts: float, watch: float) -> None:
    """The appliance recovers by itself: no route changes, no session closes."""
    fault = FAULTS[name]
    began = time.monotonic()
    given = fault.begin(machine, lasts)
    pass_time(began, lasts)
    fault.end(machine, given)
    pass_time(began, watch)
    assert machine.wire.describe_changes(began) == ["nothing", "nothing"], machine.appliance.log()
    assert machine.has_vip()
    machine.wait_in_order()


@pytest.mark.parametrize(
    ("name", "lasts", "bound"),
    [
        ("agent killed, stays away", TTL + 1, TTL),
        ("agent stopped", TTL + 1, TTL),
        ("exabgp killed", 0, 0),
        ("agent and exabgp killed", 0, 0),
        ("agent and lease and exabgp killed", 0, 0),
        ("haproxy killed", 0.3, 0),
        ("haproxy restarted", 0, 0),
        ("haproxy stopped", 3, DEADLINE + DEADLINE / 3),
        ("all servers down", 0.5, 0.1),
        ("both peers away", 1, 0),
        ("both peers without the family", 4, 0),
    ],
)
def test_gone_in_time_and_back_in_two_steps(
    machine: Machine, name: str, lasts: float, bound: float
) -> None:
    """No route stays longer than the bound; it returns by itself, at standby first."""
    fault = FAULTS[name]
    began = time.monotonic()
    given = fault.begin(machine, lasts)
    wait_for(lambda: machine.wire.lengths() == [0, 0], bound + 5, f"no route\n{machine.tail()}")
    gone = max(machine.wire.list_first_changes(began)) - began
    pass_time(began, lasts)
    fault.end(machine, given)
    machine.wait_settled(20)
    machine.wait_in_order()
    assert gone < bound + SLACK
    assert machine.wire.describe_changes(began) == [BACK, BACK], machine.appliance.log()


def test_a_full_haproxy(machine: Machine) -> None:
    """It refuses connections and clients fail, but the route stays."""
    began = machine.fill_haproxy()
    until(lambda: machine.traffic.failed(began), 5)
    pass_time(began, 3)
    machine.empty_haproxy()
    pass_time(began, 4)
    assert machine.wire.describe_changes(began) == ["nothing", "nothing"], machine.appliance.log()
    assert len(machine.traffic.failed(began)) > 20


@pytest.mark.slow
def test_a_lease_process_that_hangs_holds_no_dead_route(machine: Machine) -> None:
    """HAProxy dies while the lease process hangs: the route stays until the hang is found."""
    began = time.monotonic()
    hung = machine.stop("lease")
    machine.kill_haproxy()
    wait_for(lambda: machine.wire.lengths() == [0, 0], 8, f"no route\n{machine.tail()}")
    gone = max(machine.wire.list_first_changes(began)) - began
    machine.start_haproxy()
    machine.resume("lease", hung)
    machine.wait_settled(20)
    assert gone < 5 + 1 + 4 * SLACK
    assert machine.wire.describe_changes(began) == [BACK, BACK]


def test_an_agent_that_dies_with_its_haproxy(machine: Machine) -> None:
    """The new agent finds no HAProxy and withdraws: nothing is renewed without evidence."""
    began = time.monotonic()
    machine.kill("agent")
    machine.kill_haproxy()
    wait_for(lambda: machine.wire.lengths() == [0, 0], TTL + 2, f"no route\n{machine.tail()}")
    gone = max(machine.wire.list_first_changes(began)) - began
    machine.start_haproxy()
    machine.wait_settled(20)
    assert gone < TTL + SLACK
    assert machine.wire.describe_changes(began) == [BACK, BACK]


def test_a_speaker_that_comes_back_after_its_haproxy(machine: Machine) -> None:
    """All waits ended while there was no speaker: the service returns at standby all the same."""
    began = time.monotonic()
    machine.kill_haproxy()
    machine.wire.wait(0, 5)
    machine.keep_down("exabgp")
    started = machine.start_haproxy()
    pass_time(started, 3)
    machine.let_start("exabgp")
    machine.wait_settled(20)
    assert machine.wire.describe_changes(began) == [BACK, BACK], machine.appliance.log()


def test_one_of_two_peers_is_away(machine: Machine) -> None:
    """The other peer's route stays; the peer that returns gets the present route at once."""
    began = time.monotonic()
    machine.remove_peer(0)
    pass_time(began, 1)
    machine.return_peer(0)
    machine.wait_settled(20)
    assert machine.wire.describe_changes(began) == ["x 1", "nothing"]
    machine.wait_in_order()


def test_ten_reloads_under_traffic(machine: Machine) -> None:
    """No route changes, no request fails, and no old worker is kept alive."""
    began = time.monotonic()
    for _ in range(10):
        machine.reload_haproxy()
    until(lambda: machine.count_processes()["haproxy worker"] == 1, 15)
    pass_time(began, 3)
    assert machine.wire.describe_changes(began) == ["nothing", "nothing"], machine.appliance.log()
    assert machine.traffic.failed(began) == []


def test_a_refresh_from_a_peer_with_enhanced_refresh(machine: Machine) -> None:
    """RFC 7313 or RFC 2918: the peer receives again what it has."""
    began = time.monotonic()
    refreshed = machine.appliance.peers[0]
    before = len(refreshed.updates)
    machine.refresh(0)
    refreshed.wait(lambda it: len(it.updates) > before, 5, "the route once more")
    pass_time(began, 1)
    assert machine.wire.describe_changes(began) == ["nothing", "nothing"]
    assert not [each for each in refreshed.list_events(Closed) if each.at > began]
    assert all(each.at > began for each in refreshed.list_events(Refreshed)[-1:])


def test_an_exabgp_that_hangs(machine: Machine, tmp_path: Path) -> None:
    """The lease process ends it after 5 s, so its sessions close; another ExaBGP is left alone."""
    conf = tmp_path / "other.conf"
    conf.write_text(
        "neighbor 192.0.2.99 {\n    router-id 192.0.2.10;\n    local-address 192.0.2.10;\n"
        "    local-as 65010;\n    peer-as 65515;\n    family { ipv4 unicast; }\n}\n",
        encoding="utf-8",
    )
    settings = build_environment(str(tmp_path), machine.appliance.environment, "root")
    settings["exabgp_log_level"] = "WARNING"  # 4.2 and 5.0 share no other word
    (tmp_path / "exabgp.env").write_text("# nothing\n", encoding="utf-8")
    other = subprocess.Popen([machine.appliance.python, "-m", "exabgp", str(conf)], env=settings)
    began = time.monotonic()
    try:
        machine.stop("exabgp")
        wait_for(lambda: machine.wire.lengths() == [0, 0], 8, "the sessions to close")
        assert max(machine.wire.list_first_changes(began)) - began < 5 + SLACK
        machine.wait_settled(20)
        assert other.poll() is None
        check = [sys.executable, "-m", "anycastd", "check", str(machine.appliance.profile)]
        said = subprocess.run(check, capture_output=True, encoding="utf-8", check=True).stderr
        assert f"another ExaBGP runs here (pid {other.pid}: " in " ".join(said.split())
        assert said.count("another ExaBGP") == 1, "and nobody else's, nor our own"
        assert f"another ExaBGP runs here (pid {other.pid}: " in machine.appliance.log()
        assert machine.wire.describe_changes(began) == [BACK, BACK]
    finally:
        other.kill()
        other.wait()


def test_a_stop_and_a_start_of_the_agent_is_no_change(machine: Machine) -> None:
    """`systemctl restart`: the old agent hands its routes over, the new one adopts them."""
    began = time.monotonic()
    assert machine.agent.process is not None
    machine.agent.process.send_signal(signal.SIGTERM)
    pass_time(began, TTL + 1)
    assert machine.wire.describe_changes(began) == ["nothing", "nothing"], machine.appliance.log()
    machine.wait_in_order()
