"""The table of promises, fault by fault, on a whole appliance that is restarted as installed.

Real HAProxy, agent, lease process and ExaBGP; what counts is what two BGP peers saw.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import PROFILE, Appliance, own_network
from bgp import Closed, Refreshed
from exabgps import CHECKOUT
from faults import FAULTS
from haproxies import until
from machine import Machine
from peer import wait_for
from test_shim import STEPPED

pytestmark = pytest.mark.root

TTL, DEADLINE, HOLD = 3.0, 1.5, 9.0
AT_ONCE = 0.5
"""Seconds; the benches say how soon it really is, a test must not depend on a calm machine."""
BACK = "x 7 1"
"""Gone, back at standby, then preferred: how every absence must look to a peer."""


@contextlib.contextmanager
def running(place: Path, python: str, **settings: object) -> Iterator[Machine]:
    """Give a machine in a network of its own; its first peer knows RFC 7313."""
    values = {"ttl": TTL, "deadline": DEADLINE} | settings
    with own_network():
        appliance = Appliance(place, python=python, **values)  # type: ignore[arg-type]
        appliance.peers[0].refresh = "enhanced"
        with Machine(appliance) as it:
            yield it


@pytest.fixture(scope="module")
def python() -> str:
    """Take the last ExaBGP that there is, Debian's; the chaos run's test takes the first one."""
    pythons = os.environ.get("ANYCASTD_EXABGP_PYTHONS", "").split(os.pathsep)
    return pythons[-1] or sys.executable


@pytest.fixture(scope="module")
def one(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Give a machine that all tests of this file break in turn."""
    with running(tmp_path_factory.mktemp("machine"), python) as it:
        yield it


@pytest.fixture
def machine(one: Machine) -> Machine:
    """Give the machine once it is well: every test is also one of recovery from the one before."""
    one.settle()
    one.proper()
    return one


def pass_time(since: float, seconds: float) -> None:
    """Wait until ``seconds`` have passed after ``since``: nothing may happen meanwhile."""
    until(lambda: time.monotonic() - since > seconds, seconds + 5)


@pytest.mark.parametrize(
    ("name", "lasts", "watch"),
    [
        ("agent killed", 0, TTL + 1),
        ("lease killed", 0, TTL + 1),
        ("agent and lease killed", 0, TTL + 1),
        ("agent stopped for a moment", 1, 1.5),
        ("lease stopped for a moment", 2, TTL),
        ("exabgp stopped for a moment", 2, 3),
        ("haproxy stopped for a moment", 0.5, 1.5),
        ("haproxy full", 3, 4),
        ("stats socket taken", 0.5, 1.5),
        ("server 0 down", 1, 1.5),
        ("vip removed", 0, 1),
        ("cpu starved", 4, 6),
    ],
)
def test_nothing_moves(machine: Machine, name: str, lasts: float, watch: float) -> None:
    """It mends itself before anybody had to notice: no route changes, no session closes."""
    fault = FAULTS[name]
    began = time.monotonic()
    given = fault.begin(machine, lasts)
    pass_time(began, lasts)
    fault.end(machine, given)
    pass_time(began, watch)
    assert machine.wire.story(began) == ["nothing", "nothing"], machine.appliance.log()
    assert machine.has_vip()
    machine.proper()


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
    ],
)
def test_gone_in_time_and_back_in_two_steps(
    machine: Machine, name: str, lasts: float, bound: float
) -> None:
    """No route stands for longer than the bound; it comes back by itself, at standby first."""
    fault = FAULTS[name]
    began = time.monotonic()
    given = fault.begin(machine, lasts)
    wait_for(lambda: machine.wire.lengths() == [0, 0], bound + 5, f"no route\n{machine.tail()}")
    gone = max(machine.wire.first(began)) - began
    pass_time(began, lasts)
    fault.end(machine, given)
    machine.settle(20)
    machine.proper()
    assert gone < bound + AT_ONCE
    assert machine.wire.story(began) == [BACK, BACK], machine.appliance.log()


def test_a_lease_process_that_hangs_is_replaced(machine: Machine) -> None:
    """ExaBGP's end finds it within 5 s; the next one inherits the routes, nothing moves."""
    began = time.monotonic()
    hung = machine.stop("lease")
    wait_for(lambda: machine.lease() not in (hung, None), 7, "another lease process")
    assert time.monotonic() - began < 5 + 2 * AT_ONCE
    pass_time(began, 6 + TTL)
    assert machine.wire.story(began) == ["nothing", "nothing"], machine.appliance.log()
    machine.cont("lease", hung)
    machine.proper()


@pytest.mark.slow
def test_a_lease_process_that_hangs_holds_no_dead_route(machine: Machine) -> None:
    """The same while HAProxy dies: the route outlives it by what finding the hang takes."""
    began = time.monotonic()
    hung = machine.stop("lease")
    machine.kill_haproxy()
    wait_for(lambda: machine.wire.lengths() == [0, 0], 8, f"no route\n{machine.tail()}")
    gone = max(machine.wire.first(began)) - began
    machine.start_haproxy()
    machine.cont("lease", hung)
    machine.settle(20)
    assert gone < 5 + 1 + AT_ONCE
    assert machine.wire.story(began) == [BACK, BACK]


def test_an_agent_that_dies_with_its_haproxy(machine: Machine) -> None:
    """It comes back, finds nobody and withdraws: nothing is renewed without evidence."""
    began = time.monotonic()
    machine.kill("agent")
    machine.kill_haproxy()
    wait_for(lambda: machine.wire.lengths() == [0, 0], TTL + 2, f"no route\n{machine.tail()}")
    gone = max(machine.wire.first(began)) - began
    machine.start_haproxy()
    machine.settle(20)
    assert gone < TTL + AT_ONCE
    assert machine.wire.story(began) == [BACK, BACK]


def test_one_of_two_peers_is_away(machine: Machine) -> None:
    """The other one's route stays as it is; whoever comes back has the present route at once."""
    began = time.monotonic()
    machine.leave(0)
    pass_time(began, 1)
    machine.come_back(0)
    machine.settle(20)
    assert machine.wire.story(began) == ["x 1", "nothing"]
    machine.proper()


def test_ten_reloads_under_traffic(machine: Machine) -> None:
    """No route changes, no request fails, and no old worker is kept alive."""
    began = time.monotonic()
    for _ in range(10):
        machine.reload_haproxy()
    until(lambda: machine.running()["haproxy worker"] == 1, 2)
    pass_time(began, 3)
    assert machine.wire.story(began) == ["nothing", "nothing"], machine.appliance.log()
    assert machine.traffic.failed(began) == []


def test_a_refresh_from_a_peer_with_enhanced_refresh(machine: Machine) -> None:
    """RFC 7313 or RFC 2918: what it hears again is what it has."""
    began = time.monotonic()
    refreshed = machine.appliance.peers[0]
    before = len(refreshed.updates)
    machine.refresh(0)
    refreshed.wait(lambda it: len(it.updates) > before, 5, "the route once more")
    pass_time(began, 1)
    assert machine.wire.story(began) == ["nothing", "nothing"]
    assert not [each for each in refreshed.of(Closed) if each.at > began]
    assert all(each.at > began for each in refreshed.of(Refreshed)[-1:])


def wait_for_keepalives(machine: Machine, within: float) -> None:
    """Wait until each peer has heard a keepalive within the last ``within`` seconds."""
    counts = [peer.keepalives for peer in machine.appliance.peers]
    heard = [0.0 for _ in counts]

    def fresh() -> bool:
        now = time.monotonic()
        for number, peer in enumerate(machine.appliance.peers):
            if peer.keepalives != counts[number]:
                counts[number], heard[number] = peer.keepalives, now
        return now - min(heard) < within

    until(fresh, 10)


@pytest.mark.slow
def test_pauses_of_the_whole_machine(machine: Machine) -> None:
    """Every process stops for 1 to 6 s, ten times: BGP survives it (hold time 9 s), and so do we.

    A long one begins soon after both peers heard a keepalive, or BGP itself would not survive.
    """
    began = time.monotonic()
    for seconds in (1, 6, 2, 1, 5, 1, 3, 1, 4, 2):
        if seconds > HOLD / 3:
            wait_for_keepalives(machine, HOLD - seconds - 0.8)
        machine.pause(seconds)
    pass_time(time.monotonic(), TTL)
    assert machine.wire.story(began) == ["nothing", "nothing"], machine.appliance.log()
    for peer in machine.appliance.peers:
        assert not [each for each in peer.of(Closed) if each.at > began]


def test_an_exabgp_that_hangs(machine: Machine, tmp_path: Path) -> None:
    """Its lease process ends it within 5 s, so that its sessions close; no other one is touched."""
    conf = tmp_path / "other.conf"
    conf.write_text(
        "neighbor 192.0.2.99 {\n    router-id 192.0.2.10;\n    local-address 192.0.2.10;\n"
        "    local-as 65010;\n    peer-as 65515;\n    family { ipv4 unicast; }\n}\n"
    )
    quiet = {"exabgp_api_cli": "false", "exabgp_log_enable": "false", "exabgp_tcp_bind": ""}
    began = time.monotonic()
    other = subprocess.Popen(
        [machine.appliance.python, "-m", "anycastd.shim", str(conf)],
        env=machine.appliance.environment | quiet | {"exabgp_daemon_user": "root"},
    )
    try:
        machine.stop("exabgp")
        wait_for(lambda: machine.wire.lengths() == [0, 0], 8, "the sessions to close")
        assert max(machine.wire.first(began)) - began < 5 + AT_ONCE
        machine.settle(20)
        assert other.poll() is None
        assert machine.wire.story(began) == [BACK, BACK]
    finally:
        other.kill()
        other.wait()


# What only a lab can make ------------------------------------------------------------------------

# An agent of the same code, one part of which stops working after a while.
WEDGED = """\
import asyncio, contextlib, sys
from anycastd import cli, daemon
owner, method = {owner}, {method!r}
original = getattr(owner, method)
async def wedged(self):
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            await original(self)
    sys.stderr.write("wedged now\\n")
    await asyncio.Event().wait()
setattr(owner, method, wedged)
sys.exit(cli.main())
"""


@pytest.mark.parametrize(
    ("owner", "method", "bound"),
    [
        ("daemon.Watcher", "run", DEADLINE),
        ("daemon.Daemon", "_decide", TTL),
    ],
    ids=["watcher", "passes"],
)
def test_nothing_but_a_pass_on_fresh_evidence_renews(
    python: str, tmp_path: Path, owner: str, method: str, bound: float
) -> None:
    """The watcher, or the deciding loop, stands still and all else runs: the route must go.

    Questions for the status meanwhile, and a session that comes and goes, renew nothing.
    """
    script = tmp_path / "wedged.py"
    script.write_text(WEDGED.format(owner=owner, method=method))
    with own_network():
        appliance = Appliance(tmp_path, python=python, ttl=TTL, deadline=DEADLINE)
        with appliance:
            appliance.start_speaker()
            line = [sys.executable, str(script), "run", "--profile", str(appliance.profile)]
            line += ["--directory", appliance.place("agent"), "--lease", str(appliance.lease)]
            with (tmp_path / "agent.err").open("ab") as log:
                appliance.agent = subprocess.Popen(
                    line, stdout=log, stderr=log, env=appliance.environment
                )
            appliance.wait_path(1)
            wait_for(lambda: "wedged now" in appliance.log(), 10, "the agent to wedge")
            wedged = time.monotonic()
            appliance.peers[1].drop(6, 4)
            wait_for(lambda: appliance.status() and not appliance.peers[0].table, bound + 3)
            assert time.monotonic() - wedged < bound + 2 * AT_ONCE
            assert appliance.agent.poll() is None
            wait_for(lambda: not appliance.peers[1].table, 3, "no route at the other peer")


@pytest.mark.slow
def test_steps_of_the_wall_clock(python: str, tmp_path: Path) -> None:
    """A minute forth, back, and back again, in agent, lease process and ExaBGP: nothing moves.

    The clock of the machine is not ours to step, and no namespace has its own: what Python asks is
    stepped.  The hold time is 3 s, so that each step is watched for longer than that.
    """
    hook, mark = tmp_path / "hook", tmp_path / "step"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(STEPPED.format(mark=str(mark)))
    path = os.pathsep.join(map(str, (hook, CHECKOUT)))
    profile = PROFILE.replace("  router_id:", "  hold_time: 3\n  router_id:")
    with own_network():
        appliance = Appliance(tmp_path, python=python, ttl=2, profile=profile)
        with Machine(appliance, environment={"PYTHONPATH": path}) as machine:
            machine.settle()
            began = time.monotonic()
            for step in ("60", "0", "-60"):
                stepped = time.monotonic()
                mark.write_text(step)
                machine.kill("agent")  # one that starts at a wrong time is one of the cases
                pass_time(stepped, 4)
            assert machine.wire.story(began) == ["nothing", "nothing"], appliance.log()
            for peer in appliance.peers:
                assert not peer.of(Closed)
            machine.proper()


def test_a_stop_and_a_start_of_the_agent_is_no_change(machine: Machine) -> None:
    """`systemctl restart` of the agent: SIGTERM hands over, the next one adopts."""
    began = time.monotonic()
    assert machine.agent.process is not None
    machine.agent.process.send_signal(signal.SIGTERM)
    pass_time(began, TTL + 1)
    assert machine.wire.story(began) == ["nothing", "nothing"], machine.appliance.log()
    machine.proper()
