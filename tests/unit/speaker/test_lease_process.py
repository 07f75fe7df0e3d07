"""The lease process itself, over real pipes and its real socket; the test plays ExaBGP."""

from __future__ import annotations

import contextlib
import itertools
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
from support.processes import read_memory, signal_pid

PEER = "192.0.2.4"
CHECKOUT = Path(__file__).resolve().parents[3]

# In place of ExaBGP: the parent of the lease process, which it may kill.
PARENT = """\
import subprocess, sys
subprocess.Popen(sys.argv[1:]).wait()
"""

SUMMARY = "Peer  AS  up/down  state  #sent  #recvd\n{peer} 65515 0:00:05 established 1 1\ndone\n"


def vip(number: int) -> str:
    """Return the VIP with a number."""
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
    """Build a Want of ``count`` routes; those that are not ``alike`` need one command each."""
    routes = tuple(
        Route(PEER, vip(n), "192.0.2.10", (65010,) * asns, None if alike else n)
        for n in range(count)
    )
    return Want(serial, ttl, routes, epoch, os.getpid()).dump()


class Rig:
    """A lease process, and a thread that plays ExaBGP and answers every command.

    ``received`` are all commands so far; ``paused`` stops the thread from reading.
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
        command = [
            sys.executable,
            "-P",
            "-m",
            "anycastd.speaker.lease_process",
            str(directory / "lease.json"),
        ]
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT), "ANYCASTD_LOADED": ""} | environment,
        )
        self.received: list[str] = []
        self.paused = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        until(self.socket.exists, 10)

    def close(self) -> None:
        """Stop the thread and all processes."""
        self._stop.set()
        self._thread.join(5)
        self.parent.kill()
        self.parent.wait()
        for pipe in (self.parent.stdin, self.parent.stdout, self.parent.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    @property
    def pid(self) -> int:
        """Return the pid of the lease process."""
        where = Path(f"/proc/{self.parent.pid}/task/{self.parent.pid}/children")
        return int(wait_for(where.read_text, 5).split()[0])

    def write(self, text: str) -> None:
        """Write a text as ExaBGP."""
        assert self.parent.stdin is not None
        self.parent.stdin.write(text.encode())
        self.parent.stdin.flush()

    def event(self, state: str) -> None:
        """Write, as ExaBGP, that the session changed."""
        neighbor = {"address": {"local": "192.0.2.10", "peer": PEER}, "state": state}
        self.write(json.dumps({"type": "state", "neighbor": neighbor}) + "\n")

    def commands(self, *verbs: str) -> list[str]:
        """Return the commands so far that have one of ``verbs``."""
        return [
            line for line in list(self.received) if line.split()[2:3] and line.split()[2] in verbs
        ]

    def _run(self) -> None:
        assert self.parent.stdout is not None
        rest = b""
        while not self._stop.is_set():
            if self.paused.is_set() or not select.select([self.parent.stdout], [], [], 0.02)[0]:
                self._stop.wait(0.01)
                continue
            data = os.read(self.parent.stdout.fileno(), 65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._answer(line.decode())

    def _answer(self, line: str) -> None:
        self.received.append(line)
        with contextlib.suppress(OSError):
            if line == "version":
                self.write("exabgp 5.0.15\ndone\n")
            elif line == "show neighbor summary":
                self.write(SUMMARY.format(peer=PEER))
            elif not line.startswith("#"):
                self.write("done\n")


class Agent:
    """A connection to the lease process."""

    def __init__(self, rig: Rig) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(str(rig.socket))
        self.connection.settimeout(10)
        self.stream = self.connection.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.connection.close()

    def send(self, line: bytes) -> None:
        """Send a line."""
        self.connection.sendall(line)

    def read_report(self) -> Report:
        """Read the next report."""
        return Report.load(self.stream.readline())

    def read_until_acked(self, serial: int) -> Report:
        """Read reports until one confirms ``serial``."""
        while (report := self.read_report()).acked != serial:
            pass
        return report

    def is_closed(self) -> bool:
        """Read to the end; True once the lease process has closed the connection."""
        try:
            while self.stream.readline():
                pass
        except ConnectionResetError:
            pass
        return True


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Yield a lease process that has sent its first queries."""
    one = Rig(tmp_path)
    try:
        until(lambda: "show adj-rib out extensive" in one.received, 10)
        yield one
    finally:
        one.close()


def test_a_want_may_come_in_pieces(rig: Rig) -> None:
    """A line is handled when it is complete, and not before."""
    with Agent(rig) as agent:
        assert agent.read_report().leased == ()
        line = want(1)
        for byte in line[:-1]:
            agent.send(bytes([byte]))
        with Agent(rig) as other:  # it has been served after all those pieces
            assert other.read_report().leased == ()
        assert not rig.commands("announce")
        agent.send(line[-1:])
        assert agent.read_until_acked(1).neighbors[PEER].unconfirmed == 0
        assert len(rig.commands("announce")) == 1


def test_what_waited_during_a_stall_is_one_state(rig: Rig) -> None:
    """Only the newest Want counts: no command is sent for those before it."""
    with Agent(rig) as agent:
        agent.read_report()
        signal_pid(rig.pid, signal.SIGSTOP)
        for serial in range(1, 51):
            agent.send(want(serial, asns=1 + serial % 2))
        agent.send(want(51, count=0, ttl=0))
        signal_pid(rig.pid, signal.SIGCONT)
        agent.read_until_acked(51)
    assert not rig.commands("announce", "withdraw")


def test_a_stall_longer_than_the_lease_ends_no_lease(rig: Rig) -> None:
    """Of a stall, own time counts two ticks: the agent was perhaps stopped just as long."""
    with Agent(rig) as agent:
        agent.send(want(1, ttl=4.0))
        agent.read_until_acked(1)
        signal_pid(rig.pid, signal.SIGSTOP)
        ends_at = time.monotonic() + 4.5
        wait_for(lambda: time.monotonic() >= ends_at, 10, "time to pass")
        signal_pid(rig.pid, signal.SIGCONT)
        with Agent(rig) as other:  # served, and ticked, while nothing renews the lease
            other.read_report()
        agent.send(want(2, ttl=4.0))
        assert agent.read_until_acked(2).expirations == 0
    assert not rig.commands("withdraw")


def test_a_verb_and_a_state_that_came_together_both_count(rig: Rig) -> None:
    """Neither replaces the other; the profile that cannot be read is named."""
    with Agent(rig) as agent:
        assert agent.read_report().reload == "ready"
        agent.send(want(1) + Reload().dump())
        report = agent.read_report()
        while not report.problems:
            report = agent.read_report()
        assert "profile.yaml: cannot be read" in report.problems[0]
        assert (report.acked, report.reload) == (1, "ready")
    # On a slow machine the table is read back meanwhile, and what it lacks is announced again.
    sent = rig.received[rig.received.index(rig.commands("announce")[0]) :]
    unread = itertools.takewhile(lambda line: line != "show adj-rib out extensive", sent)
    assert sum(line.split()[2:3] == ["announce"] for line in unread) == 1
    assert len(set(rig.commands("announce"))) == 1


def test_the_last_word_of_an_agent_that_leaves_is_heard(rig: Rig) -> None:
    """It writes and closes at once; the lease lasts for the ttl of that Want."""
    with Agent(rig) as agent:
        agent.read_report()
        agent.send(want(1, ttl=2.0))
    until(lambda: rig.commands("announce"))
    began = time.monotonic()
    until(lambda: rig.commands("withdraw"))
    assert 1.0 <= time.monotonic() - began <= 6.0


def test_an_exabgp_that_reads_late_is_waited_for(rig: Rig) -> None:
    """More commands than a pipe takes: agents are served meanwhile, and no line is cut."""
    with Agent(rig) as agent:
        agent.read_report()
        rig.paused.set()
        agent.send(want(1, count=1000, asns=20, alike=False))
        assert agent.read_report().neighbors[PEER].unconfirmed == 1000
        with Agent(rig) as other:
            assert len(other.read_report().leased or ()) == 1000
        rig.paused.clear()
        agent.read_until_acked(1)
    lines = rig.commands("announce")
    assert [line.split()[4] for line in lines] == [vip(n) for n in range(1000)]
    assert [line.split()[-2:] for line in lines] == [["med", str(n)] for n in range(1000)]


def test_who_does_not_read_is_let_go(rig: Rig) -> None:
    """A connection that reads nothing costs bounded memory, and does not disturb others."""
    with Agent(rig) as idle, Agent(rig) as agent:
        agent.read_report()
        serial = 0
        while serial < 200 and "closed" not in _state(idle):
            serial += 1
            agent.send(want(serial, count=1000, asns=40 + serial % 2))
            agent.read_until_acked(serial)
            rig.event("down")
            rig.event("up")
        assert idle.is_closed()
        assert serial < 200
        serial += 1
        agent.send(want(serial, count=1))
        assert agent.read_until_acked(serial).serial == serial


def _state(agent: Agent) -> str:
    """Return whether the other end has closed, without reading."""
    poll = select.poll()
    poll.register(agent.connection, select.POLLRDHUP)
    return "closed" if poll.poll(0) else "open"


def test_there_is_always_room_for_an_agent(rig: Rig) -> None:
    """The oldest connection that does not own the lease is closed, not the newest one."""
    with contextlib.ExitStack() as stack:
        owner = stack.enter_context(Agent(rig))
        owner.read_report()
        owner.send(want(1))
        owner.read_until_acked(1)
        idle = [stack.enter_context(Agent(rig)) for _ in range(15)]
        for one in idle:
            one.read_report()
        newcomer = stack.enter_context(Agent(rig))
        assert newcomer.read_report().leased
        assert idle[0].is_closed()
        owner.send(want(2))
        assert owner.read_until_acked(2).serial == 2
        newcomer.send(want(1, epoch=2))
        assert newcomer.read_until_acked(1).serial == 1
        assert owner.is_closed()


def test_another_version_is_refused_with_words(rig: Rig) -> None:
    """The agent is told why, before its connection is closed."""
    with Agent(rig) as agent:
        agent.read_report()
        agent.send(want(1).replace(b'"v":1', b'"v":2'))
        assert agent.read_report().refused == (
            "version 2 of the lease's messages; version 1 is spoken here"
        )
        assert agent.is_closed()
    assert not rig.commands("announce")


def test_a_line_without_an_end_is_cut_off(rig: Rig) -> None:
    """A connection cannot fill the memory."""
    with Agent(rig) as agent:
        agent.read_report()
        with contextlib.suppress(OSError):
            agent.send(b"x" * (MAX_MESSAGE + (1 << 20)))
        assert agent.is_closed()
    with Agent(rig) as agent:
        assert agent.read_report().lease_id


def test_systemd_is_told_what_exabgp_answers(tmp_path: Path) -> None:
    """Ready at its first answer; each answer feeds the watchdog, and nothing else does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        one = Rig(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="30000000")
        try:
            assert systemd.recv(100) == b"READY=1\nSTATUS=ExaBGP 5.0.15"
            assert systemd.recv(100) == b"WATCHDOG=1"
            one.paused.set()
            while select.select([systemd], [], [], 1.0)[0]:
                systemd.recv(100)  # what was on its way
            one.event("down")
            one.event("up")
            systemd.settimeout(2.5)
            with pytest.raises(TimeoutError):
                systemd.recv(100)
        finally:
            one.close()


def test_a_line_of_exabgp_that_never_ends(rig: Rig) -> None:
    """It costs no memory, and what does not answer meanwhile is ended: nothing stays announced."""
    with Agent(rig) as agent:
        agent.read_report()
        agent.send(want(1))
        agent.read_until_acked(1)
        pid, before = rig.pid, read_memory(rig.pid)
        peak, began = before, time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            while rig.parent.poll() is None and time.monotonic() - began < 20:
                rig.write("x" * 65536)
                with contextlib.suppress(OSError, StopIteration):
                    peak = max(peak, read_memory(pid))
        rig.parent.wait(20)
        assert 2 < time.monotonic() - began < 15
        assert peak - before < 20


@pytest.mark.parametrize(
    "line",
    [
        '{"type":' + "[" * 100_000,
        '{"type": "state", "neighbor": {"address": {"peer": "192.0.2.4"}, "state": "down", '
        '"reason": "notification sent (' + "1" * 4401 + ',2)"}}',
        '{"type": "anycastd", "loaded": ' + "9" * 5000 + "}",
        "done\n" * 1000,
        "\0" * 100_000,
    ],
    ids=["deep", "digits", "number", "done", "NUL"],
)
def test_lines_that_exabgp_should_never_say(rig: Rig, line: str) -> None:
    """The lease process goes on: the next Want is sent and confirmed."""
    with Agent(rig) as agent:
        agent.read_report()
        agent.send(want(1))
        agent.read_until_acked(1)
        pid = rig.pid
        rig.write(line + "\n")
        agent.send(want(2, asns=2))
        agent.read_until_acked(2)
        assert rig.pid == pid
        assert len(rig.commands("announce")) == 2


def test_the_loaded_file_is_told_to_be_old(rig: Rig) -> None:
    """It has no list of routes: that is logged, and only prefix, neighbor and ASN count."""
    with Agent(rig) as agent:
        agent.read_report()
        agent.send(want(1, asns=9))
        agent.read_until_acked(1)
    rig.parent.kill()
    rig.parent.wait()
    assert rig.parent.stderr is not None
    assert "has no list of routes" in rig.parent.stderr.read().decode()
