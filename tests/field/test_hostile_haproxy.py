"""A HAProxy that answers anything: withdrawn in bound, never stuck, back when it is well."""

from __future__ import annotations

import itertools
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.appliance import Appliance, own_network
from support.haproxy import HAProxy, answer_fast, answer_slowly, replace_haproxy
from support.watched import DEADLINE, SLACK, Watched, run_anycastd

pytestmark = pytest.mark.root

MAX_RSS = 400 << 20
"""Bytes that the agent may have had at its worst; it has some 40 MB without hostile answers."""

Serve = Callable[[socket.socket, bytes], object]


class Impostor:
    """It passes questions on to a real HAProxy, and changes the answers while ``change`` is set."""

    def __init__(self, haproxy: HAProxy) -> None:
        self.haproxy = haproxy
        self.change: Callable[[str], str] | None = None
        self.instead: Serve | None = None
        self.answered = 0

    def serve(self, connection: socket.socket, request: bytes) -> None:
        """Answer one connection."""
        if self.instead is not None:
            self.answered += 1
            self.instead(connection, request)
            return
        answer = self.haproxy.ask(request.decode().strip())
        if self.change is not None:
            answer = self.change(answer)
            self.answered += 1
        connection.sendall(answer.encode(errors="surrogateescape"))

    def be_well(self) -> None:
        """Pass the answers on as they are."""
        self.change, self.instead, self.answered = None, None, 0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, Impostor]]:
    """Run one appliance whose agent asks an impostor, for the tests of this file."""
    place = tmp_path_factory.mktemp("one")
    path = place / "impostor.sock"
    with own_network(), Appliance(place, socket=path, ttl=3, deadline=DEADLINE) as one:
        impostor = Impostor(one.haproxy)
        with replace_haproxy(path, impostor.serve):
            one.start()
            yield Watched(one), impostor
            impostor.be_well()


def peak_memory(pid: int) -> int:
    """Return the most memory that a process has had, in bytes (VmHWM, proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def put_first(text: str, row: str, column: int, value: str) -> str:
    """Change a column of the first row that begins with ``row``."""
    lines = text.split("\n")
    at = next(n for n, line in enumerate(lines) if line.startswith(row))
    fields = lines[at].split(",")
    fields[column] = value
    lines[at] = ",".join(fields)
    return "\n".join(lines)


def put_info(text: str, name: str, value: str) -> str:
    """Change a line of ``show info``."""
    head, _, tail = text.partition(f"\n{name}: ")
    return f"{head}\n{name}: {value}\n{tail.partition(chr(10))[2]}"


NUMBER = itertools.count()
NOISE = random.Random(7)  # noqa: S311 - no secret
CHANGES: dict[str, Callable[[str], str]] = {
    "digits": lambda text: put_first(text, "web,s1,", 2, "1" * 4301),
    "digits of the pid": lambda text: put_info(text, "Pid", "9" * 5000),
    "digits of a weight": lambda text: put_first(text, "web,s1,", 18, "1" * 4301),
    "infinity": lambda text: put_info(text, "Uptime_sec", "1e999"),
    "quote": lambda text: put_first(text, "web,s1,", 56, '"' + "\n" * 150_000),
    "quotes": lambda text: put_first(text, "web,s1,", 56, '"' * 5_000_001),
    "a long row": lambda text: put_first(text, "web,s1,", 56, "a" * 5_000_000),
    "a long header": lambda text: put_first(text, "# pxname", 56, "a" * 5_000_000),
    "lines": lambda text: "\n".join(["# pxname,svname", *["web,s1"] * 2_000_000]) + "\n\n" + text,
    "info": lambda text: text[:-1] + "a: b\n" * 3_000_000 + "\n",
    "blocks": lambda text: "a\n\n" * 3_000_000 + text,
    "half": lambda text: text[: len(text) // 2],
    "wide characters": lambda text: put_first(text, "web,s1,", 56, "\U0001f600" * 4_000_000),
}
SERVES: dict[str, Serve] = {
    "drip": answer_slowly,
    "flood": answer_fast,
    "silent": lambda connection, _: connection.recv(1),
    "closed": lambda *_: None,
    "binary": lambda connection, _: connection.sendall(NOISE.randbytes(1_000_000)),
    "newlines": lambda connection, _: connection.sendall(b"\n" * 15_000_000),
    "http": lambda connection, _: connection.sendall(b"HTTP/1.0 400 Bad request\r\n\r\n\n\n"),
    "endless info": lambda connection, _: _send_endless(connection, b"Name: HAProxy\nPid: 1\n"),
    "endless rows": lambda connection, _: _send_endless(connection, b"# pxname,svname\nweb,s1\n"),
}


def _send_endless(connection: socket.socket, text: bytes) -> None:
    while True:
        connection.sendall(text * 1000)


def attack(pair: tuple[Watched, Impostor]) -> None:
    """Assert that the agent withdraws in bound, answers meanwhile, and recovers."""
    one, impostor = pair
    agent = one.appliance.agent
    assert agent is not None
    # Reading 16 MB takes a while beside other work.
    one.wire.wait(0, DEADLINE + SLACK + 8, one.appliance.log())
    before = impostor.answered
    text = run_anycastd(one.appliance, "status", "--directory", one.appliance.directory_of("agent"))
    assert "did not answer" not in text
    assert text.isprintable() or all(line.isprintable() for line in text.split("\n"))
    assert one.service()["reason"]["name"] in ("haproxy_silent", "answer_malformed")
    assert impostor.answered >= before > 0, "nobody asked the impostor"
    assert agent.poll() is None, one.appliance.log()
    impostor.be_well()
    one.wait_well()
    assert peak_memory(agent.pid) < MAX_RSS


@pytest.mark.parametrize("name", CHANGES)
def test_an_answer_with_something_in_it(pair: tuple[Watched, Impostor], name: str) -> None:
    """Real answers in which one thing is not as HAProxy writes it."""
    one, impostor = pair
    one.wait_well()
    impostor.change = CHANGES[name]
    attack(pair)


@pytest.mark.parametrize("name", SERVES)
def test_something_else_on_the_socket(pair: tuple[Watched, Impostor], name: str) -> None:
    """Bytes that are no answer."""
    one, impostor = pair
    one.wait_well()
    impostor.instead = SERVES[name]
    attack(pair)


def test_what_servers_say_is_shown_and_harmless(pair: tuple[Watched, Impostor]) -> None:
    """A text with escape sequences changes no route, and is printable in `status`."""
    one, impostor = pair
    one.wait_well()
    evil = "\x1b[2J\x1b]0;owned\x07\x1b[31m\u202e 203.0.113.10/32 PREFERRED"
    began = time.monotonic()
    impostor.change = lambda text: put_first(
        put_first(text, "web,s2,", 17, f"DOWN {evil}"), "web,s2,", 56, evil
    )
    found = ""
    while "owned" not in found and time.monotonic() < began + 30:
        where = ("--directory", one.appliance.directory_of("agent"))
        found = run_anycastd(one.appliance, "status", "web", *where)
    assert "\\x1b]0;owned\\x07" in found
    assert all(line.isprintable() for line in found.split("\n"))
    impostor.be_well()
    one.assert_calm(began, time.monotonic() - began)


def test_servers_that_track_ever_new_backends(pair: tuple[Watched, Impostor]) -> None:
    """Each answer names backends that were never heard of: bounded, and no route changes."""
    one, impostor = pair
    one.wait_well()
    began = time.monotonic()
    tracked = 31

    def track(text: str) -> str:
        return put_first(text, "web,s2,", tracked, f"backend{next(NUMBER)}/s")

    impostor.change = track
    one.assert_calm(began, 3.0)
    assert next(NUMBER) < 3.0 / 0.1 * 8 * 4, "asked again without a bound"
    impostor.be_well()
