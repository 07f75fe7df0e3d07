"""Tests of the load client: its schedule, and the result of each request."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from anycastd.lab.network.appliance import PYTHON
from anycastd.lab.network.namespaces import Nodes
from anycastd.lab.network.outage import RequestResult

pytestmark = pytest.mark.root

# Answers each connection by its number: whole, 503, cut short, never, reset.
SERVER = """
import socket, struct, time
listener = socket.create_server(("127.0.0.1", 80), backlog=100)
open_ones = []
whole = b"HTTP/1.1 200 OK\\r\\nX-Region: here\\r\\nX-Server: s\\r\\nContent-Length: 2\\r\\n\\r\\nok"
number = 0
while True:
    connection, _ = listener.accept()
    connection.recv(1000)
    kind = number % 5
    number += 1
    if kind == 0:
        connection.sendall(whole[:30]); time.sleep(0.002); connection.sendall(whole[30:])
    elif kind == 1:
        connection.sendall(b"HTTP/1.1 503 Service Unavailable\\r\\nContent-Length: 0\\r\\n\\r\\n")
    elif kind == 2:
        connection.sendall(whole[:-1])
    elif kind == 3:
        open_ones.append(connection)
        continue
    else:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
"""


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Make one node with nothing but a loopback."""
    with Nodes(("only",)) as made:
        yield made


def run_client(nodes: Nodes, requests: int) -> list[RequestResult]:
    """Send at least ``requests`` requests to 127.0.0.1, one each 10 ms; return the results."""
    argv = (
        *PYTHON,
        "anycastd.lab.programs.load_client",
        "127.0.0.1",
        "--interval=0.01",
        "--timeout=0.2",
    )
    process = nodes.start("only", "load", *argv)
    deadline = time.monotonic() + 60
    while process.log.read_text(encoding="utf-8").count("\n") < requests:
        assert time.monotonic() < deadline, process.log_tail()
        time.sleep(0.01)
    process.terminate()
    process.wait(30)
    lines = process.log.read_text(encoding="utf-8").splitlines()
    return sorted((RequestResult(**json.loads(line)) for line in lines), key=lambda one: one.number)


def test_each_request_is_judged(nodes: Nodes) -> None:
    """Only complete answers are good; the results say how the other requests failed."""
    nodes.start("only", "server", sys.executable, "-c", SERVER)
    nodes.run("only", "sh", "-c", "until ss -ltn | grep -q :80; do sleep 0.01; done")
    answers = run_client(nodes, 100)
    seen = Counter((answer.ok, answer.detail) for answer in answers)
    assert set(seen) == {
        (True, ""),
        (False, "status 503"),
        (False, "connection closed before the whole answer"),
        (False, "no whole answer in 200 ms"),
        (False, "connection reset by peer"),
    }
    assert all(number > 10 for number in seen.values())
    assert all((one.region, one.server) == ("here", "s") for one in answers if one.ok)


def test_it_asks_on_schedule_whatever_the_answers(nodes: Nodes) -> None:
    """Without any answer, requests are still 10 ms apart and end at their timeout."""
    silent = "import socket, time; s = socket.create_server(('127.0.0.1', 80)); time.sleep(100)"
    nodes.start("only", "server", sys.executable, "-c", silent)
    nodes.run("only", "sh", "-c", "until ss -ltn | grep -q :80; do sleep 0.01; done")
    answers = run_client(nodes, 100)
    assert [answer.number for answer in answers] == list(range(len(answers)))
    steps = [later.due_at - one.due_at for one, later in itertools.pairwise(answers)]
    assert all(abs(step - 0.01) < 1e-6 for step in steps)
    took = sorted(answer.ended_at - answer.sent_at for answer in answers)
    assert took[0] >= 0.2
    assert took[len(took) // 2] < 0.5
    late = sorted(answer.sent_at - answer.due_at for answer in answers)
    # The median: a busy machine may delay single requests; an answer takes 0.2 s.
    assert late[len(late) // 2] < 0.05


def test_refused_connections_fail_at_once(nodes: Nodes) -> None:
    """Without a server each request fails long before its timeout."""
    answers = run_client(nodes, 20)
    assert {answer.detail for answer in answers} == {"connection refused"}
    assert sorted(answer.ended_at - answer.sent_at for answer in answers)[10] < 0.15


def test_requests_on_their_way_are_still_judged_after_the_end(nodes: Nodes) -> None:
    """After SIGTERM the requests under way still get a result."""
    silent = "import socket, time; s = socket.create_server(('127.0.0.1', 80)); time.sleep(100)"
    nodes.start("only", "server", sys.executable, "-c", silent)
    nodes.run("only", "sh", "-c", "until ss -ltn | grep -q :80; do sleep 0.01; done")
    answers = run_client(nodes, 1)
    assert answers[-1].detail == "no whole answer in 200 ms"
    assert answers[-1].due_at - answers[0].due_at > 0.1
