"""The lease process itself, over real pipes and its real socket; the test plays ExaBGP."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from anycastd.bgp.route import Route
from anycastd.lease.messages import MAX_MESSAGE, Reload, Report, Want
from support.haproxy import until
from support.peer import wait_for

PEER = "192.0.2.4"
CHECKOUT = Path(__file__).resolve().parents[3]

# Stands where ExaBGP does: the parent that the lease process watches, and may end.
PARENT = """\
import subprocess, sys
subprocess.Popen(sys.argv[1:]).wait()
"""

SUMMARY = "Peer  AS  up/down  state  #sent  #recvd\n{peer} 65515 0:00:05 established 1 1\ndone\n"


def vip(number: int) -> str:
    """Give the VIP with a number."""
    return f"203.0.{113 + number // 250}.{number % 250}/32"


def want(
    serial: int,
    *,
    count: int = 1,
    asns: int = 1,
    ttl: float = 5.0,
    epoch: int = 1,
    alike: bool = True,
) -> bytes:
    """Give a Want of ``count`` routes; those that are not alike take a line of ExaBGP's each."""
    routes = tuple(
        Route(PEER, vip(n), "192.0.2.10", (65010,) * asns, None if alike else n)
        for n in range(count)
    )
    return Want(serial, ttl, routes, epoch, 7).dump()


class Bench:
    """A lease process, and ExaBGP played by a thread that answers all that it hears.

    ``heard`` is every command so far; ``deaf`` stops the thread from reading.
    """

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self.socket = directory / "lease.sock"
        settings = {
            "v": 1,
            "socket": str(self.socket),
            "profile": str(directory / "profile.yaml"),
            "prefixes": [vip(n) for n in range(1000)],
            "neighbors": [PEER],
            "local_as": 65010,
            "ttl_max": 30.0,
            "inherit": 5.0,
        }
        (directory / "lease.json").write_text(json.dumps(settings), encoding="utf-8")
        keeper = [
            sys.executable,
            "-P",
            "-m",
            "anycastd.speaker.lease_process",
            str(directory / "lease.json"),
        ]
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, *keeper],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT), "ANYCASTD_LOADED": ""} | environment,
        )
        self.heard: list[str] = []
        self.deaf = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()
        until(self.socket.exists, 10)

    def close(self) -> None:
        """End everything."""
        self._over.set()
        self._thread.join(5)
        self.parent.kill()
        self.parent.wait()
        for pipe in (self.parent.stdin, self.parent.stdout, self.parent.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    @property
    def pid(self) -> int:
        """The lease process's own."""
        where = Path(f"/proc/{self.parent.pid}/task/{self.parent.pid}/children")
        return int(wait_for(where.read_text, 5).split()[0])

    def tell(self, text: str) -> None:
        """Say something as ExaBGP."""
        assert self.parent.stdin is not None
        self.parent.stdin.write(text.encode())
        self.parent.stdin.flush()

    def event(self, state: str) -> None:
        """Say as ExaBGP that the session changed."""
        neighbor = {"address": {"local": "192.0.2.10", "peer": PEER}, "state": state}
        self.tell(json.dumps({"type": "state", "neighbor": neighbor}) + "\n")

    def said(self, *words: str) -> list[str]:
        """Give the commands so far that begin a route's change."""
        return [line for line in list(self.heard) if line.split()[2:3] and line.split()[2] in words]

    def _play(self) -> None:
        assert self.parent.stdout is not None
        rest = b""
        while not self._over.is_set():
            if self.deaf.is_set() or not select.select([self.parent.stdout], [], [], 0.02)[0]:
                self._over.wait(0.01)
                continue
            data = os.read(self.parent.stdout.fileno(), 65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._answer(line.decode())

    def _answer(self, line: str) -> None:
        self.heard.append(line)
        with contextlib.suppress(OSError):
            if line == "version":
                self.tell("exabgp 5.0.15\ndone\n")
            elif line == "show neighbor summary":
                self.tell(SUMMARY.format(peer=PEER))
            elif not line.startswith("#"):
                self.tell("done\n")


class Agent:
    """A connection to the lease process."""

    def __init__(self, bench: Bench) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(str(bench.socket))
        self.connection.settimeout(10)
        self.stream = self.connection.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.connection.close()

    def say(self, line: bytes) -> None:
        """Say a line."""
        self.connection.sendall(line)

    def report(self) -> Report:
        """Hear the next report."""
        return Report.load(self.stream.readline())

    def confirmed(self, serial: int) -> Report:
        """Hear reports until one confirms ``serial``."""
        while (report := self.report()).acked != serial:
            pass
        return report

    def ended(self) -> bool:
        """Whether the lease process closes the connection, after whatever it still says."""
        try:
            while self.stream.readline():
                pass
        except ConnectionResetError:
            pass
        return True


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Give a lease process that has asked its first questions."""
    one = Bench(tmp_path)
    try:
        until(lambda: "show adj-rib out extensive" in one.heard, 10)
        yield one
    finally:
        one.close()


def test_a_want_may_come_in_pieces(bench: Bench) -> None:
    """A line is taken when it is whole, and not before."""
    with Agent(bench) as agent:
        assert agent.report().leased == ()
        line = want(1)
        for byte in line[:-1]:
            agent.say(bytes([byte]))
        with Agent(bench) as other:  # it has been served after all those pieces
            assert other.report().leased == ()
        assert not bench.said("announce")
        agent.say(line[-1:])
        assert agent.confirmed(1).neighbors[PEER].unconfirmed == 0
        assert len(bench.said("announce")) == 1


def test_what_waited_during_a_stall_is_one_state(bench: Bench) -> None:
    """The newest counts: ExaBGP never hears of the ones before it."""
    with Agent(bench) as agent:
        agent.report()
        os.kill(bench.pid, signal.SIGSTOP)
        for serial in range(1, 51):
            agent.say(want(serial, asns=1 + serial % 2))
        agent.say(want(51, count=0, ttl=0))
        os.kill(bench.pid, signal.SIGCONT)
        agent.confirmed(51)
    assert not bench.said("announce", "withdraw")


def test_a_verb_and_a_state_that_came_together_both_count(bench: Bench) -> None:
    """Neither takes the other's place; the file that cannot be read is named."""
    with Agent(bench) as agent:
        assert agent.report().reload == "ready"
        agent.say(want(1) + Reload().dump())
        report = agent.report()
        while not report.problems:
            report = agent.report()
        assert "profile.yaml: cannot be read" in report.problems[0]
        assert (report.acked, report.reload) == (1, "ready")
    assert len(bench.said("announce")) == 1


def test_the_last_word_of_an_agent_that_leaves_is_heard(bench: Bench) -> None:
    """It writes and closes at once; the lease is kept for the time that it said."""
    with Agent(bench) as agent:
        agent.report()
        agent.say(want(1, ttl=1.0))
    until(lambda: bench.said("announce"), 5)
    began = time.monotonic()
    until(lambda: bench.said("withdraw"), 5)
    assert 0.8 <= time.monotonic() - began <= 2.0


def test_an_exabgp_that_reads_late_is_waited_for(bench: Bench) -> None:
    """More than a pipe holds: agents are served meanwhile, and no line is torn."""
    with Agent(bench) as agent:
        agent.report()
        bench.deaf.set()
        agent.say(want(1, count=1000, asns=20, alike=False))
        assert agent.report().neighbors[PEER].unconfirmed == 1000
        with Agent(bench) as other:
            assert len(other.report().leased or ()) == 1000
        bench.deaf.clear()
        agent.confirmed(1)
    lines = bench.said("announce")
    assert [line.split()[4] for line in lines] == [vip(n) for n in range(1000)]
    assert [line.split()[-2:] for line in lines] == [["med", str(n)] for n in range(1000)]


def test_who_does_not_read_is_let_go(bench: Bench) -> None:
    """An onlooker that takes nothing costs a bounded amount, and nobody else anything."""
    with Agent(bench) as idle, Agent(bench) as agent:
        agent.report()
        serial = 0
        while serial < 200 and "closed" not in _state(idle):
            serial += 1
            agent.say(want(serial, count=1000, asns=40 + serial % 2))
            agent.confirmed(serial)
            bench.event("down")
            bench.event("up")
        assert idle.ended()
        assert serial < 200
        serial += 1
        agent.say(want(serial, count=1))
        assert agent.confirmed(serial).serial == serial


def _state(agent: Agent) -> str:
    """Whether the other end has closed, without reading."""
    poll = select.poll()
    poll.register(agent.connection, select.POLLRDHUP)
    return "closed" if poll.poll(0) else "open"


def test_there_is_always_room_for_an_agent(bench: Bench) -> None:
    """The oldest of those that only look on has to go, not the newcomer and not the holder."""
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(Agent(bench))
        holder.report()
        holder.say(want(1))
        holder.confirmed(1)
        idle = [stack.enter_context(Agent(bench)) for _ in range(15)]
        for one in idle:
            one.report()
        newcomer = stack.enter_context(Agent(bench))
        assert newcomer.report().leased
        assert idle[0].ended()
        holder.say(want(2))
        assert holder.confirmed(2).serial == 2
        newcomer.say(want(1, epoch=2))
        assert newcomer.confirmed(1).serial == 1
        assert holder.ended()


def test_another_version_is_refused_with_words(bench: Bench) -> None:
    """Who speaks it hears why, before the connection is closed."""
    with Agent(bench) as agent:
        agent.report()
        agent.say(want(1).replace(b'"v":1', b'"v":2'))
        assert agent.report().refused == (
            "version 2 of the lease's messages; version 1 is spoken here"
        )
        assert agent.ended()
    assert not bench.said("announce")


def test_a_line_without_an_end_is_cut_off(bench: Bench) -> None:
    """Nobody fills our memory."""
    with Agent(bench) as agent:
        agent.report()
        with contextlib.suppress(OSError):
            agent.say(b"x" * (MAX_MESSAGE + (1 << 20)))
        assert agent.ended()
    with Agent(bench) as agent:
        assert agent.report().instance


def test_systemd_is_told_what_exabgp_answers(tmp_path: Path) -> None:
    """Ready at its first answer, the watchdog fed by each, and by nothing else."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        one = Bench(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="30000000")
        try:
            assert systemd.recv(100) == b"READY=1\nSTATUS=ExaBGP 5.0.15"
            assert systemd.recv(100) == b"WATCHDOG=1"
            one.deaf.set()
            while select.select([systemd], [], [], 0.2)[0]:
                systemd.recv(100)  # what was on its way
            one.event("down")
            one.event("up")
            systemd.settimeout(2.5)
            with pytest.raises(TimeoutError):
                systemd.recv(100)
        finally:
            one.close()
