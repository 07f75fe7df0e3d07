"""Pauses and stops of HAProxy that happened to others, on a whole appliance."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from support.appliance import VIP
from support.haproxy import until
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
    here.wire.wait(0, DEADLINE + SLACK)
    here.wait_reason("frontend_closed")
    here.haproxy.ask("enable frontend web")
    here.wait_well()
    assert here.wire.describe_changes(began) == [BACK, BACK]
    began = time.monotonic()
    here.haproxy.ask("shutdown frontend web")
    here.wire.wait(0, DEADLINE + SLACK)
    here.wait_reason("frontend_closed", "STOP")
    here.reload()
    here.wait_well()
    assert here.wire.describe_changes(began) == [BACK, BACK]


def test_a_soft_stop_with_an_open_connection(here: Watched) -> None:
    """A HAProxy that only finishes its connections is withdrawn while it still runs."""
    # FC-SOFTSTOP: docker-library/haproxy issue 72 (a websocket keeps the old worker for hours)
    worker = here.haproxy.worker
    with socket.create_connection((VIP, 80)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        until(lambda: here.haproxy.row("web", "FRONTEND")["scur"] == "1")
        began = time.monotonic()
        assert here.haproxy.process is not None
        here.haproxy.stop_softly()
        here.wire.wait(0, SLACK)
        here.wait_reason("haproxy_gone")
        assert here.haproxy.lives(worker)
    here.haproxy.process.wait(10)
    here.haproxy.start()
    here.wait_well()
    assert here.wire.describe_changes(began) == [BACK, BACK]
