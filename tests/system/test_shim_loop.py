"""ExaBGP's loop under the shim: it sleeps while nothing needs a turn, and is woken at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anycastd.bgp.route import Route
from anycastd.lease.commands import Announce, ConfigLoaded
from anycastd.speaker.directory import lease_command
from anycastd.speaker.exabgp import config as config_module
from support.bgp_wire import Closed, Opened
from support.exabgp import (
    FIRST,
    LOCAL,
    SECOND,
    ExaBGP,
    loopback_profile,
    run_python,
    start_changed_shim,
)
from support.peer import Peer, wait_for
from support.processes import signal_pid

ROUTE = Route(FIRST, "203.0.113.10/32", LOCAL, (65010,))
ALONE = loopback_profile(180, (f"    - {{address: {SECOND}, peer_as: 65515}}\n", ""))
BUSY = 97  # turns in a second of an ExaBGP that never sleeps longer

# ExaBGP's own loop, queue, listener and states, with a poller that counts; {change} is in it.
TURNS = """\
from collections import deque
from types import SimpleNamespace as Some
from anycastd.speaker.exabgp import shim
shim.apply_patches()
from exabgp.bgp.fsm import FSM
from exabgp.reactor.asynchronous import ASYNC
from exabgp.reactor.listener import Listener
from exabgp.reactor.loop import Reactor
from exabgp.rib.outgoing import OutgoingRIB

class Poller:
    found, slept = [], []
    def poll(self, sleep):
        if sleep:
            self.slept.append(sleep)
        return self.found if sleep else []

def new_peer(state=FSM.ESTABLISHED):
    rib = Some(outgoing=OutgoingRIB(True, set()))
    return Some(neighbor=Some(rib=rib), fsm=FSM(None, state))

loop, queue, listener = map(object.__new__, (Reactor, ASYNC, Listener))
queue._async, listener.serving = deque(), False
loop.asynchronous, loop.listener, loop._poller = queue, listener, Poller()
loop.processes = Some(fds=[])
loop._peers = {{"first": new_peer(), "second": new_peer()}}
take_turns = lambda count, sleep=10: [list(loop._wait_for_io(sleep)) for _ in range(count)]
{change}
take_turns(6)
print(*Poller.slept)
"""


@pytest.mark.parametrize(
    ("change", "slept"),
    [
        ("", "10 10 10 50 50 50"),
        ("loop._peers['second'].fsm.state = FSM.IDLE", "10 " * 6),
        ("loop._peers['second'].fsm.state = FSM.OPENCONFIRM", "10 " * 6),
        ("loop._peers['second'].neighbor.rib.outgoing._new_nlri['route'] = None", "10 " * 6),
        ("loop.asynchronous._async.append(('id', iter(())))", "10 " * 6),
        ("loop.listener.serving = True", "10 " * 6),
        ("take_turns(4); take_turns(1, 0)", "10 10 10 50 10 10 10 50 50 50"),
        (
            "take_turns(4); Poller.found = [(9, 1)]; take_turns(1); Poller.found = []",
            "10 10 10 50 50 10 10 10 50 50 50",
        ),
    ],
    ids=["idle", "down", "opening", "route", "command", "listener", "turn", "message"],
)
def test_what_may_need_a_turn_keeps_the_sleep_short(
    exabgp_python: str, change: str, slept: str
) -> None:
    """Each condition by itself; after anything that happened, a few turns are short."""
    done = run_python(exabgp_python, TURNS.format(change=change))
    assert done.stdout.split() == slept.split(), done.stderr


def read_wakes(exabgp: ExaBGP) -> int:
    """Return how often ExaBGP has slept so far."""
    text = Path(f"/proc/{exabgp.pid}/status").read_text(encoding="utf-8")
    return int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0])


def read_cpu(exabgp: ExaBGP) -> float:
    """Return the seconds of CPU that ExaBGP has used."""
    text = Path(f"/proc/{exabgp.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1]
    return sum(map(int, text.split()[11:13])) / os.sysconf("SC_CLK_TCK")


def assert_idle(exabgp: ExaBGP) -> None:
    """Check for 2 s that ExaBGP sleeps, and for long; a busy machine can only make it wake less."""
    exabgp.listen(0.5)
    wakes, cpu = read_wakes(exabgp), read_cpu(exabgp)
    exabgp.listen(2)
    assert (read_wakes(exabgp) - wakes) / 2 < BUSY / 2
    assert read_cpu(exabgp) - cpu < 0.4, "it does not sleep at all"


def test_it_wakes_rarely_while_nothing_happens(exabgp_python: str, tmp_path: Path) -> None:
    """With two sessions, and with one after a reload without the other neighbor."""
    with (
        Peer(FIRST) as peer,
        Peer(SECOND, peer.port) as second,
        ExaBGP(exabgp_python, tmp_path, peer.port, given=loopback_profile(180)) as exabgp,
    ):
        peer.wait_up()
        second.wait_up()
        assert_idle(exabgp)
        conf = tmp_path / "exabgp.conf"
        lines = conf.read_text(encoding="utf-8").splitlines()
        run = next(line for line in lines if line.startswith("    run "))
        text = config_module.build_config(ALONE, lease_command(str(tmp_path)), {}, port=peer.port)
        ours = next(line for line in text.splitlines() if line.startswith("    run "))
        conf.write_text(text.replace(ours, run), encoding="utf-8")
        signal_pid(exabgp.pid, signal.SIGUSR1)
        second.wait(lambda _: second.list_events(Closed))
        assert_idle(exabgp)


# A sitecustomize.py: an idle ExaBGP sleeps for a minute, so that it does nothing but what wakes it.
LONG = """\
import sys
if sys.orig_argv[-1].endswith("exabgp.conf"):
    import anycastd.speaker.exabgp.patches.loop as loop
    loop.IDLE_SLEEP = 60_000
"""


@contextmanager
def sleeping(python: str, directory: Path) -> Iterator[tuple[Peer, ExaBGP]]:
    """Yield an ExaBGP with a session that sleeps for a minute."""
    hook = directory / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(LONG, encoding="utf-8")
    with (
        Peer(FIRST) as peer,
        ExaBGP(python, directory, peer.port, given=ALONE, path=[hook]) as exabgp,
    ):
        peer.wait_up()
        wait_asleep(exabgp)
        yield peer, exabgp


def wait_asleep(exabgp: ExaBGP) -> None:
    """Wait until ExaBGP sleeps for long; on a busy machine it may only seem so."""

    def is_asleep() -> bool:
        before = read_wakes(exabgp)
        exabgp.listen(0.3)
        return read_wakes(exabgp) == before

    wait_for(is_asleep, 20, "a long sleep")


def test_commands_messages_and_signals_wake_it(exabgp_python: str, tmp_path: Path) -> None:
    """Each is served long before the sleep would end."""
    with sleeping(exabgp_python, tmp_path) as (peer, exabgp):
        exabgp.ask(Announce(ROUTE))
        peer.wait(lambda _: peer.table)
        wait_asleep(exabgp)
        peer.ask_refresh()
        peer.wait(lambda _: len(peer.updates) == 2, what="the route once more")
        wait_asleep(exabgp)
        before = len(exabgp.facts)
        signal_pid(exabgp.pid, signal.SIGUSR1)
        exabgp.wait(lambda facts: any(isinstance(fact, ConfigLoaded) for fact in facts[before:]))
        wait_asleep(exabgp)
        signal_pid(exabgp.child(), signal.SIGKILL)
        exabgp.wait_for_child()
        wait_asleep(exabgp)
        peer.drop(6, 4)
        peer.wait(lambda _: len(peer.list_events(Opened)) == 2, 20)
        peer.wait(lambda _: peer.table, what="the route in the next session")
        wait_asleep(exabgp)
        signal_pid(exabgp.pid, signal.SIGTERM)
        closed = peer.wait(lambda _: peer.list_events(Closed)[1:])
        assert [(each.code, each.subcode) for each in closed] == [(6, 2)]


def test_no_message_waits_for_the_one_before(exabgp_python: str) -> None:
    """The kernel sends what ExaBGP writes at once; bare, it may wait for an acknowledgement."""
    ask = (
        "import socket\n"
        "from exabgp.protocol.family import AFI\n"
        "from exabgp.reactor.network.outgoing import Outgoing\n"
        "dial = Outgoing(AFI.ipv4, '127.0.0.1', '127.0.0.1')\n"
        "dial._setup()\n"
        "print(dial.io.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))\n"
    )
    patch = "from anycastd.speaker.exabgp import shim; shim.apply_patches()\n"
    assert run_python(exabgp_python, patch + ask).stdout.startswith("1\n")
    assert run_python(exabgp_python, ask).stdout.startswith("0\n")


@pytest.mark.parametrize(
    "change",
    [
        "import exabgp.reactor.loop as m; m.Reactor._wait_for_io = lambda self, sleep: ()",
        "import exabgp.reactor.loop as m; m.Reactor.run = lambda *_: 0",
        "import exabgp.reactor.listener as m; m.Listener.incoming = lambda self: False",
        "import exabgp.reactor.asynchronous as m; m.ASYNC.ready = lambda self: True",
        "import exabgp.reactor.interrupt as m; m.Signal.rearm = lambda self: None",
    ],
    ids=["wait", "run", "listener", "queue", "signals"],
)
def test_another_loop_is_refused(exabgp_python: str, change: str) -> None:
    """A patch that does not fit is named, and nothing is patched."""
    assert "install an unmodified" in start_changed_shim(exabgp_python, change)
