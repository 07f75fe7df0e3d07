"""Faults of HAProxy and its operator, on a whole appliance: what peers see, what is reported."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import PROFILE, VIP, Appliance, own_network
from support.haproxy import HAProxy, one_backend, until
from support.processes import signal_pid
from support.watched import DEADLINE, SLACK, Watched, run_anycastd, watched

pytestmark = pytest.mark.root

BACK = "x 7 1"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run one appliance for all tests of this file; below two servers it is degraded."""
    profile = PROFILE.replace("usable: 50%", "usable: 2")
    with watched(tmp_path_factory.mktemp("one"), profile=profile) as it:
        yield it


@pytest.fixture
def here(one: Watched) -> Watched:
    """Give it once it is well."""
    one.wait_well()
    return one


def test_half_a_second_is_a_deadline(here: Watched) -> None:
    """A stopped HAProxy counts as silent after two unanswered looks and 0.5 s, not before."""
    began = time.monotonic()
    here.haproxy.signal(signal.SIGSTOP)
    try:
        here.wire.wait(0, 20)
        here.wait_reason("haproxy_silent")
    finally:
        here.haproxy.signal(signal.SIGCONT)
    gone = [at - began for at in here.wire.list_first_changes(began)]
    assert min(gone) > 0.4
    assert max(gone) < DEADLINE + DEADLINE / 3 + SLACK
    here.wait_well()
    assert here.wire.describe_changes(began) == [BACK, BACK]


def test_a_reload_without_the_backend(here: Watched) -> None:
    """The backend of a rule is missing: withdrawn, and the status names the backend."""
    began = here.reload(("backend web\n", "backend other\n"))
    here.wait_gone(began, 2)
    here.wait_reason("backend_missing", "backend web")
    assert "correct the name" in here.service()["reason"]["remedy"]
    here.reload()
    here.wait_well()
    assert here.wire.describe_changes(began) == [BACK, BACK]


def test_a_reload_without_a_server(here: Watched) -> None:
    """`healthy` needs two servers: degraded after `fall`; preferred again once it is back."""
    line = next(each for each in here.config.splitlines(keepends=True) if "server s2" in each)
    began = here.reload((line, ""))
    here.wire.wait(4, 20)
    here.wait_reason("below_healthy", "backend web", "1 of 1")
    (rule,) = [each for each in here.service()["rules"] if each["truth"] == "false"]
    assert [server["name"] for server in rule["servers"]] == ["s1"]
    here.reload()
    here.wait_well()
    assert here.wire.describe_changes(began) == ["4 1", "4 1"]


def test_a_reload_with_a_broken_file(here: Watched) -> None:
    """HAProxy keeps its worker, and nothing changes; the next reload works."""
    here.haproxy.config.write_text(here.config + "backend\n", encoding="utf-8")
    worker, began, process = here.haproxy.worker, time.monotonic(), here.haproxy.process
    assert process is not None
    signal_pid(process.pid, signal.SIGUSR2)
    until(lambda: "Error(s) found in configuration file" in here.haproxy.log(), 20)
    here.assert_calm(began, 2.5)
    assert here.haproxy.worker == worker
    here.assert_calm(here.reload(), 1.5)


def test_servers_that_come_and_go_at_run_time(here: Watched) -> None:
    """An added server counts once its check has passed; a deleted one does not count."""

    def third() -> list[str]:
        rules = here.service()["rules"]
        (rule,) = [each for each in rules if "at least 1 usable" in each["rule"]]
        return [each["usable"] for each in rule["servers"] if each["name"] == "s3"]

    began = time.monotonic()
    port = here.appliance.backends[0].port
    said = here.haproxy.ask(f"add server web/s3 127.0.0.1:{port} check inter 50ms")
    assert "registered" in said
    until(lambda: third() == ["no"], 20, 0.1)
    here.haproxy.ask("enable health web/s3;enable server web/s3")
    until(lambda: third() == ["yes"], 20, 0.1)
    here.haproxy.ask("set server web/s3 state maint")
    # HAProxy keeps it while a check of it is under way.
    until(lambda: "deleted" in here.haproxy.ask("del server web/s3"), 20, 0.05)
    until(lambda: third() == [], 20, 0.1)
    here.assert_calm(began, 1.0)


def test_a_queue_takes_nothing_away(here: Watched) -> None:
    """Servers hang with one connection each and clients queue: no route changes."""
    answers = [backend.answer for backend in here.appliance.backends]
    for number, backend in enumerate(here.appliance.backends, 1):
        backend.answer = None
        here.haproxy.ask(f"set maxconn server web/s{number} 1")
    clients = [socket.create_connection((VIP, 80)) for _ in range(20)]
    try:
        began = time.monotonic()
        for client in clients:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        until(lambda: int(here.haproxy.row("web", "BACKEND")["qcur"]) > 10, 20)
        here.assert_calm(began, 3)
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


def read_states(appliance: Appliance) -> dict[str, str]:
    """Read what the status reports of each HAProxy."""
    return {name: it["state"] for name, it in appliance.status()["haproxy"].items()}


def test_two_haproxies(tmp_path: Path) -> None:
    """A rule names its HAProxy: the death of each is found, and the status names it."""
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
                    one.wire.wait(0, 20)
                    assert max(one.wire.list_first_changes(began)) - began < SLACK
                    one.wait_reason("haproxy_gone", f"{haproxy.socket}: ")
                    states = {"main": "answers", "other": "answers"} | {name: "gone"}
                    until(lambda: read_states(appliance) == states, 20, 0.1)  # noqa: B023
                    haproxy.start()
                    one.wait_well()
                    assert one.wire.describe_changes(began) == [BACK, BACK]
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
    """HAProxy is polled, which is slower; `status` and `check` print the lines to add."""
    profile = PROFILE.replace(", ring: {ring}", ring)
    said = said.format("elsewhere" if ring else "anycastd")
    with watched(tmp_path, profile=profile) as one:
        until(lambda: len(one.problems()) == 1, 20, 0.05)
        (problem,) = one.problems()
        assert problem.startswith(f"haproxy main: polled, not event-driven: {said}")
        printed = run_anycastd(one.appliance, "check", str(one.appliance.profile))
        assert said in " ".join(printed.split())
        began = time.monotonic()
        for backend in one.appliance.backends:
            backend.stop()
        one.wire.wait(0, 20)
        assert max(one.wire.list_first_changes(began)) - began < 0.25 + SLACK


def test_with_a_ring_nothing_is_said(here: Watched) -> None:
    """Neither `status` nor `check` mentions the ring."""
    until(lambda: here.problems() == [], 20, 0.05)
    assert "not event-driven" not in run_anycastd(
        here.appliance, "check", str(here.appliance.profile)
    )
