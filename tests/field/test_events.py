"""What stands in HAProxy's event ring, and what does not, on a whole appliance."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import BODY, PROFILE, VIP
from support.haproxy import until
from support.watched import SLACK, Watched, run_anycastd, watched

pytestmark = pytest.mark.root

RATE, SECONDS = 200, 3.0
NOISY = (
    BODY.replace(
        "    default_backend web\n",
        """\
    option httplog
    log-format "%ci:%cp [%tr] %ft %b/%s %ST {{%[capture.req.hdr(0)]}} %r"
    http-request capture req.fhdr(User-Agent) len 128
    http-request set-log-level err
    http-request return status 200
    default_backend web
""",
    )
    + "backend big\n    server-template many 1-2000 127.0.0.1:9\n"
)
BIG = PROFILE.replace(
    "{{frontend: web}}]}}",
    "{{frontend: web}}, {{backend: big, usable: 1, count_unchecked: true}}]}}",
)


@pytest.fixture
def noisy(tmp_path: Path) -> Iterator[Watched]:
    """Run an appliance with 2,000 servers, whose requests go to the ring with a client's text."""
    with watched(tmp_path, body=NOISY, profile=BIG, deadline=3) as it:
        yield it


def measure_cpu(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def send_requests(agent: str, seconds: float, rate: int) -> int:
    """Send requests on one connection, with ``agent`` as User-Agent; return how many.

    It takes longer than ``seconds`` where the machine does not send half of them in time.
    """
    request = f"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\n\r\n".encode()
    sent, began = 0, time.monotonic()
    with socket.create_connection((VIP, 80)) as client:
        while (passed := time.monotonic() - began) < seconds or sent <= rate * seconds / 2:
            assert passed < 20 * seconds
            if sent < passed * rate:
                client.sendall(request)
                client.recv(4096)
                sent += 1
            else:
                time.sleep(0.001)
    return sent


@pytest.mark.parametrize("text", ["Proxy web stopped (x", "Server web/s1 is DOWN. 0 active"])
def test_clients_who_write_like_haproxy(noisy: Watched, text: str) -> None:
    """Request lines that quote HAProxy's own messages cost nothing and change nothing."""
    # FC-RINGNOISE: openSUSE/heroes-salt (log-separate-errors), haproxy issue 1770 (set-log-level)
    agent = noisy.appliance.agent
    assert agent is not None
    noisy.wait_well()
    until(lambda: "many" in noisy.haproxy.ask("show stat"), 20)
    began, idle = time.monotonic(), measure_cpu(agent.pid)
    until(lambda: time.monotonic() > began + SECONDS, 2 * SECONDS)
    idle, start = measure_cpu(agent.pid) - idle, measure_cpu(agent.pid)
    sent_at = time.monotonic()
    sent = send_requests(text, SECONDS, RATE)
    used = measure_cpu(agent.pid) - start
    idle *= (time.monotonic() - sent_at) / SECONDS
    assert text in noisy.haproxy.ask("show events anycastd")
    print(f"{sent} requests: {used:.2f} s of CPU, {idle:.2f} s without them")  # noqa: T201
    assert used - idle < 0.05 * SECONDS
    noisy.assert_calm(began, time.monotonic() - began)


QUIET = BODY.replace("backend web\n", "backend web\n    no log\n")


def test_a_backend_that_does_not_log(tmp_path: Path) -> None:
    """A backend without events is found by its first change, named, and polled from then on."""
    # FC-NOLOG: pfsense-packages pull request 1136 (generated backends without `log global`)
    with watched(tmp_path, body=QUIET, deadline=3) as one:
        one.wait_well()
        until(lambda: one.problems() == [], 20, 0.05)
        one.appliance.backends[0].stop()

        def named() -> bool:
            return any("no event announced a change in web" in p for p in one.problems())

        until(named, 30, 0.05)
        (problem,) = one.problems()
        assert "add `log global` to it" in problem
        began = time.monotonic()
        one.appliance.backends[1].stop()
        one.wire.wait(0, 20)
        assert max(one.wire.list_first_changes(began)) - began < 0.25 + SLACK
        shown = run_anycastd(
            one.appliance, "status", "--directory", one.appliance.directory_of("agent")
        )
        assert "log global" in " ".join(shown.split())
        # A reload that mends it ends the polling.
        for backend in one.appliance.backends:
            backend.start()
        one.wait_well()
        one.reload(("    no log\n", ""))
        until(lambda: one.problems() == [], 30, 0.05)
