"""Real requests to a VIP: single ones on loopback, and whole appliances whose VIP fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from anycastd.evidence.vip.prober import Prober, probe_once
from anycastd.evidence.vip.selftest import Outcome, Probe
from anycastd.profile.model import SelfTest
from anycastd.system.clock import OwnTime
from support.appliance import VIP, Appliance, own_network
from support.bgp_wire import Update
from support.haproxy import Web, free_port, until
from support.watcher_thread import tick

HERE = ip_network("127.0.0.1/32")


def http(port: int, *, every: float = 0.05, timeout: float = 0.3) -> SelfTest:
    """Give a self-test by HTTP."""
    return SelfTest(None, port, "/", None, every, timeout)


def tcp(port: int) -> SelfTest:
    """Give a self-test by a connection."""
    return SelfTest(port, None, "/", None, 0.05, 0.3)


@contextlib.contextmanager
def web(answer: bytes | None = Web.OK) -> Iterator[Web]:
    """Give something that listens and answers like this."""
    it = Web(answer)
    try:
        yield it
    finally:
        it.stop()


def asked(test: SelfTest, vip: str = "127.0.0.1/32") -> Probe:
    """Give the result of a self-test as `check` gets it."""
    return asyncio.run(probe_once(ip_network(vip), test, OwnTime()))


# One request -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome", "detail"),
    [
        (Web.OK, Outcome.PASSED, "HTTP 200"),
        (b"HTTP/1.1 503 No\r\n\r\n", Outcome.FAILED, "HTTP 503"),
        (b"SSH-2.0-x\r\n", Outcome.FAILED, r"no HTTP: b'SSH-2.0-x\r\n'"),
        (b"", Outcome.FAILED, "closed without an answer"),
        (b"HTTP/1.1 2", Outcome.FAILED, "closed without an answer"),
        (None, Outcome.SLOW, "no answer within 0.3 s"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1 << 20), Outcome.PASSED, "HTTP 200"),
    ],
)
def test_an_answer_has_its_outcome(answer: bytes | None, outcome: Outcome, detail: str) -> None:
    """By HTTP the status decides; by TCP it is enough that somebody listens."""
    with web(answer) as it:
        found = asked(http(it.port))
        assert (found.outcome, found.detail) == (outcome, detail)
        assert asked(tcp(it.port)).outcome is Outcome.PASSED


def test_nobody_listens() -> None:
    """The kernel refuses, and a second time, so that it counts."""
    for test in (http(free_port()), tcp(free_port())):
        found = asked(test)
        assert (found.outcome, found.count, found.confirmed) == (Outcome.REFUSED, 2, True)
    assert asked(tcp(free_port()), "::1/128").outcome is Outcome.REFUSED


def test_a_vip_that_is_not_here_is_never_asked_elsewhere() -> None:
    """The request would leave this machine, and another region's answer would prove nothing."""
    found = asked(tcp(80), "203.0.113.77/32")
    assert found.outcome is Outcome.NOT_ATTEMPTED
    assert not found.confirmed


def test_an_answer_without_an_end_is_in_time() -> None:
    """What counts is when the status comes; the rest is not waited for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    connection.sendall(b".")
                    time.sleep(0.01)

        thread = threading.Thread(target=drip)
        thread.start()
        assert asked(http(listener.getsockname()[1])).outcome is Outcome.PASSED
        thread.join(5)
        assert not thread.is_alive(), "the connection was left open"


def test_requests_leave_nothing_behind() -> None:
    """Neither descriptors nor tasks, whatever became of the requests, nor halves of connections."""
    with web() as good, socket.create_server(("127.0.0.1", 0), backlog=100) as full:
        port = full.getsockname()[1]
        tests = [tcp(port), http(port, timeout=0.1), http(good.port), http(free_port())]

        async def many() -> None:
            before = len(os.listdir("/proc/self/fd"))
            clock = OwnTime()
            ticking = asyncio.create_task(tick(clock))
            for test in tests:
                for _ in range(20):
                    await Prober(HERE, test, clock=clock, emit=lambda _: None).send_request()
            assert len(os.listdir("/proc/self/fd")) <= before + 1
            assert len(asyncio.all_tasks()) == 2
            ticking.cancel()

        asyncio.run(many())
        command = ["ss", "-Htan", f"( dport = :{port} )"]
        shown = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
        assert shown == "", "the kernel still keeps connections of ours"


# Again and again ---------------------------------------------------------------------------------


class Probing:
    """A Prober at work: ``seen`` grows while ``run`` waits for a condition of it."""

    def __init__(self, test: SelfTest) -> None:
        self.seen: list[Probe] = []
        self.clock = OwnTime()
        self.prober = Prober(HERE, test, clock=self.clock, emit=self.seen.append)

    def run(self, condition: Callable[[], object], within: float = 20.0) -> None:
        """Run until ``condition()`` holds."""

        async def work() -> None:
            running = asyncio.create_task(self.prober.run())
            deadline = time.monotonic() + within
            while not condition():
                assert not running.done(), running.exception()
                assert time.monotonic() < deadline, self.seen[-3:]
                await asyncio.sleep(0.01)
                self.clock.tick()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        asyncio.run(work())


def test_it_asks_at_its_rhythm_and_a_refusal_at_once_again() -> None:
    """Every 0.2 s here; but nobody listening is known for certain 20 ms after it was seen."""
    with web() as it:
        probing = Probing(http(it.port, every=0.2))
        probing.run(lambda: len(probing.seen) == 4)
        gaps = [
            b.asked_at - a.asked_at
            for a, b in zip(probing.seen[1:], probing.seen[2:], strict=False)
        ]
        assert all(gap > 0.19 for gap in gaps), gaps
        assert min(gaps) < 0.4, gaps
        assert {probe.outcome for probe in probing.seen} == {Outcome.PASSED}
    probing.run(
        lambda: probing.seen[-1].decision_key[0] is Outcome.REFUSED and probing.seen[-1].count > 3
    )
    first = next(n for n, probe in enumerate(probing.seen) if probe.outcome is Outcome.REFUSED)
    one, two, three = probing.seen[first : first + 3]
    assert two.asked_at - one.asked_at < 0.15
    assert two.confirmed
    assert not one.confirmed
    assert three.asked_at - two.asked_at > 0.19


def test_one_request_at_a_time() -> None:
    """Whoever is full gets one connection of ours per time-out, not ten."""
    with socket.create_server(("127.0.0.1", 0)) as listener:  # nobody ever accepts
        probing = Probing(http(listener.getsockname()[1], every=0.05, timeout=0.3))
        probing.run(lambda: len(probing.seen) == 4)
        gaps = [
            b.asked_at - a.asked_at for a, b in zip(probing.seen, probing.seen[1:], strict=False)
        ]
        assert all(gap >= 0.3 for gap in gaps), gaps


def test_a_stall_of_our_own_is_no_evidence() -> None:
    """An answer that came while we could not run was in time: it is read before time is judged."""

    async def stalled(listener: socket.socket) -> Probe:
        heard, loop = asyncio.Event(), asyncio.get_running_loop()

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(4096)
                loop.call_soon_threadsafe(heard.set)
                connection.sendall(Web.OK)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        prober = Prober(HERE, http(port), clock=OwnTime(), emit=lambda _: None)
        request = asyncio.create_task(prober.send_request())
        await heard.wait()
        done = time.monotonic() + 1
        while time.monotonic() < done:
            pass
        thread.join(5)
        return await request

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert asyncio.run(stalled(listener)).outcome is Outcome.PASSED


# Whole appliances --------------------------------------------------------------------------------

BODY = """\
backend web
    default-server check inter {inter} fall 1 rise 1 {more}
    option redispatch
    server s1 127.0.0.1:{one}
    server s2 127.0.0.1:{two}
frontend web
    bind {vip}:80 transparent
    maxconn {maxconn}
    log stdout format raw local0
    option httplog
    http-request set-log-level silent if {{ src 203.0.113.10 }}
    default_backend web
"""
ELSEWHERE = "203.0.113.11"


class SelfTesting(Appliance):
    """An appliance whose service tests itself; no rule names the frontend."""

    def __init__(self, directory: Path, *, test: str = "{http: 80}", **values: Any) -> None:
        super().__init__(directory)
        text = self.profile.read_text(encoding="utf-8")
        for old, new in (
            ("{all: [{backend: web, usable: 1}, {frontend: web}]}", "{backend: web}"),
            ("    failed:", f"    self_test: {test}\n    failed:"),
        ):
            assert old in text
            text = text.replace(old, new)
        self.profile.write_text(text, encoding="utf-8")
        one, two = (backend.port for backend in self.backends)
        self.values = {"inter": "50ms", "more": "", "maxconn": 100, "vip": VIP}
        self.values |= {"one": one, "two": two} | values
        self.configure()

    def configure(self, **values: Any) -> None:
        """Write HAProxy's configuration; a start or a reload makes it work."""
        self.haproxy.configure(BODY.format(**(self.values | values)))

    def service(self) -> dict[str, Any]:
        """Give the status of the one service."""
        found: dict[str, Any] = self.status()["services"]["web"]
        return found

    def lengths(self) -> list[set[int]]:
        """The lengths of path that each peer has ever heard; 0 is a withdrawal."""
        return [
            {
                length
                for update in peer.list_events(Update)
                for length in (
                    *(len(route.as_path) for route in update.announced),
                    *(0 for _ in update.withdrawn),
                )
            }
            for peer in self.peers
        ]


@pytest.mark.root
@pytest.mark.parametrize("test", ["{http: 80}", "{tcp: 80}"])
def test_haproxy_says_fine_and_nobody_listens(tmp_path: Path, test: str) -> None:
    """Its frontend is bound to another address: withdrawn, and back when it is mended."""
    with own_network(), SelfTesting(tmp_path, test=test) as one:
        one.start()
        one.configure(vip=ELSEWHERE)
        one.haproxy.reload()
        one.wait_path(0)
        assert one.haproxy.row("web", "FRONTEND")["status"] == "OPEN"
        assert one.haproxy.row("web", "BACKEND")["status"] == "UP"
        found = one.service()
        assert found["reason"]["name"] == "vip_refuses"
        assert "VIP listens on" in found["reason"]["detail"]
        one.configure()
        one.haproxy.reload()
        one.wait_path(7)
        one.wait_path(1)


@pytest.mark.root
def test_a_full_haproxy_is_never_withdrawn(tmp_path: Path) -> None:
    """At `maxconn` requests time out, and the path gets longer: another region may take over."""
    with own_network(), SelfTesting(tmp_path, maxconn=4) as one:
        one.start()
        with contextlib.ExitStack() as full:
            for _ in range(4):
                full.enter_context(socket.create_connection((VIP, 80)))
            one.wait_path(4)
            row = one.haproxy.row("web", "FRONTEND")
            assert (row["scur"], row["slim"], row["status"]) == ("4", "4", "OPEN")
            found = one.service()
            assert found["reason"]["name"] == "vip_slow"
            assert {rule["rule"]: rule["truth"] for rule in found["rules"]}[
                "VIP listens on http/80/"
            ] == "true"
        one.wait_path(1)
        assert one.lengths() == [{7, 1, 4}, {7, 1, 4}], one.log()


@pytest.mark.root
def test_hung_servers_degrade(tmp_path: Path) -> None:
    """They accept and never answer: HAProxy's connection checks pass, so it is not withdrawn."""
    with own_network(), SelfTesting(tmp_path, test="{http: 80, timeout: 0.3}") as one:
        one.start()
        for backend in one.backends:
            backend.answer = None
        one.wait_path(4)
        assert one.service()["reason"]["name"] == "vip_slow"
        for backend in one.backends:
            backend.answer = Web.OK
        one.wait_path(1)
        assert one.lengths() == [{7, 1, 4}, {7, 1, 4}], one.log()


@pytest.mark.root
def test_ten_reloads_under_load_move_nothing(tmp_path: Path) -> None:
    """HAProxy hands its listeners over: not one request is refused."""
    with own_network(), SelfTesting(tmp_path, test="{http: 80, every: 0.05}") as one:
        one.start()
        before = [len(peer.list_events(Update)) for peer in one.peers]
        stop = threading.Event()
        served: list[bytes] = []

        def load() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError), socket.create_connection((VIP, 80), 2) as user:
                    user.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    served.append(user.recv(4096))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                one.haproxy.reload()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        until(lambda: one.status()["haproxy"]["main"]["pid"] == one.haproxy.worker)
        assert [len(peer.list_events(Update)) for peer in one.peers] == before, one.log()
        assert one.service()["level"] == "preferred"
        assert len(served) > 100


@pytest.mark.root
def test_dead_servers_are_found_long_before_their_check(tmp_path: Path) -> None:
    """The self-test is the traffic by which HAProxy sees them die: `observe`, and checks of 10 s.

    `fastinter` is for the one check that confirms; with `fall 1` sudden death does nothing.
    """
    observed = "fall 2 fastinter 100ms observe layer4 error-limit 1 on-error sudden-death"
    with own_network(), SelfTesting(tmp_path, inter="10s", more=observed) as one:
        one.ask_no_servers()
        one.start()
        died = time.monotonic()
        for backend in one.backends:
            backend.stop()
        one.wait_path(0)
        assert time.monotonic() - died < 8
        assert one.service()["reason"]["name"] == "too_few_servers"


@pytest.mark.root
def test_a_self_test_can_be_kept_out_of_the_log(tmp_path: Path) -> None:
    """Its source is the VIP, which no user's is: one line silences it, and users are logged."""
    with own_network(), SelfTesting(tmp_path, test="{http: 80, path: /self-test}") as one:
        one.start()
        with socket.create_connection((VIP, 80), source_address=("192.0.2.10", 0)) as user:
            user.sendall(b"GET /user HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert user.recv(4096).startswith(b"HTTP/1.0 200")
        until(lambda: '"GET /user HTTP/1.1"' in one.haproxy.log())
        assert int(one.haproxy.row("web", "FRONTEND")["req_tot"]) > 5
        assert "/self-test" not in one.haproxy.log()


@pytest.mark.root
def test_check_tests_the_vip_too(tmp_path: Path) -> None:
    """`check` says what it found, and what that would mean."""
    with own_network(), SelfTesting(tmp_path) as one:
        subprocess.run(["ip", "address", "add", f"{VIP}/32", "dev", "lo"], check=True)

        def said() -> str:
            return subprocess.run(
                [sys.executable, "-m", "anycastd", "check", str(one.profile)],
                capture_output=True,
                encoding="utf-8",
                check=True,
                env=one.environment,
            ).stdout

        until(lambda: re.search("UP L4OK.*", one.haproxy.status("web/s1")))
        assert "self-test of web: passed on http/80/ (HTTP 200)" in said()
        one.configure(vip=ELSEWHERE)
        one.haproxy.reload()
        # The worker before may listen a moment longer.
        until(lambda: "self-test of web: refused on http/80/ (refused)" in said())
        text = said()
        assert "WITHDRAWN: the VIP refuses connections" in text
