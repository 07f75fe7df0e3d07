"""One whole appliance with real parts: HAProxy, agent, lease, ExaBGP, and two peers."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import VIP, Appliance, own_network
from support.bgp_wire import Closed, Update
from support.children import find_lease_process, wait_for_child
from support.haproxy import until
from support.processes import signal_pid

pytestmark = pytest.mark.root


@pytest.fixture
def appliance(tmp_path: Path, exabgp_python: str) -> Iterator[Appliance]:
    """Run an appliance whose peers have the preferred route."""
    with own_network(), Appliance(tmp_path, python=exabgp_python, ttl=2, deadline=1) as one:
        one.start()
        yield one


def count_updates(appliance: Appliance) -> list[int]:
    """Count the UPDATEs that each peer has received."""
    return [len(peer.list_events(Update)) for peer in appliance.peers]


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
    """Each peer receives one withdrawal; then the path of standby, then the preferred path."""
    status = appliance.status()
    assert status["services"]["web"]["level"] == "preferred"
    assert status["services"]["web"]["in_sync"], status
    before = count_updates(appliance)
    for backend in appliance.backends:
        backend.stop()
    appliance.wait_path(0)
    assert [now - then for now, then in zip(count_updates(appliance), before, strict=True)] == [
        1,
        1,
    ]
    status = appliance.status()
    assert status["services"]["web"]["reason"]["name"] == "too_few_servers"
    for backend in appliance.backends:
        backend.start()
    appliance.wait_path(7)
    appliance.wait_path(1)


def test_haproxy_dies_and_returns(appliance: Appliance) -> None:
    """Without a process there is no route; a new process counts once its checks have run."""
    appliance.haproxy.kill()
    appliance.wait_path(0)
    assert appliance.status()["services"]["web"]["reason"]["name"] == "haproxy_gone"
    appliance.haproxy.start()
    appliance.wait_path(7)
    appliance.wait_path(1)


def test_haproxy_hangs(appliance: Appliance) -> None:
    """Two unanswered looks and the deadline, 1 s here, withdraw the route."""
    appliance.haproxy.signal(signal.SIGSTOP)
    appliance.wait_path(0)
    assert appliance.status()["services"]["web"]["reason"]["name"] == "haproxy_silent"
    appliance.haproxy.signal(signal.SIGCONT)
    appliance.wait_path(1)


def test_haproxy_reloads(appliance: Appliance) -> None:
    """The last verdict counts until the new worker has checked its servers: no UPDATE."""
    before = count_updates(appliance)
    worker = appliance.haproxy.worker
    appliance.haproxy.reload()
    until(lambda: appliance.haproxy.worker != worker, 20)
    until(lambda: appliance.status()["haproxy"]["main"]["pid"] == appliance.haproxy.worker, 20)
    assert appliance.status()["services"]["web"]["level"] == "preferred"
    assert count_updates(appliance) == before


def test_agent_dies_and_comes_back_inside_its_lease(tmp_path: Path, exabgp_python: str) -> None:
    """The new agent adopts the leased routes: no UPDATE."""
    ttl = 8.0  # below the hold time, and long enough for a start on a busy machine
    with own_network(), Appliance(tmp_path, python=exabgp_python, ttl=ttl, deadline=1) as one:
        one.start()
        before = count_updates(one)
        assert one.agent is not None
        one.agent.kill()
        one.agent.wait()
        expires = time.monotonic() + ttl + 1
        one.start_agent()
        until(lambda: time.monotonic() > expires, 15)
        assert count_updates(one) == before
        assert one.status()["services"]["web"]["level"] == "preferred"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_agent_that_stays_away_loses_its_routes(appliance: Appliance, how: signal.Signals) -> None:
    """A dead and a stopped agent are the same: the lease expires, after 2 s here."""
    assert appliance.agent is not None
    started = time.monotonic()
    appliance.agent.send_signal(how)
    appliance.wait_path(0)
    assert 1.0 < time.monotonic() - started < 3.0


def test_lease_process_dies(appliance: Appliance) -> None:
    """ExaBGP starts it again, it inherits the routes, the agent renews them: no UPDATE."""
    before = count_updates(appliance)
    assert appliance.speaker is not None
    lease_process = find_lease_process(appliance)
    signal_pid(lease_process, signal.SIGKILL)
    until(lambda: find_lease_process(appliance) != lease_process, 20)
    until(lambda: appliance.status()["lease"]["connected"], 20)
    expires = time.monotonic() + 4
    until(lambda: time.monotonic() > expires, 10)
    assert count_updates(appliance) == before
    assert appliance.status()["services"]["web"]["in_sync"]


def test_exabgp_hangs(appliance: Appliance) -> None:
    """The lease process ends an ExaBGP that does not answer, so that its sessions close."""
    assert appliance.speaker is not None
    appliance.speaker.send_signal(signal.SIGSTOP)
    for peer in appliance.peers:
        peer.wait(lambda it: it.list_events(Closed), 15, "the session to close")
    assert appliance.speaker.wait(15) == -signal.SIGKILL


def test_vip_is_put_back(appliance: Appliance) -> None:
    """The agent restores an address that was removed by hand, without an UPDATE."""
    before = count_updates(appliance)
    subprocess.run(["ip", "address", "del", f"{VIP}/32", "dev", "lo"], check=True)

    def there() -> bool:
        shown = subprocess.run(["ip", "address", "show", "lo"], capture_output=True, check=True)
        return VIP.encode() in shown.stdout

    until(there, 10)
    changed = [len(peer.list_events(Update)) for peer in appliance.peers]
    assert changed == before


def test_foreground_withdraws_and_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM to `anycastd run` withdraws, ends agent and speaker, and removes their sockets."""
    with own_network(), Appliance(tmp_path, ttl=2) as one:
        agent = start_foreground(one)
        speaker = wait_for_child(agent.pid, "anycastd.speaker.exabgp.shim")
        agent.terminate()
        assert agent.wait(15) == 0, one.log()
        for peer in one.peers:
            (closed,) = peer.wait(lambda it: it.list_events(Closed), 20, "the session to close")
            withdrawn = [update for update in peer.list_events(Update) if update.withdrawn]
            assert withdrawn, one.log()
            assert withdrawn[-1].at <= closed.at
        assert not Path(f"/proc/{speaker}").exists()
        assert not list(Path(one.directory_of("agent")).rglob("*.sock"))


def test_foreground_killed_takes_its_speaker_along(tmp_path: Path) -> None:
    """SIGKILL to the agent closes the sessions: the kernel ends its ExaBGP."""
    with own_network(), Appliance(tmp_path, ttl=2) as one:
        agent = start_foreground(one)
        agent.kill()
        for peer in one.peers:
            peer.wait(lambda it: it.list_events(Closed), 20, "the session to close")
