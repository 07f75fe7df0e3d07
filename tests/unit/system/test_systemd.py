"""The words to systemd, heard on a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycastd.system.systemd import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Stand where systemd stands: a datagram socket with a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def test_words_arrive_as_systemd_reads_them(manager: socket.socket) -> None:
    """Each word is one datagram of KEY=VALUE lines, the status one line whatever is in it."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    heard = []
    for said in (
        notifier.ready("2 services"),
        notifier.alive(),
        notifier.status("web: preferred\nREADY=0"),
        notifier.stopping(),
    ):
        assert said
        heard.append(manager.recv(4096).decode())
    notifier.close()
    assert heard == [
        "READY=1\nSTATUS=2 services",
        "WATCHDOG=1",
        "STATUS=web: preferred READY=0",
        "STOPPING=1",
    ]


def test_abstract_socket() -> None:
    """A name that begins with @ is a socket without a file, as systemd uses in containers."""
    name = f"anycastd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name})
        assert notifier.ready()
        assert listener.recv(64) == b"READY=1"
        notifier.close()


def test_variables_are_taken_so_that_no_child_has_them(manager: socket.socket) -> None:
    """A child that inherited them could speak for us or be taken for us."""
    environ = {
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "15000000",
        "WATCHDOG_PID": "1",
        "PATH": "/usr/bin",
    }
    Notifier(environ).close()
    assert environ == {"PATH": "/usr/bin"}


@pytest.mark.parametrize(
    ("meant_for", "pid", "expected"),
    [
        pytest.param("", 42, 7.5, id="for nobody by name"),
        pytest.param("42", 42, 7.5, id="for us"),
        pytest.param("41", 42, None, id="for our parent"),
        pytest.param("41", None, 7.5, id="for our parent, and we may feed it"),
    ],
)
def test_watchdog_is_half_of_what_systemd_allows(
    manager: socket.socket, meant_for: str, pid: int | None, expected: float | None
) -> None:
    """The rhythm is half of WATCHDOG_USEC, for the process that WATCHDOG_PID names."""
    environ = {
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "15000000",
        "WATCHDOG_PID": meant_for,
    }
    notifier = Notifier(environ, pid=pid)
    assert notifier.watchdog == expected
    notifier.close()


def test_silent_where_nobody_listens(tmp_path: Path) -> None:
    """Without systemd, or with a socket that is gone, nothing is said and nothing fails."""
    alone = Notifier({"WATCHDOG_USEC": "15000000"})
    assert alone.watchdog is None
    assert not alone.ready()
    gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert not gone.alive()
    gone.close()
    assert not gone.alive()


def test_a_busy_systemd_does_not_hold_us_up(manager: socket.socket) -> None:
    """When its queue is full a word is dropped and reported as such: sending never waits."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    said = [notifier.alive() for _ in range(100_000)]
    notifier.close()
    assert said[0]
    assert not said[-1]
