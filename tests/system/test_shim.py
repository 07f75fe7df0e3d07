"""The shim: each patch shown on a real session, beside the same ExaBGP without it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.lease.commands import Announce, Answer, QuerySessions, Withdraw
from anycastd.speaker.exabgp.patches.timers import MIN_REDIAL_DELAY
from support.bgp_wire import Closed, Opened, Refreshed
from support.bird import Bird, find_bird
from support.exabgp import (
    CHECKOUT,
    FIRST,
    LOCAL,
    SECOND,
    STEPPED,
    ExaBGP,
    loopback_profile,
    run_python,
)
from support.peer import Peer, free_port, wait_for
from support.processes import signal_pid

ROUTE = Route(FIRST, "203.0.113.10/32", LOCAL, (65010, 65010))


PARENT = """\
import os, subprocess, sys
subprocess.Popen(sys.argv[1:], env=dict(os.environ, ANYCASTD_PARENT=str(os.getpid()))).wait()
"""


@contextlib.contextmanager
def stepping(python: str, directory: Path, *, patched: bool) -> Iterator[tuple[Peer, Path]]:
    """Yield a session with hold time 3 s, and a file: its number is added to the wall clock."""
    hook, mark = directory / "hook", directory / "step"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(STEPPED.format(mark=str(mark)), encoding="utf-8")
    with (
        Peer(FIRST) as peer,
        ExaBGP(
            python, directory, peer.port, given=loopback_profile(3), patched=patched, path=[hook]
        ),
    ):
        peer.wait_up()
        yield peer, mark


def test_a_step_of_the_wall_clock_changes_nothing(exabgp_python: str, tmp_path: Path) -> None:
    """A minute forth and back: keepalives go on for longer than the hold time, nothing closes."""
    with stepping(exabgp_python, tmp_path, patched=True) as (peer, mark):
        for step in ("60", "0"):
            mark.write_text(step, encoding="utf-8")
            enough = peer.keepalives + 4
            peer.wait(lambda peer: peer.keepalives >= enough, 20)  # noqa: B023 - waited for here
        assert not peer.list_events(Closed)


@pytest.mark.parametrize("step", ["60", "-60"])
def test_without_the_shim_a_step_closes_the_session(
    exabgp_python: str, tmp_path: Path, step: str
) -> None:
    """Proves that the test before would fail without the patch."""
    with stepping(exabgp_python, tmp_path, patched=False) as (peer, mark):
        mark.write_text(step, encoding="utf-8")
        peer.wait(lambda _: peer.list_events(Closed), 20)
        assert peer.list_events(Closed)[0].code == 4, "hold timer expired, theirs or ours"


@pytest.mark.parametrize("patched", [True, False], ids=["shim", "bare"])
def test_a_child_that_dies_with_much_to_read_moves_nothing(
    exabgp_python: str, tmp_path: Path, *, patched: bool
) -> None:
    """ExaBGP starts another one and serves its sessions; bare, its sessions are lost."""
    many = [
        replace(
            ROUTE,
            prefix=f"203.0.{113 + number // 250}.{number % 250}/32",
            communities=tuple(f"65010:{value}" for value in range(20)),
        )
        for number in range(400)
    ]
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port, patched=patched) as exabgp:
        peer.wait_up()
        exabgp.send(*map(Announce, many))
        exabgp.wait_answered()
        exabgp.write("show adj-rib out extensive\n" * 4)  # 600 kB, more than all buffers can take
        wait_for(lambda: exabgp.unread() > 20000, 10, "ExaBGP to be in the middle of its answer")
        signal_pid(exabgp.child(), signal.SIGKILL)
        exabgp.wait_for_child()
        sessions = exabgp.ask(QuerySessions()).sessions
        if not patched:
            assert sessions == {FIRST: Session.DOWN, SECOND: Session.DOWN}
            return
        assert sessions == {FIRST: Session.UP, SECOND: Session.DOWN}
        assert exabgp.ask(Withdraw(many[0])) == Answer(Withdraw(many[0]))
        peer.wait(lambda _: len(peer.table) == len(many) - 1, 30)
        assert not peer.list_events(Closed)


def test_what_is_offered_to_a_peer(exabgp_python: str, tmp_path: Path) -> None:
    """Route refresh always, graceful restart never, enhanced refresh where it works; no log."""
    with (
        Peer(FIRST, refresh="enhanced") as peer,
        Peer(SECOND, peer.port) as second,
        ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp,
    ):
        peer.wait_up()
        second.wait_up()
        (opened,) = peer.list_events(Opened)
        assert opened.peer_as == 65010
        assert opened.hold_time == 9
        assert opened.router_id == LOCAL
        assert 2 in opened.capabilities
        assert 64 not in opened.capabilities
        exabgp.ask(Announce(ROUTE))
        peer.wait(lambda _: peer.table)
        peer.ask_refresh()
        peer.wait(lambda _: len(peer.updates) == 2, what="the route once more")
        assert peer.updates[0].announced == peer.updates[1].announced
        assert bool(peer.list_events(Refreshed)) == (70 in opened.capabilities)
        assert not peer.list_events(Closed)
        assert exabgp.log.read_text(encoding="utf-8") == ""


@pytest.mark.skipif(find_bird() is None, reason="needs BIRD: apt install bird2")
@pytest.mark.parametrize("patched", [True, False], ids=["shim", "bare"])
def test_birds_refresh_leaves_the_session_up(
    exabgp_python: str, tmp_path: Path, *, patched: bool
) -> None:
    """BIRD knows RFC 7313 and asks for a refresh: 4.2 without the shim closes the session."""
    port = free_port(FIRST)
    with (
        Bird(tmp_path, FIRST, port) as bird,
        ExaBGP(exabgp_python, tmp_path, port, patched=patched) as exabgp,
    ):
        wait_for(bird.established, 30, "BIRD's session")
        exabgp.ask(Announce(ROUTE))
        wait_for(lambda: ROUTE.prefix in bird.ask("show route"), 20, "the route")
        before = bird.imported()
        bird.ask("reload in speaker")
        if exabgp.version().startswith("4.") and not patched:
            exabgp.wait(lambda _: "down" in exabgp.changes())
            return
        wait_for(lambda: bird.imported() > before, 20, "the refreshed route")
        assert exabgp.changes() == ["up"]
        exabgp.ask(Withdraw(ROUTE))
        wait_for(lambda: ROUTE.prefix not in bird.ask("show route"), 20, "no route")
        assert bird.established()


def test_a_redial_never_waits_long(exabgp_python: str) -> None:
    """After a night of refused connections the next one is seconds away, not a minute."""
    ask = (
        "from exabgp.reactor.delay import Delay; delay = Delay()\n"
        "for _ in range(40): delay.increase()\n"
        "print(delay._next)"
    )
    patch = "from anycastd.speaker.exabgp import shim; shim.apply_patches()\n"
    assert run_python(exabgp_python, patch + ask).stdout == "5\n"
    assert run_python(exabgp_python, ask).stdout == "60\n"


def test_a_lost_session_is_not_back_at_once(exabgp_python: str, tmp_path: Path) -> None:
    """The agent has a second to see the loss, before its peer has the routes again."""
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port):
        peer.wait_up()
        peer.drop(6, 4)
        peer.wait(lambda _: len(peer.list_events(Opened)) == 2, 30)
        away = peer.list_events(Opened)[1].at - peer.list_events(Closed)[0].at
        assert away >= MIN_REDIAL_DELAY * 0.9


class Slow(Peer):
    """A peer that waits between the connection and its OPEN."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.connected, self.ready = threading.Event(), threading.Event()

    def _run_session(self, connection: socket.socket) -> Closed:
        self.connected.set()
        self.ready.wait(15)
        return super()._run_session(connection)


def test_what_was_withdrawn_before_a_session_stays_so(exabgp_python: str, tmp_path: Path) -> None:
    """Announced and withdrawn while the session comes up; bare, it begins with that route."""
    with Slow(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp:
        assert peer.connected.wait(30)
        longer = replace(ROUTE, as_path=(65010,) * 7)
        for command in (Announce(longer), Announce(ROUTE), Withdraw(ROUTE)):
            assert exabgp.ask(command).error is None
        peer.ready.set()
        peer.wait_up(40)
        exabgp.listen(0.5)
        assert not peer.table
        exabgp.send(Announce(ROUTE), Announce(ROUTE))
        peer.wait(lambda it: [each.as_path for each in it.table.values()] == [(65010, 65010)], 20)


def test_an_unanswered_dial_is_given_up(exabgp_python: str) -> None:
    """The kernel would retry for two minutes at growing intervals; two more SYNs are enough."""
    code = (
        "import socket\n"
        "from anycastd.speaker.exabgp import shim\n"
        "shim.apply_patches()\n"
        "from exabgp.protocol.family import AFI\n"
        "from exabgp.reactor.network.outgoing import Outgoing\n"
        "dial = Outgoing(AFI.ipv4, '127.0.0.1', '127.0.0.1')\n"
        "print(dial._setup(), dial.io.getsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT))\n"
    )
    assert run_python(exabgp_python, code).stdout.startswith("None 2\n")


def test_no_name_is_looked_up(exabgp_python: str) -> None:
    """A resolver that does not answer must not delay the start."""
    trap = "import socket; socket.getfqdn = lambda *_: print('asked') or 'nva.example.net'\n"
    patch = "from anycastd.speaker.exabgp import shim; shim.apply_patches()\n"
    start = "import exabgp.application.main; from exabgp.util.dns import warn; warn()\n"
    assert run_python(exabgp_python, trap + start).stdout == "asked\n"
    assert run_python(exabgp_python, trap + patch + start).stdout == ""


@pytest.mark.parametrize(
    "change",
    [
        "import exabgp.bgp.timer as m; m.SendTimer.need_ka = lambda self: False",
        "import exabgp.bgp.timer as m; del m.ReceiveTimer",
        "import exabgp.bgp.timer as m, datetime; m.time = datetime",
        "import exabgp.reactor.delay as m; m.Delay.backoff = lambda self: False",
        "import exabgp.reactor.api.processes as m; m.Processes.write = lambda *_: True",
        "import exabgp.util.dns as m; delattr(m, '__domain_name')",
        "import exabgp.version as m; m.release = '6.0.1'",
    ],
)
def test_another_exabgp_is_refused_and_left_alone(exabgp_python: str, change: str) -> None:
    """All patches or none: a patch without effect would be worse than a missing ExaBGP."""
    code = (
        f"{change}\n"
        "from anycastd.speaker.exabgp import shim\n"
        "import exabgp.reactor.delay as delay\n"
        "before = delay.Delay.increase\n"
        "code = shim.main(['/nonexistent/exabgp.conf'])\n"
        "print(code, delay.Delay.increase is before)"
    )
    done = run_python(exabgp_python, code)
    # the shim sends what goes to stdout to stderr, where ExaBGP's own log belongs
    assert done.stderr.splitlines()[-1] == "69 True", done.stderr
    assert done.stderr.startswith("anycastd speaker: ExaBGP ")
    assert "install" in done.stderr


def test_a_missing_exabgp_is_named(exabgp_python: str, tmp_path: Path) -> None:
    """The message names the package, and the interpreter."""
    (tmp_path / "exabgp.py").write_text("raise ImportError('no such thing')", encoding="utf-8")
    command = [
        exabgp_python,
        "-P",
        "-m",
        "anycastd.speaker.exabgp.shim",
        "/nonexistent/exabgp.conf",
    ]
    path = os.pathsep.join(map(str, (tmp_path, CHECKOUT)))
    done = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=dict(os.environ, PYTHONPATH=path),
    )
    assert done.returncode == 69
    assert exabgp_python in done.stderr
    assert "apt install python3-exabgp" in done.stderr


def test_only_the_standard_library_and_exabgp_are_loaded(exabgp_python: str) -> None:
    """The shim starts wherever ExaBGP does."""
    code = (
        "import sys; from anycastd.speaker.exabgp import shim\n"
        "shim.apply_patches(); print(*sys.modules)"
    )
    loaded = set(run_python(exabgp_python, code).stdout.split())
    ours = {name for name in loaded if name.startswith("anycastd.")}
    assert ours <= {
        "anycastd.bgp",
        "anycastd.bgp.negotiated",
        "anycastd.speaker",
        "anycastd.speaker.exabgp",
        "anycastd.speaker.exabgp.contract",
        "anycastd.speaker.exabgp.modules",
        "anycastd.speaker.exabgp.shim",
        "anycastd.system",
        "anycastd.system.exit_codes",
    } | {name for name in ours if f"{name}.".startswith("anycastd.speaker.exabgp.patches.")}
    assert not loaded & {"yaml", "jsonschema", "ctypes", "asyncio.events"} - _brought(exabgp_python)


def _brought(python: str) -> set[str]:
    """Return what ExaBGP's own modules load."""
    code = "import sys, exabgp.application.main; print(*sys.modules)"
    return set(run_python(python, code).stdout.split())


def test_it_ends_with_the_parent_that_asked_for_it(exabgp_python: str, tmp_path: Path) -> None:
    """In the foreground the sessions end with the agent, whatever ends it."""
    with Peer(FIRST) as peer:
        exabgp = ExaBGP(exabgp_python, tmp_path, peer.port)
        exabgp.command = [sys.executable, "-c", PARENT, *exabgp.command]
        with exabgp:
            peer.wait_up()
            signal_pid(exabgp.pid, signal.SIGKILL)
            peer.wait(lambda _: peer.list_events(Closed), 20)


def test_a_parent_that_is_gone_already_counts_as_well(exabgp_python: str) -> None:
    """It may have died before the shim could ask the kernel."""
    environment = dict(os.environ, PYTHONPATH=str(CHECKOUT), ANYCASTD_PARENT="1")
    command = [
        exabgp_python,
        "-P",
        "-m",
        "anycastd.speaker.exabgp.shim",
        "/nonexistent/exabgp.conf",
    ]
    done = subprocess.run(command, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
