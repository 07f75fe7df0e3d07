"""Notifications to systemd, received on a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycastd.system.systemd import Notifier

# A notifier lives as long as its process; those of a test do not.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Yield a datagram socket with a path, as systemd has one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def test_messages_are_as_systemd_reads_them(manager: socket.socket) -> None:
    """A message is one datagram of KEY=VALUE lines; a status is always one line."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    received = []
    for done in (
        notifier.send_ready("2 services"),
        notifier.send_watchdog(),
        notifier.send_stopping("web: preferred\nREADY=0"),
    ):
        assert done
        received.append(manager.recv(4096).decode())
    assert received == [
        "READY=1\nSTATUS=2 services",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=web: preferred READY=0",
    ]


def test_abstract_socket() -> None:
    """A name that begins with @ is a socket without a file, as systemd uses in containers."""
    name = f"anycastd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name})
        assert notifier.send_ready()
        assert listener.recv(64) == b"READY=1"


def test_variables_are_taken_so_that_no_child_has_them(manager: socket.socket) -> None:
    """A child that inherited them could speak for the service."""
    environ = {
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "15000000",
        "WATCHDOG_PID": "1",
        "PATH": "/usr/bin",
    }
    Notifier(environ)
    assert environ == {"PATH": "/usr/bin"}


def test_it_does_nothing_without_systemd(tmp_path: Path) -> None:
    """Without systemd, or with a socket that is gone, nothing is sent and nothing fails."""
    alone = Notifier({"WATCHDOG_USEC": "15000000"})
    assert not alone.send_ready()
    gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert not gone.send_watchdog()


def test_a_busy_systemd_does_not_hold_us_up(manager: socket.socket) -> None:
    """When its queue is full, a message is dropped and False is returned: sending never waits."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    sent = [notifier.send_watchdog() for _ in range(100_000)]
    assert sent[0]
    assert not sent[-1]
