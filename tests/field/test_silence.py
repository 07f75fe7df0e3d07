"""A HAProxy that does not answer, with and without a sign that it lives, on a whole appliance."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import BODY, PROFILE, VIP
from support.haproxy import until
from support.watched import SLACK, Watched, watched

pytestmark = pytest.mark.root
BACK = "x 7 1"
DEADLINE = 1.0
SLOW_CHECKS = "    option httpchk\n    timeout check 10s\n"
NO_RING = PROFILE.replace(", ring: {ring}", "")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run one appliance whose HAProxy sends events; its servers rise slowly.

    Each check takes a while, as over a network: so a look meets checks that run.
    """
    place = tmp_path_factory.mktemp("one")
    body = BODY.replace("fall 1 rise 1", "fall 2 rise 2")
    body = body.replace("backend web\n", f"backend web\n{SLOW_CHECKS}", 1)
    with watched(place, deadline=DEADLINE, body=body) as it:
        for backend in it.appliance.backends:
            backend.delay = 0.2
        yield it


@pytest.fixture(scope="module")
def mute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run one appliance that has no ring."""
    with watched(tmp_path_factory.mktemp("mute"), profile=NO_RING, deadline=DEADLINE) as it:
        yield it


@contextlib.contextmanager
def out_of_descriptors(here: Watched) -> Iterator[None]:
    """Leave the worker seven descriptors, and use them up with slow clients."""
    worker = here.haproxy.worker
    used = max(int(each.name) for each in Path(f"/proc/{worker}/fd").iterdir())
    limit = ["prlimit", "--pid", str(worker)]
    before = subprocess.check_output(
        [*limit, "--nofile", "--noheadings", "-o", "SOFT,HARD"], encoding="utf-8"
    ).split()
    subprocess.run([*limit, f"--nofile={used + 7}:{before[1]}"], check=True)
    clients = [socket.create_connection((VIP, 80)) for _ in range(60)]
    try:
        for client in clients:
            client.sendall(b"POST / HTTP/1.1\r\nHost: ")
        yield
    finally:
        subprocess.run([*limit, f"--nofile={':'.join(before)}"], check=True)
        for client in clients:
            client.close()


def test_a_haproxy_without_descriptors(one: Watched) -> None:
    """HAProxy is out of descriptors for longer than `deadline`: no route goes, the limit is named.

    Its checks fail meanwhile, because they get no descriptor either: that proves nothing.  Nor does
    a look at a moment in which the next check runs: HAProxy does not show then why one failed.
    """
    # FC-FDLIMIT: open-balena-vpn issue 193 (the log is full of "reached process FD limit")
    one.wait_well()
    began = time.monotonic()
    with out_of_descriptors(one):
        one.wait_state("silent")
        until(lambda: time.monotonic() - began > 3 * DEADLINE, 10)
        limit = one.wait_problem("reached a limit of its own process")
        assert "Proxy web reached process FD limit" in limit
        assert one.problems() == [limit]
    until(lambda: one.appliance.status()["problems"] == [], 30, 0.05)
    one.assert_calm(began, time.monotonic() - began + 0.5)


def test_a_haproxy_that_hangs_after_it_named_its_limit(one: Watched) -> None:
    """It stops in the middle of that: withdrawn `deadline` after its last word."""
    one.wait_well()
    with out_of_descriptors(one):
        until(lambda: one.appliance.status()["problems"], 30, 0.05)
        began = time.monotonic()
        one.haproxy.signal(signal.SIGSTOP)
        try:
            one.wire.wait(0, 30)
            gone = [at - began for at in one.wire.list_first_changes(began)]
            assert max(gone) < DEADLINE + DEADLINE / 3 + SLACK
        finally:
            one.haproxy.signal(signal.SIGCONT)
    one.wait_well()


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_lost_socket_path(mute: Watched, how: str) -> None:
    """The path is lost, HAProxy is not: withdrawn after `deadline`, and the status says which."""
    # FC-SOCKPATH: haproxy-ingress issue 869 (admin socket refuses for ever, `.tmp` left behind)
    mute.wait_well()
    path, aside = mute.haproxy.socket, mute.haproxy.socket.with_name("stats.sock.17560.tmp")
    began = time.monotonic()
    path.rename(aside)
    if how == "replaced":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    mute.wire.wait(0, 20)
    gone = [at - began for at in mute.wire.list_first_changes(began)]
    assert min(gone) > DEADLINE * 0.8
    assert max(gone) < DEADLINE + DEADLINE / 3 + SLACK
    mute.wait_reason("socket_lost")
    aside.rename(path)
    mute.wait_well()
    assert mute.wire.describe_changes(began) == [BACK, BACK]


def test_a_lost_socket_path_of_a_haproxy_that_dies(mute: Watched) -> None:
    """The path is lost and then HAProxy dies: withdrawn at once, as ever."""
    mute.wait_well()
    began = time.monotonic()
    mute.haproxy.socket.rename(mute.haproxy.socket.with_name("lost"))
    mute.wait_state("silent")
    killed = time.monotonic()
    mute.haproxy.kill()
    mute.wait_gone(killed, 0)
    mute.wait_reason("haproxy_gone")
    mute.haproxy.start()
    mute.wait_well()
    assert mute.wire.describe_changes(began) == [BACK, BACK]


def test_a_soft_stop_without_a_ring(mute: Watched) -> None:
    """Without events too, a HAProxy that only finishes its connections is withdrawn at once."""
    # FC-SOFTSTOP, the variant without a ring
    mute.wait_well()
    worker = mute.haproxy.worker
    with socket.create_connection((VIP, 80)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        until(lambda: mute.haproxy.row("web", "FRONTEND")["scur"] == "1", 20)
        stopped = time.monotonic()
        mute.haproxy.stop_softly()
        mute.wait_gone(stopped, 0.25)
        mute.wait_reason("haproxy_gone")
        assert mute.haproxy.lives(worker)
    assert mute.haproxy.process is not None
    mute.haproxy.process.wait(10)
    mute.haproxy.start()
    mute.wait_well()


def test_a_short_silence_while_checks_are_still_to_come(tmp_path: Path) -> None:
    """HAProxy misses a look some seconds after a reload whose checks take long: no route goes."""
    with (
        watched(tmp_path, profile=NO_RING, deadline=DEADLINE) as here,
        socket.create_server(("127.0.0.1", 0)) as mute,
    ):
        here.wait_well()
        # It accepts, and never answers: the first check of the new worker does not end.
        slow = f"option httpchk\n    timeout check 60s\n    server s3 {mute.getsockname()[0]}"
        text = "\n".join(line for line in here.config.split("\n") if "server s" not in line)
        slow += f":{mute.getsockname()[1]}\nfrontend web"
        here.haproxy.config.write_text(text.replace("frontend web", f"    {slow}"))
        began = time.monotonic()
        here.haproxy.reload()
        until(lambda: "not proved" in str(here.service()), 20, 0.05)
        until(lambda: time.monotonic() - began > 3.0, 5)
        here.haproxy.signal(signal.SIGSTOP)
        try:
            here.wait_state("silent")
        finally:
            here.haproxy.signal(signal.SIGCONT)
        here.wait_state("answers")
        assert "not proved" in str(here.service())
        here.assert_calm(began, time.monotonic() - began + 0.5)
