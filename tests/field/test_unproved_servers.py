"""Servers that HAProxy calls UP although no check has said so since they are in service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import Appliance, own_network
from support.haproxy import Web, free_port, read_version, until

pytestmark = pytest.mark.root

BODY = """\
backend web
    default-server check inter {inter} rise 1 fall 3
    server s1 127.0.0.1:{one}
    server s2 127.0.0.1:{two}
frontend web
    bind 203.0.113.10:80 transparent
    default_backend web
"""
INTER = "1200ms"
TRACKING = """\
backend web
    server t1 127.0.0.1:{one} track hidden/s1
    server t2 127.0.0.1:{two} track hidden/s2
"""


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    """Run each test in its own network."""
    with own_network():
        yield


def start(one: Appliance) -> None:
    """Start speaker and agent, and wait until the agent answers."""
    one.start_speaker()
    one.start_agent()
    one.wait_answers()


def count_announcements(one: Appliance) -> int:
    """Count the announcements that the peers have heard so far."""
    return sum(len(update.announced) for peer in one.peers for update in peer.updates)


def wait_statuses(one: Appliance, status: str, *servers: str) -> None:
    """Wait until HAProxy shows this status of servers of backend web."""
    until(lambda: all(one.haproxy.row("web", name)["status"] == status for name in servers), 30)


def read_servers(one: Appliance) -> dict[str, dict[str, Any]]:
    """Return what the agent's status says of each server of the service."""
    rules = one.ask_status()["services"]["web"]["rules"]
    return {each["name"]: each for rule in rules for each in rule.get("servers", ())}


def change(one: Appliance, command: str, *servers: str) -> None:
    """Run ``set server web/SERVER COMMAND`` for each of the servers, in one line."""
    one.haproxy.ask(";".join(f"set server {name} {command}" for name in servers))


def put_back_dead(one: Appliance, servers: tuple[str, ...], shown: str) -> None:
    """Put dead servers back from maintenance, so that HAProxy shows one of them as UP.

    With `fall 1` a check that is due at that moment shows it as DOWN at once; then once more.
    """
    ready = ";".join(f"set server {name} state ready" for name in servers)
    for _ in range(5):
        lines = one.haproxy.ask(f"{ready};show stat").splitlines()
        row = next(line for line in lines if line.startswith(f"web,{shown},"))
        if ",UP" in row:
            return
        change(one, "state maint", *servers)
    raise AssertionError("HAProxy never showed a dead server as UP: this is not the case to test")


# FC-STALE: haproxy issue 51 (UP before any check), ansible issue 37591 (drain, maint, ready).
@pytest.mark.parametrize(
    ("body", "servers", "shown"),
    [
        (BODY, ("web/s1", "web/s2"), ("s1", "s2")),
        (BODY.replace("fall 3", "fall 1"), ("web/s1", "web/s2"), ("s1", "s2")),
        (
            TRACKING + BODY.replace("backend web\n", "backend hidden\n", 1),
            ("hidden/s1", "hidden/s2"),
            ("t1", "t2"),
        ),
    ],
    ids=["fall 3", "fall 1", "tracked"],
)
def test_dead_servers_that_come_back_from_maintenance(
    tmp_path: Path, body: str, servers: tuple[str, ...], shown: tuple[str, ...]
) -> None:
    """HAProxy shows the check from before the maintenance; nothing is announced on it."""
    with Appliance(tmp_path, body=body, inter=INTER) as one:
        one.start()
        change(one, "state maint", *servers)
        one.wait_path(0)
        for backend in one.backends:
            backend.stop()
        heard = count_announcements(one)
        put_back_dead(one, servers, shown[0])
        wait_statuses(one, "DOWN", *shown)
        until(lambda: {each["usable"] for each in read_servers(one).values()} == {"no"}, 20, 0.05)
        assert count_announcements(one) == heard


def test_servers_that_work_come_back_with_their_first_check(tmp_path: Path) -> None:
    """The route is back as soon as a check has passed."""
    with Appliance(tmp_path, body=BODY, inter=INTER) as one:
        one.start()
        change(one, "state maint", "web/s1", "web/s2")
        one.wait_path(0)
        change(one, "state ready", "web/s1", "web/s2")
        one.wait_path(1)
        # One server that works is enough for the path.
        until(lambda: {each["usable"] for each in read_servers(one).values()} == {"yes"}, 20, 0.05)


# FC-STALE: the same by an agent-check, as a deploy does it.
def test_dead_servers_that_their_agent_puts_back(tmp_path: Path) -> None:
    """An agent's `maint` and `ready` are no check either."""
    agent = Web(b"ready up\n", speaks_first=True)
    body = BODY.replace("fall 3", f"fall 3 agent-check agent-inter 100ms agent-port {agent.port}")
    with Appliance(tmp_path, body=body, inter="3s") as one:
        one.start()
        agent.answer = b"maint\n"
        one.wait_path(0)
        for backend in one.backends:
            backend.stop()
        heard = count_announcements(one)
        agent.answer = b"ready up\n"
        wait_statuses(one, "DOWN", "s1", "s2")
        until(lambda: {each["usable"] for each in read_servers(one).values()} == {"no"}, 20, 0.05)
        assert count_announcements(one) == heard
    agent.stop()


# FC-STALE: what was dead before the maintenance shows a failed check, as what begins to fail does.
def test_dead_servers_that_stay_dead(tmp_path: Path) -> None:
    """Maintenance and back is no way to announce servers that have never passed."""
    body = BODY.replace("fall 3", "fall 2")
    with Appliance(tmp_path, body=body, inter="1200ms") as one:
        one.start()
        for backend in one.backends:
            backend.stop()
        wait_statuses(one, "DOWN", "s1", "s2")
        one.wait_path(0)
        heard = count_announcements(one)
        change(one, "state maint", "web/s1", "web/s2")
        change(one, "state ready", "web/s1", "web/s2")
        assert one.haproxy.status("web/s1") == "UP 1/2 L4CON", "the case of this test"
        wait_statuses(one, "DOWN", "s1", "s2")
        until(lambda: {each["usable"] for each in read_servers(one).values()} == {"no"}, 20, 0.05)
        assert count_announcements(one) == heard


# FC-STALE: a name or an address that changes under a server that is up.
def test_servers_that_get_another_address(tmp_path: Path) -> None:
    """What another address has passed proves nothing of this one, nor does a check that fails."""
    with Appliance(tmp_path, body=BODY, inter=INTER) as one:
        one.ask_no_servers()  # what rows alone say
        one.start()
        change(one, f"addr 127.0.0.1 port {free_port()}", "web/s1")
        until(lambda: read_servers(one)["s1"]["usable"] == "unproved", 20)
        assert one.haproxy.status("web/s1") in ("UP L4OK", "UP 2/3 L4CON"), "the case of this test"
        until(lambda: one.haproxy.row("web", "s1")["status"].startswith("UP 2/3"), 20)
        assert read_servers(one)["s1"]["usable"] == "unproved"
        wait_statuses(one, "DOWN", "s1")
        assert read_servers(one)["s2"]["usable"] == "yes"
        change(one, f"addr 127.0.0.1 port {one.backends[0].port}", "web/s1")
        wait_statuses(one, "UP", "s1")
        until(lambda: read_servers(one)["s1"]["usable"] == "yes", 20, 0.05)


# FC-STALE: as a deploy moves servers (ansible issue 37591): drained, pointed elsewhere, put back.
def test_dead_servers_that_get_their_address_while_drained(tmp_path: Path) -> None:
    """The end of a drain is no check."""
    with Appliance(tmp_path, body=BODY, inter="3s") as one:
        one.ask_no_servers()  # what rows alone say
        one.start()
        change(one, "state drain", "web/s1", "web/s2")
        one.wait_path(0)
        heard = count_announcements(one)
        change(one, f"addr 127.0.0.1 port {free_port()}", "web/s1", "web/s2")
        changed_at = time.monotonic()  # a look between the two changes has both addresses
        until(lambda: time.monotonic() - one.status()["haproxy"]["main"]["age"] > changed_at, 20)
        change(one, "state ready", "web/s1", "web/s2")
        assert one.haproxy.status("web/s1") in ("UP L4OK", "UP 2/3 L4CON"), "the case of this test"
        until(lambda: "UP 2/3" in str(read_servers(one)["s1"]), 20)
        assert count_announcements(one) == heard
        assert {each["usable"] for each in read_servers(one).values()} == {"unproved"}


# FC-STALE: a server that is added at run time, which HAProxy shows as `UP -1/3` and `UP 0/3`.
def test_a_server_that_is_added(tmp_path: Path) -> None:
    """It counts from its first check that passes on."""
    body = BODY.replace("backend web\n", "backend web\n    balance roundrobin\n")
    with Appliance(tmp_path, body=body, inter=INTER) as one:
        one.start()
        port = one.backends[0].port
        one.haproxy.ask(f"add server web/more 127.0.0.1:{port} check inter 3s rise 3")
        # In one request: a look between the two would find a server in service without checks.
        one.haproxy.ask("enable server web/more;enable health web/more")
        found = one.haproxy.status("web/more")
        assert found in ("UP -2/3 INI", "UP -1/3 L4OK"), "the case of this test"
        until(lambda: one.haproxy.status("web/more") == "UP -1/3 L4OK", 20)
        until(lambda: read_servers(one)["more"]["usable"] == "yes", 20)
        assert one.haproxy.status("web/more") == "UP -1/3 L4OK", "before its second check"


FULL = BODY.replace("fall 3", "fall 3 init-state fully-up")


@pytest.fixture
def _init_state() -> None:
    """Skip a test where HAProxy is older than `init-state`."""
    if read_version() < (3, 1):
        pytest.skip("needs HAProxy 3.1 or later, for `init-state`")


# FC-STALE, with what haproxy issue 51 led to: servers that begin at full health.
@pytest.mark.usefixtures("_init_state")
def test_dead_servers_that_come_back_at_full_health(tmp_path: Path) -> None:
    """They are plain UP after maintenance, and stay UP until their third failed check."""
    with Appliance(tmp_path, body=FULL, inter="800ms") as one:
        one.start()
        change(one, "state maint", "web/s1", "web/s2")
        one.wait_path(0)
        for backend in one.backends:
            backend.stop()
        heard = count_announcements(one)
        change(one, "state ready", "web/s1", "web/s2")
        assert one.haproxy.status("web/s1") in ("UP L4OK", "UP 2/3 L4CON"), "the case of this test"
        wait_statuses(one, "DOWN", "s1", "s2")
        assert count_announcements(one) == heard


@pytest.mark.usefixtures("_init_state")
def test_dead_servers_that_begin_at_full_health(tmp_path: Path) -> None:
    """Servers that never passed are UP until their third failed check, and not announced."""
    with Appliance(tmp_path, body=FULL, inter="800ms") as one:
        for backend in one.backends:
            backend.stop()
        start(one)
        one.haproxy.reload()
        until(lambda: one.haproxy.status("web/s1") == "UP 2/3 L4CON", 20)
        wait_statuses(one, "DOWN", "s1", "s2")
        assert count_announcements(one) == 0


# FC-NOSERVERS: haproxy issue 1047; a backend that answers by itself.
def test_a_backend_without_servers(tmp_path: Path) -> None:
    """HAProxy calls it UP; the reason says that a rule on its servers never holds."""
    body = BODY + "backend sorry\n    http-request return status 200\n"
    with Appliance(tmp_path, body=body, inter="100ms") as one:
        text = one.profile.read_text(encoding="utf-8")
        text = text.replace("{backend: web, usable: 1}", "{backend: sorry, usable: 1}")
        one.profile.write_text(text, encoding="utf-8")
        start(one)
        until(lambda: "it has no servers" in str(one.status()["services"]["web"]), 30, 0.1)
        assert one.status()["services"]["web"]["level"] == "withdrawn"


# FC-NOSERVERS: a proxy that is `disabled` is absent from HAProxy's answers.
def test_a_frontend_that_is_disabled_in_the_file(tmp_path: Path) -> None:
    """The words name the other possible cause."""
    body = BODY.replace("frontend web\n", "frontend web\n    disabled\n")
    with Appliance(tmp_path, body=body, inter="100ms") as one:
        start(one)
        until(
            lambda: "or `disabled` in haproxy.cfg" in str(one.status()["services"]["web"]), 30, 0.1
        )
