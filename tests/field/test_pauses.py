"""Pauses and stops of HAProxy that happened to others, on a whole appliance."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import PROFILE, VIP
from support.haproxy import HAProxy, read_version, until
from support.processes import signal_pid
from support.watched import DEADLINE, SLACK, Watched, watched

pytestmark = pytest.mark.root
BACK = "x 7 1"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run one appliance for the tests of this file."""
    with watched(tmp_path_factory.mktemp("one")) as it:
        yield it


@pytest.fixture
def here(one: Watched) -> Watched:
    """Give it once it is well."""
    one.wait_well()
    return one


def test_a_frontend_that_is_disabled_and_shut_down(here: Watched) -> None:
    """A disabled frontend withdraws, an enabled one returns, one that is shut down withdraws."""
    # FC-DISABLEFE: haproxy issue 1626 (a disabled frontend was shown as OPEN)
    began = time.monotonic()
    here.haproxy.ask("disable frontend web")
    here.wait_gone(began, DEADLINE)
    here.wait_reason("frontend_closed")
    here.haproxy.ask("enable frontend web")
    here.wait_well()
    assert here.wire.describe_changes(began) == [BACK, BACK]
    began = time.monotonic()
    here.haproxy.ask("shutdown frontend web")
    here.wait_gone(began, DEADLINE)
    here.wait_reason("frontend_closed", "STOP")
    here.reload()
    here.wait_well()
    assert here.wire.describe_changes(began) == [BACK, BACK]


@contextlib.contextmanager
def failed_reload(haproxy: HAProxy) -> Iterator[None]:
    """Reload HAProxy with a port that another process holds, and wait until it has given up."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        before, known = haproxy.config.read_text(encoding="utf-8"), len(haproxy.log())
        bind = f"frontend other\n    bind 127.0.0.1:{holder.getsockname()[1]}\n"
        haproxy.config.write_text(before + bind, encoding="utf-8")
        assert haproxy.process is not None
        signal_pid(haproxy.process.pid, signal.SIGUSR2)
        until(lambda: "Paused frontend web" in haproxy.log()[known:], 20)
        yield
        until(lambda: "Resumed frontend web" in haproxy.log()[known:], 20)
        haproxy.config.write_text(before, encoding="utf-8")


def test_a_reload_that_cannot_bind(here: Watched) -> None:
    """HAProxy refuses clients for two seconds: withdrawn at once, and the pause is named.

    After 2.6 its stats socket is paused too, so it is silent: withdrawn after the deadline.
    """
    # FC-BLINK: haproxy issue 1883 (the new configuration binds a port that is taken)
    worker, began = here.haproxy.worker, time.monotonic()
    is_silent = read_version() > (2, 6)
    with failed_reload(here.haproxy):
        paused = time.monotonic()
        here.wire.wait(0, 20)
        assert max(here.wire.list_first_changes(began)) - paused < DEADLINE * is_silent + SLACK
        here.wait_reason(*(("haproxy_silent",) if is_silent else ("frontend_closed", "PAUSED")))
        here.wait_problem("frontend web is paused")
    here.wire.wait(1, 30)
    assert here.haproxy.worker == worker
    here.wait_problem("frontend web was paused for ")
    assert here.wire.describe_changes(began) == [BACK, BACK]
    here.reload()


def test_a_pause_that_no_rule_asks_for(tmp_path: Path) -> None:
    """Rules on servers alone do not see it: no route changes, but the status says what happened."""
    # FC-BLINK, variant without a rule on the frontend
    profile = PROFILE.replace(", {{frontend: web}}", "")
    deadline = 3 if read_version() > (2, 6) else DEADLINE  # its stats socket is silent for 2 s
    with watched(tmp_path, profile=profile, deadline=deadline) as one:
        began = time.monotonic()
        with failed_reload(one.haproxy):
            one.wait_problem("frontend web is paused")
        one.wait_problem("frontend web was paused")
        one.assert_calm(began, time.monotonic() - began)


def test_a_soft_stop_with_an_open_connection(here: Watched) -> None:
    """A HAProxy that only finishes its connections is withdrawn while it still runs."""
    # FC-SOFTSTOP: docker-library/haproxy issue 72 (a websocket keeps the old worker for hours)
    worker = here.haproxy.worker
    with socket.create_connection((VIP, 80)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        until(lambda: here.haproxy.row("web", "FRONTEND")["scur"] == "1", 20)
        began = time.monotonic()
        assert here.haproxy.process is not None
        here.haproxy.stop_softly()
        here.wait_gone(began, 0)
        here.wait_reason("haproxy_gone")
        assert here.haproxy.lives(worker)
    here.haproxy.process.wait(10)
    here.haproxy.start()
    here.wait_well()
    assert here.wire.describe_changes(began) == [BACK, BACK]
