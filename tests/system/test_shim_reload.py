"""The shim's patches of a reload and of an end, each beside the same ExaBGP without it."""

from __future__ import annotations

import signal
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
    start_changed_shim,
)
from support.peer import Peer, wait_for
from support.processes import signal_pid

THIRD = "127.0.0.4"
LINE = f"    - {{address: {SECOND}, peer_as: 65515}}\n"
MORE = loopback_profile(9, (LINE, LINE + LINE.replace(SECOND, THIRD)))

shim_and_bare = pytest.mark.parametrize("patched", [True, False], ids=["shim", "bare"])


def route(neighbor: str) -> Route:
    """Return a route."""
    return Route(neighbor, "203.0.113.10/32", LOCAL, (65010, 65010))


def write(exabgp: ExaBGP, text: str) -> None:
    """Write another configuration, with the same API child, and let ExaBGP reload it."""
    conf = exabgp.log.parent / "exabgp.conf"
    run = next(
        line
        for line in conf.read_text(encoding="utf-8").splitlines()
        if line.startswith("    run ")
    )
    ours = next((line for line in text.splitlines() if line.startswith("    run ")), "no run")
    conf.write_text(text.replace(ours, run), encoding="utf-8")
    signal_pid(exabgp.pid, signal.SIGUSR1)


def configuration(exabgp: ExaBGP, port: int) -> str:
    """Return the configuration with one neighbor more."""
    return config_module.build_config(MORE, lease_command(str(exabgp.log.parent)), {}, port=port)


@shim_and_bare
def test_a_reload_sends_nothing_to_neighbors_that_stay(
    exabgp_python: str, tmp_path: Path, *, patched: bool
) -> None:
    """With one neighbor more, the other sessions stay; bare, 4.x sends all routes to them again."""
    with (
        Peer(FIRST) as peer,
        Peer(THIRD, peer.port) as third,
        ExaBGP(exabgp_python, tmp_path, peer.port, patched=patched) as exabgp,
    ):
        peer.wait_up()
        exabgp.ask(Announce(route(FIRST)))
        peer.wait(lambda _: peer.table)
        write(exabgp, configuration(exabgp, peer.port))
        third.wait_up()
        exabgp.ask(Announce(route(THIRD)))
        third.wait(lambda _: third.table)
        repeats = exabgp.version().startswith("4.") and not patched
        peer.wait(lambda _: len(peer.updates) >= 1 + repeats)
        assert len(peer.updates) == 1 + repeats
        assert len(peer.list_events(Opened)) == 1


@shim_and_bare
def test_a_signal_is_not_forgotten_while_a_route_waits(
    exabgp_python: str, tmp_path: Path, *, patched: bool
) -> None:
    """One peer is down, so a route for it waits; bare, the configuration is not reloaded then."""
    with (
        Peer(FIRST) as peer,
        Peer(THIRD, peer.port) as third,
        ExaBGP(exabgp_python, tmp_path, peer.port, patched=patched) as exabgp,
    ):
        peer.wait_up()
        if exabgp.version().startswith("4.") and not patched:
            pytest.skip("4.x forgets it only in its first turns")
        exabgp.ask(Announce(route(SECOND)))  # it is down, so the route waits
        write(exabgp, configuration(exabgp, peer.port))
        if patched:
            third.wait_up()
        else:
            exabgp.ask(Announce(route(FIRST)))
            assert not third.list_events(Opened)


@pytest.mark.parametrize("broken", ["syntax", "no file"])
def test_it_reports_what_it_runs(exabgp_python: str, tmp_path: Path, broken: str) -> None:
    """The hash of what runs, to this API child and to the next one; or why a reload failed."""
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp:
        peer.wait_up()
        first, config = (
            config_module.config_hash(exabgp.profile),
            config_module.config_hash(MORE),
        )
        assert environment(exabgp.child())["ANYCASTD_LOADED"] == first
        conf = tmp_path / "exabgp.conf"
        sound = conf.read_text(encoding="utf-8")
        if broken == "syntax":
            write(exabgp, "# config broken\nneighbor 127.0.0.2 {\n    no-such-word;\n}\n")
        else:
            conf.unlink()
            signal_pid(exabgp.pid, signal.SIGUSR1)
        exabgp.wait(
            lambda facts: any(isinstance(fact, ConfigLoaded) and fact.error for fact in facts)
        )
        assert [fact.config for fact in exabgp.facts if isinstance(fact, ConfigLoaded)] == [first]
        exabgp.end_child()
        assert environment(exabgp.child())["ANYCASTD_LOADED"] == first
        conf.write_text(sound, encoding="utf-8")
        write(exabgp, configuration(exabgp, peer.port))
        exabgp.wait(lambda facts: ConfigLoaded(config) in facts)
        exabgp.end_child()
        assert environment(exabgp.child())["ANYCASTD_LOADED"] == config
        assert not peer.list_events(Closed)


@shim_and_bare
def test_a_configuration_that_cannot_be_read_costs_no_child(
    exabgp_python: str, tmp_path: Path, *, patched: bool
) -> None:
    """Without a child nothing is withdrawn: bare, the child is ended and none is started."""
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port, patched=patched) as exabgp:
        peer.wait_up()
        child = exabgp.child()
        (tmp_path / "exabgp.conf").unlink()
        signal_pid(exabgp.pid, signal.SIGUSR1)
        if patched:
            exabgp.wait(lambda facts: any(isinstance(fact, ConfigLoaded) for fact in facts))
            assert exabgp.child() == child
            exabgp.ask(Announce(route(FIRST)))
        else:
            where = Path(f"/proc/{exabgp.pid}/task/{exabgp.pid}/children")
            wait_for(lambda: not where.read_text(encoding="utf-8"), 20)


def environment(pid: int) -> dict[str, str]:
    """Return the environment with which a process was started."""
    pairs = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


@shim_and_bare
def test_its_end_is_a_cease(exabgp_python: str, tmp_path: Path, *, patched: bool) -> None:
    """Administrative shutdown; bare, only the connection ends."""
    with (
        Peer(FIRST) as peer,
        ExaBGP(exabgp_python, tmp_path, peer.port, patched=patched) as exabgp,
    ):
        peer.wait_up()
        signal_pid(exabgp.pid, signal.SIGTERM)
        peer.wait(lambda _: peer.list_events(Closed))
        (closed,) = peer.list_events(Closed)
        assert (closed.code, closed.subcode) == ((6, 2) if patched else (None, None))


def test_a_child_that_hangs_is_replaced_if_it_asked_for_it(
    exabgp_python: str, tmp_path: Path
) -> None:
    """A child that did not ask for it may send nothing for ever."""
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp:
        peer.wait_up()
        before = exabgp.child()
        assert exabgp.version()
        enough = peer.keepalives + 3  # each 3 s
        peer.wait(lambda _: peer.keepalives >= enough, 30)
        assert exabgp.child() == before
        exabgp.write("# watched\n")
        exabgp.wait_for_child()
        wait_for(lambda: exabgp.child() != before, 20)
        assert not peer.list_events(Closed)


@pytest.mark.parametrize(
    "change",
    [
        "import exabgp.reactor.peer as m; m.Peer._stop = lambda self, message: None",
        "import exabgp.reactor.api.processes as m; m.Processes.received = lambda self: iter(())",
        "from exabgp.reactor.loop import Reactor as m; m.reload = m.load = m.teardown_peer",
    ],
)
def test_another_exabgp_is_refused(exabgp_python: str, change: str) -> None:
    """A patch that does not fit is reported, and nothing is patched."""
    assert "is not as anycastd knows it" in start_changed_shim(exabgp_python, change)
