"""A reload with real parts: what two peers receive while a new agent takes over."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycastd.agent.control_client import ControlError, ask_agent
from anycastd.agent.validation import START_ALLOWANCE
from support.appliance import Appliance, own_network
from support.bgp_wire import Closed, Opened
from support.children import wait_for_child
from support.haproxy import until
from support.processes import signal_pid
from support.reloads import (
    HookedAppliance,
    assert_stays,
    count_updates,
    edit_profile,
    read_instance,
    run_foreground,
    run_reload,
)

pytestmark = pytest.mark.root


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    """Run an appliance, in the two-process form, whose peers have the preferred route."""
    with own_network(), Appliance(tmp_path, ttl=2, deadline=1) as one:
        one.start()
        yield one


@pytest.fixture
def each_appliance(tmp_path: Path, exabgp_python: str) -> Iterator[Appliance]:
    """Run an appliance with each ExaBGP."""
    with own_network(), Appliance(tmp_path, python=exabgp_python, ttl=2, deadline=1) as one:
        one.start()
        yield one


# The agent ---------------------------------------------------------------------------------------


def test_a_reload_moves_nothing(each_appliance: Appliance) -> None:
    """Another agent in the same process has the same routes: no UPDATE."""
    appliance = each_appliance
    assert appliance.agent is not None
    before, was = count_updates(appliance), read_instance(appliance)
    done = run_reload(appliance)
    assert done.returncode == 0, done.stderr + appliance.log()
    assert f"pid {appliance.agent.pid}" in done.stdout
    assert read_instance(appliance) not in {"", was}
    assert_stays(3, lambda: count_updates(appliance) == before)  # longer than the lease
    status = appliance.status()
    assert status["services"]["web"]["level"] == "preferred"
    assert status["services"]["web"]["in_sync"], status
    assert not [peer for peer in appliance.peers if peer.list_events(Closed)]


def test_a_new_path_is_one_update(each_appliance: Appliance) -> None:
    """The route is replaced by one UPDATE, without a withdrawal."""
    appliance = each_appliance
    before = count_updates(appliance)
    edit_profile(appliance, ("prepend: 0", "prepend: 1"))
    assert run_reload(appliance).returncode == 0
    appliance.wait_path(2)
    assert [now - then for now, then in zip(count_updates(appliance), before, strict=True)] == [
        1,
        1,
    ]
    assert not [update for peer in appliance.peers for update in peer.updates if update.withdrawn]


@pytest.mark.parametrize("how", ["command", "signal"])
def test_an_invalid_profile_is_refused(appliance: Appliance, how: str) -> None:
    """The problems are printed, and the agent goes on with the old profile."""
    assert appliance.agent is not None
    before, was = count_updates(appliance), read_instance(appliance)
    edit_profile(appliance, ("prepend: 0", "prepend: none"))
    if how == "command":
        done = run_reload(appliance)
        assert done.returncode == 78
        printed = done.stderr
    else:
        appliance.agent.send_signal(signal.SIGHUP)
        until(lambda: "reload refused" in appliance.log(), 30)
        printed = appliance.log()
    assert "profile.yaml:" in printed
    assert "services.web.prepend" in printed
    assert read_instance(appliance) == was
    assert count_updates(appliance) == before
    edit_profile(appliance, ("prepend: none", "prepend: 0"))
    assert run_reload(appliance).returncode == 0, "the next one is not"


def test_signals_one_after_the_other(appliance: Appliance) -> None:
    """The profile that is on disk at the last signal runs in the end."""
    assert appliance.agent is not None
    pid = appliance.agent.pid
    for prepend in (1, 2, 1, 2):
        edit_profile(
            appliance, (f"prepend: {prepend - 1 if prepend == 1 else 1}", f"prepend: {prepend}")
        )
        signal_pid(pid, signal.SIGHUP)
        if prepend == 2:
            edit_profile(appliance, ("prepend: 2", "prepend: 0"))
    edit_profile(appliance, ("    prepend: 0", "    prepend: 2"))
    signal_pid(pid, signal.SIGHUP)
    appliance.wait_path(3)
    assert appliance.agent.poll() is None
    assert not [update for peer in appliance.peers for update in peer.updates if update.withdrawn]


def test_a_successor_that_does_not_start_is_a_withdrawal(tmp_path: Path) -> None:
    """The successor was validated but dies: the lease expires, later than usual but soon."""
    with own_network(), HookedAppliance(tmp_path, ttl=2) as one:
        one.start()
        assert one.agent is not None
        began = time.monotonic()
        one.agent.send_signal(signal.SIGHUP)
        assert one.agent.wait(30) == 1
        judged = time.monotonic() - began  # and a start that failed
        one.wait_path(0, 60)
        took = time.monotonic() - began
        assert 2.5 < took < 2 + START_ALLOWANCE * judged + judged, "the lease, and its allowance"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_nobody_is_there_waits(tmp_path: Path, number: signal.Signals) -> None:
    """It arrives when the old agent has ended and the new one has no handler yet."""

    class Slow(HookedAppliance):
        code = f"import time; open({str(tmp_path / 'there')!r}, 'w'); time.sleep(1)"

    with own_network(), Slow(tmp_path, ttl=2) as one:
        one.start()
        assert one.agent is not None
        was = read_instance(one)
        one.agent.send_signal(signal.SIGHUP)
        until((tmp_path / "there").exists, 30)
        edit_profile(one, ("    prepend: 0", "    prepend: 1"))
        one.agent.send_signal(number)
        if number is signal.SIGTERM:
            assert one.agent.wait(30) == 0
        else:
            one.wait_path(2)
            assert read_instance(one) not in {"", was}


def test_a_signal_while_the_first_is_refused_is_heard(appliance: Appliance) -> None:
    """The profile is corrected before the validation of the wrong one has ended."""
    assert appliance.agent is not None
    edit_profile(appliance, ("    prepend: 0", "    prepend: x"))
    appliance.agent.send_signal(signal.SIGHUP)
    wait_for_child(appliance.agent.pid, "--validate")
    edit_profile(appliance, ("    prepend: x", "    prepend: 1"))
    appliance.agent.send_signal(signal.SIGHUP)
    appliance.wait_path(2)
    until(lambda: "reload refused" in appliance.log(), 20)


def test_what_was_judged_is_what_starts(tmp_path: Path) -> None:
    """The profile is overwritten after the validation: the successor does not read that."""

    class Saved(HookedAppliance):
        code = f"open({str(tmp_path / 'profile.yaml')!r}, 'w').write('nonsense')"

    with own_network(), Saved(tmp_path, ttl=2) as one:
        one.start()
        edit_profile(one, ("    prepend: 0", "    prepend: 1"))
        run_reload(one)
        one.wait_path(2)
        assert one.profile.read_text(encoding="utf-8") == "nonsense"
        assert run_reload(one).returncode == 78


def test_who_asks_during_a_reload_only_waits(appliance: Appliance) -> None:
    """Monitoring gets an answer to every request during three reloads."""
    over = threading.Event()
    failures: list[str] = []
    answers: set[str] = set()

    def monitor() -> None:
        while not over.is_set():
            try:
                answers.add(str(ask_agent(appliance.directory_of("agent"), "running")["instance"]))
            except ControlError as error:
                failures.append(str(error))

    watching = threading.Thread(target=monitor)
    watching.start()
    try:
        for _ in range(3):
            assert run_reload(appliance).returncode == 0
    finally:
        over.set()
        watching.join()
    assert not failures
    assert len(answers) == 4


def test_what_dies_during_a_reload_is_noticed(appliance: Appliance) -> None:
    """The successor looks at HAProxy before it renews the lease."""
    assert appliance.agent is not None
    appliance.agent.send_signal(signal.SIGHUP)
    appliance.haproxy.kill()
    appliance.wait_path(0, 30)


@pytest.mark.parametrize("form", ["two processes", "foreground"])
def test_a_stop_during_a_reload_stops(tmp_path: Path, form: str) -> None:
    """SIGTERM during a reload ends the agent in order; no successor starts."""
    with contextlib.ExitStack() as stack:
        if form == "foreground":
            one = stack.enter_context(run_foreground(tmp_path))
        else:
            stack.enter_context(own_network())
            one = stack.enter_context(Appliance(tmp_path, ttl=2))
            one.start()
        assert one.agent is not None
        one.agent.send_signal(signal.SIGHUP)
        one.agent.send_signal(signal.SIGTERM)
        assert one.agent.wait(30) == 0, one.log()
        one.wait_path(0)


def test_systemd_hears_of_a_reload(tmp_path: Path) -> None:
    """The notify socket receives READY, RELOADING, and READY from the successor."""

    class Notified(Appliance):
        @property
        def environment(self) -> dict[str, str]:
            return super().environment | {"NOTIFY_SOCKET": str(self.directory / "notify")}

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        received: list[str] = []
        threading.Thread(target=collect, args=(systemd, received), daemon=True).start()
        with own_network(), Notified(tmp_path, ttl=2) as one:
            one.start_speaker()
            until(lambda: received.count("READY=1") == 1, 40)  # the lease process, for ExaBGP
            one.start_agent()
            until(lambda: received.count("READY=1") == 2, 40)
            one.wait_path(1)
            assert run_reload(one).returncode == 0
            until(lambda: received.count("READY=1") == 3, 40)
            assert "RELOADING=1" in received
            assert received.index("RELOADING=1") < len(received) - received[::-1].index("READY=1")


def collect(systemd: socket.socket, received: list[str]) -> None:
    """Read all that systemd is sent: its socket holds ten messages, and more would be lost."""
    systemd.settimeout(60)
    with contextlib.suppress(OSError):
        while True:
            received += systemd.recv(4096).decode().splitlines()


# The foreground form -----------------------------------------------------------------------------


def test_in_the_foreground_the_speaker_outlives_a_reload(tmp_path: Path) -> None:
    """The new agent adopts the same ExaBGP without an UPDATE, and it still ends with the agent."""
    with run_foreground(tmp_path) as one:
        assert one.agent is not None
        before, speaker = (
            count_updates(one),
            wait_for_child(one.agent.pid, "anycastd.speaker.exabgp.shim"),
        )
        for _ in range(2):
            assert run_reload(one).returncode == 0, one.log()
        assert_stays(3, lambda: count_updates(one) == before)
        assert wait_for_child(one.agent.pid, "anycastd.speaker.exabgp.shim") == speaker
        signal_pid(speaker, signal.SIGKILL)
        for peer in one.peers:
            peer.wait(lambda it: len(it.list_events(Opened)) == 2, 30, "another session")
        one.agent.kill()
        for peer in one.peers:
            peer.wait(lambda it: len(it.list_events(Closed)) == 2, 20, "the session to close")
