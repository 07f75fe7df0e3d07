"""What HAProxy and its operator can do, on a whole appliance: what two peers saw, what is said."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import PROFILE, VIP, Appliance, own_network
from support.haproxy import HAProxy, one_backend, until
from support.peer import wait_for
from support.route_log import Wire

pytestmark = pytest.mark.root

DEADLINE = 0.5
"""The least that a profile may say."""
AT_ONCE = 0.5
"""Seconds; the benches say how soon it really is, a test must not depend on a calm machine."""
BACK = "x 7 1"


class Watched:
    """An appliance that runs, and what its peers see."""

    def __init__(self, appliance: Appliance) -> None:
        self.appliance = appliance
        self.haproxy = appliance.haproxy
        self.wire = Wire(appliance.peers, f"{VIP}/32")
        self.config = appliance.haproxy.config.read_text(encoding="utf-8")

    def calm(self, since: float, seconds: float) -> None:
        """Hold that nothing changes from ``since`` until ``seconds`` after it."""
        until(lambda: time.monotonic() - since > seconds, seconds + 5)
        assert self.wire.story(since) == ["nothing", "nothing"], self.appliance.log()

    def well(self) -> None:
        """Wait until both peers have the preferred route, and the agent says that all is well."""
        self.wire.wait(1, 20, self.appliance.log())
        until(lambda: self.service()["level"] == "preferred", 5, 0.05)

    def service(self) -> dict[str, Any]:
        """What status says of the service."""
        found: dict[str, Any] = self.appliance.status()["services"]["web"]
        return found

    def wait_reason(self, name: str, *words: str) -> None:
        """Wait until the service is where it is for this reason, with these words of evidence."""

        def said() -> bool:
            reason = self.service()["reason"]
            return reason["name"] == name and all(word in reason["detail"] for word in words)

        wait_for(said, 5, f"{name}: {words}; {self.service()['reason']}")

    def reload(self, *changes: tuple[str, str]) -> float:
        """Reload HAProxy with another configuration; when."""
        text = self.config
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)  # `default_backend` as well
        self.haproxy.config.write_text(text, encoding="utf-8")
        began = time.monotonic()
        self.haproxy.reload()
        return began


@contextlib.contextmanager
def watched(place: Path, **settings: Any) -> Iterator[Watched]:
    """Give an appliance in a network of its own."""
    values = {"ttl": 3, "deadline": DEADLINE} | settings
    with own_network(), Appliance(place, **values) as it:
        it.start()
        yield Watched(it)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Give an appliance for all tests of this file; below two servers it is degraded."""
    profile = PROFILE.replace("usable: 50%", "usable: 2")
    with watched(tmp_path_factory.mktemp("one"), profile=profile) as it:
        yield it


@pytest.fixture
def here(one: Watched) -> Watched:
    """Give it once it is well."""
    one.well()
    return one


def anycastd(one: Appliance, *words: str) -> str:
    """What a command says."""
    done = subprocess.run(
        [sys.executable, "-m", "anycastd", *words],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=one.environment,
    )
    return done.stdout + done.stderr


def test_half_a_second_is_a_deadline(here: Watched) -> None:
    """A stopped HAProxy is found after two missed looks and 0.5 s, and not before."""
    began = time.monotonic()
    here.haproxy.signal(signal.SIGSTOP)
    try:
        here.wire.wait(0, 3)
        here.wait_reason("haproxy_silent")
    finally:
        here.haproxy.signal(signal.SIGCONT)
    gone = [at - began for at in here.wire.first(began)]
    assert min(gone) > 0.4
    assert max(gone) < DEADLINE + DEADLINE / 3 + AT_ONCE
    here.well()
    assert here.wire.story(began) == [BACK, BACK]


def test_a_reload_without_the_backend(here: Watched) -> None:
    """A rule's backend is not there any more: withdrawn, and the backend is named."""
    began = here.reload(("backend web\n", "backend other\n"))
    here.wire.wait(0, 2)
    here.wait_reason("backend_missing", "backend web")
    assert "correct the name" in here.service()["reason"]["remedy"]
    here.reload()
    here.well()
    assert here.wire.story(began) == [BACK, BACK]


def test_a_reload_without_a_server(here: Watched) -> None:
    """`healthy` asks for two: degraded after `fall`, with the evidence; back where it is back."""
    line = next(each for each in here.config.splitlines(keepends=True) if "server s2" in each)
    began = here.reload((line, ""))
    here.wire.wait(4, 5)
    here.wait_reason("below_healthy", "backend web", "1 of 1")
    (rule,) = [each for each in here.service()["rules"] if each["truth"] == "false"]
    assert [server["name"] for server in rule["servers"]] == ["s1"]
    here.reload()
    here.well()
    assert here.wire.story(began) == ["4 1", "4 1"]


def test_a_reload_with_a_broken_file(here: Watched) -> None:
    """HAProxy keeps its worker, and nothing changes; the next reload works."""
    here.haproxy.config.write_text(here.config + "backend\n", encoding="utf-8")
    worker, began, process = here.haproxy.worker, time.monotonic(), here.haproxy.process
    assert process is not None
    os.kill(process.pid, signal.SIGUSR2)
    until(lambda: "Error(s) found in configuration file" in here.haproxy.log(), 5)
    here.calm(began, 2.5)
    assert here.haproxy.worker == worker
    here.calm(here.reload(), 1.5)


def test_servers_that_come_and_go_at_run_time(here: Watched) -> None:
    """Added, it counts when its check has passed; deleted, it is not there; no route moves."""

    def third() -> list[str]:
        rules = here.service()["rules"]
        (rule,) = [each for each in rules if "at least 1 usable" in each["rule"]]
        return [each["usable"] for each in rule["servers"] if each["name"] == "s3"]

    began = time.monotonic()
    port = here.appliance.backends[0].port
    said = here.haproxy.ask(f"add server web/s3 127.0.0.1:{port} check inter 50ms")
    assert "registered" in said
    until(lambda: third() == ["no"], 5, 0.1)
    here.haproxy.ask("enable health web/s3;enable server web/s3")
    until(lambda: third() == ["yes"], 5, 0.1)
    here.haproxy.ask("set server web/s3 state maint")
    assert "deleted" in here.haproxy.ask("del server web/s3")
    until(lambda: third() == [], 5, 0.1)
    here.calm(began, 1.0)


def test_a_queue_takes_nothing_away(here: Watched) -> None:
    """Servers that hang with one connection each, and clients that queue: nothing moves."""
    answers = [backend.answer for backend in here.appliance.backends]
    for number, backend in enumerate(here.appliance.backends, 1):
        backend.answer = None
        here.haproxy.ask(f"set maxconn server web/s{number} 1")
    clients = [socket.create_connection((VIP, 80)) for _ in range(20)]
    try:
        began = time.monotonic()
        for client in clients:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        until(lambda: int(here.haproxy.row("web", "BACKEND")["qcur"]) > 10, 3)
        here.calm(began, 3)
    finally:
        for client in clients:
            client.close()
        for number, (backend, answer) in enumerate(
            zip(here.appliance.backends, answers, strict=True), 1
        ):
            backend.answer = answer
            here.haproxy.ask(f"set maxconn server web/s{number} 0")


TWO = (
    PROFILE.replace("{{backend", "{{haproxy: main, backend")
    .replace("{{frontend: web}}", "{{haproxy: main, frontend: web}}, {{haproxy: other, usable: 1}}")
    .replace("other, usable", "other, backend: web, usable")
    .replace(
        "\nservices:", "\n  other: {{socket: {place}/other/stats.sock, ring: anycastd}}\nservices:"
    )
)


def test_two_haproxies(tmp_path: Path) -> None:
    """A rule names its HAProxy: each one's death is noticed, and named."""
    place = tmp_path / "other"
    place.mkdir()
    with own_network():
        appliance = Appliance(tmp_path, ttl=3, profile=TWO, place=tmp_path)
        with appliance:
            other = HAProxy(place, one_backend(appliance.backends[0]))
            try:
                other.start()
                appliance.start()
                one = Watched(appliance)
                for haproxy, name in ((other, "other"), (appliance.haproxy, "main")):
                    began = time.monotonic()
                    haproxy.kill()
                    one.wire.wait(0, 2)
                    assert max(one.wire.first(began)) - began < AT_ONCE
                    one.wait_reason("haproxy_gone", f"{haproxy.socket}: ")
                    states = {
                        each: it["state"] for each, it in appliance.status()["haproxy"].items()
                    }
                    assert states == {"main": "answers", "other": "answers"} | {name: "gone"}
                    haproxy.start()
                    one.well()
                    assert one.wire.story(began) == [BACK, BACK]
            finally:
                other.kill()


LINES = "add a section `ring {0}` with `format raw`, `log ring@{0} format raw local0 notice`"


@pytest.mark.parametrize(
    ("ring", "said"),
    [
        ("", "the profile gives it no `ring`: write `ring: anycastd`, and " + LINES),
        (", ring: elsewhere", "it has no ring named elsewhere: " + LINES),
    ],
    ids=["not in the profile", "not in HAProxy"],
)
def test_without_a_ring(tmp_path: Path, ring: str, said: str) -> None:
    """It is polled: slower, and `status` and `check` say so with the lines to add."""
    profile = PROFILE.replace(", ring: {ring}", ring)
    said = said.format("elsewhere" if ring else "anycastd")
    with watched(tmp_path, profile=profile) as one:
        until(lambda: one.appliance.status()["problems"], 5)
        (problem,) = one.appliance.status()["problems"]
        assert problem.startswith(f"haproxy main: polled, not event-driven: {said}")
        assert said in anycastd(one.appliance, "check", str(one.appliance.profile))
        began = time.monotonic()
        for backend in one.appliance.backends:
            backend.stop()
        one.wire.wait(0, 3)
        assert max(one.wire.first(began)) - began < 0.25 + AT_ONCE


def test_with_a_ring_nothing_is_said(here: Watched) -> None:
    """Neither by `status` nor by `check`."""
    assert here.appliance.status()["problems"] == []
    assert "not event-driven" not in anycastd(here.appliance, "check", str(here.appliance.profile))
