"""One whole appliance on real parts: HAProxy, agent, lease, ExaBGP, and what two peers heard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import VIP, Appliance, own_network
from support.bgp_wire import Closed, Update
from support.haproxy import until

pytestmark = pytest.mark.root


@pytest.fixture
def appliance(tmp_path: Path, exabgp_python: str) -> Iterator[Appliance]:
    """Give a running appliance whose peers have the preferred route."""
    with own_network(), Appliance(tmp_path, python=exabgp_python, ttl=2, deadline=1) as one:
        one.start()
        yield one


def updates(appliance: Appliance) -> list[int]:
    """How many UPDATEs each peer has heard."""
    return [len(peer.of(Update)) for peer in appliance.peers]


def child(pid: int, name: str) -> int:
    """Find the child of ``pid`` whose command line has ``name``; 0 while there is none."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(pid)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    ).stdout
    found = [int(line.split()[0]) for line in listing.splitlines() if name in line]
    return found[0] if found else 0


def start_foreground(one: Appliance) -> subprocess.Popen[bytes]:
    """Start `anycastd run` alone, and wait until the peers have its preferred route."""
    with (one.directory / "agent.err").open("ab") as log:
        one.agent = subprocess.Popen(
            one.command(sys.executable, "run", "agent"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=one.environment,
        )
    one.wait_path(1)
    return one.agent


def test_backends_die_and_return(appliance: Appliance) -> None:
    """Withdrawn by one UPDATE a peer, back at standby, then at the preferred path."""
    status = appliance.status()
    assert status["services"]["web"]["level"] == "preferred"
    assert status["services"]["web"]["in_sync"], status
    before = updates(appliance)
    for backend in appliance.backends:
        backend.stop()
    appliance.wait_path(0)
    assert [now - then for now, then in zip(updates(appliance), before, strict=True)] == [1, 1]
    status = appliance.status()
    assert status["services"]["web"]["reason"]["name"] == "too_few_servers"
    for backend in appliance.backends:
        backend.start()
    appliance.wait_path(7)
    appliance.wait_path(1)


def test_haproxy_dies_and_returns(appliance: Appliance) -> None:
    """No process, no route; a new one is believed after its checks have run."""
    appliance.haproxy.kill()
    appliance.wait_path(0)
    assert appliance.status()["services"]["web"]["reason"]["name"] == "haproxy_gone"
    appliance.haproxy.start()
    appliance.wait_path(7)
    appliance.wait_path(1)


def test_haproxy_hangs(appliance: Appliance) -> None:
    """A stopped HAProxy is found by two missed looks and the deadline, 1 s here."""
    appliance.haproxy.signal(signal.SIGSTOP)
    appliance.wait_path(0)
    assert appliance.status()["services"]["web"]["reason"]["name"] == "haproxy_silent"
    appliance.haproxy.signal(signal.SIGCONT)
    appliance.wait_path(1)


def test_haproxy_reloads(appliance: Appliance) -> None:
    """The verdict is held until the new worker has proved its servers: nothing on the wire."""
    before = updates(appliance)
    worker = appliance.haproxy.worker
    appliance.haproxy.reload()
    until(lambda: appliance.haproxy.worker != worker)
    until(lambda: appliance.status()["haproxy"]["main"]["pid"] == appliance.haproxy.worker)
    assert appliance.status()["services"]["web"]["level"] == "preferred"
    assert updates(appliance) == before


def test_agent_dies_and_comes_back_inside_its_lease(appliance: Appliance) -> None:
    """It adopts what is held: nothing on the wire."""
    before = updates(appliance)
    assert appliance.agent is not None
    appliance.agent.kill()
    appliance.agent.wait()
    appliance.start_agent()
    expires = time.monotonic() + 4  # twice the lease
    until(lambda: time.monotonic() > expires, 10)
    assert updates(appliance) == before
    assert appliance.status()["services"]["web"]["level"] == "preferred"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_agent_that_stays_away_loses_its_routes(appliance: Appliance, how: signal.Signals) -> None:
    """Dead or frozen is the same: the lease runs out, 2 s here."""
    assert appliance.agent is not None
    started = time.monotonic()
    appliance.agent.send_signal(how)
    appliance.wait_path(0)
    assert 1.0 < time.monotonic() - started < 3.0


def test_lease_process_dies(appliance: Appliance) -> None:
    """ExaBGP starts it again, it inherits the routes, the agent renews: nothing on the wire."""
    before = updates(appliance)
    assert appliance.speaker is not None
    keeper = child(appliance.speaker.pid, "anycastd.speaker.lease_process")
    os.kill(keeper, signal.SIGKILL)
    speaker = appliance.speaker.pid
    until(lambda: child(speaker, "anycastd.speaker.lease_process") not in (0, keeper))
    until(lambda: appliance.status()["lease"]["connected"])
    expires = time.monotonic() + 4
    until(lambda: time.monotonic() > expires, 10)
    assert updates(appliance) == before
    assert appliance.status()["services"]["web"]["in_sync"]


def test_exabgp_hangs(appliance: Appliance) -> None:
    """The lease process ends an ExaBGP that does not answer, so that its sessions close."""
    assert appliance.speaker is not None
    appliance.speaker.send_signal(signal.SIGSTOP)
    for peer in appliance.peers:
        peer.wait(lambda it: it.of(Closed), 8, "the session to close")
    assert appliance.speaker.wait(5) == -signal.SIGKILL


def test_vip_is_put_back(appliance: Appliance) -> None:
    """An address that was removed by hand is back before anybody had to notice."""
    before = updates(appliance)
    subprocess.run(["ip", "address", "del", f"{VIP}/32", "dev", "lo"], check=True)

    def there() -> bool:
        shown = subprocess.run(["ip", "address", "show", "lo"], capture_output=True, check=True)
        return VIP.encode() in shown.stdout

    until(there, 2)
    changed = [len(peer.of(Update)) for peer in appliance.peers]
    assert changed == before


def test_foreground_withdraws_and_leaves_nothing(tmp_path: Path) -> None:
    """`anycastd run` alone owns its speaker: SIGTERM withdraws, ends both, and the sockets go."""
    with own_network(), Appliance(tmp_path, ttl=2) as one:
        agent = start_foreground(one)
        speaker = child(agent.pid, "anycastd.speaker.exabgp.shim")
        agent.terminate()
        assert agent.wait(15) == 0, one.log()
        for peer in one.peers:
            (closed,) = peer.wait(lambda it: it.of(Closed), 5, "the session to close")
            withdrawn = [update for update in peer.of(Update) if update.withdrawn]
            assert withdrawn, one.log()
            assert withdrawn[-1].at <= closed.at
        assert not Path(f"/proc/{speaker}").exists()
        assert not list(Path(one.place("agent")).rglob("*.sock"))


def test_foreground_killed_takes_its_speaker_along(tmp_path: Path) -> None:
    """SIGKILL of the agent closes the sessions: the kernel ends its ExaBGP."""
    with own_network(), Appliance(tmp_path, ttl=2) as one:
        agent = start_foreground(one)
        agent.kill()
        for peer in one.peers:
            peer.wait(lambda it: it.of(Closed), 5, "the session to close")
