"""ExaBGP's queue of routes under the shim: the newest command wins, in large batches."""

from __future__ import annotations

import signal
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from anycastd.bgp.route import Route, canonicalize_route
from anycastd.lease.commands import Announce, Answer, QueryAdjRibOut, Withdraw
from support.bgp_wire import Closed
from support.exabgp import FIRST, LOCAL, SECOND, ExaBGP, run_python, start_changed_shim
from support.peer import Peer, wait_for
from support.processes import signal_pid

ROUTE = Route(FIRST, "203.0.113.10/32", LOCAL, (65010,))
STANDBY = replace(ROUTE, as_path=(65010,) * 7)
COMMANDS: dict[str, Announce | Withdraw] = {
    "announce": Announce(ROUTE),
    "standby": Announce(STANDBY),
    "withdraw": Withdraw(ROUTE),
}
LENGTHS = {"announce": 1, "standby": 7, "withdraw": 0}
ROUTES = tuple(replace(ROUTE, prefix=f"203.0.113.{number}/32") for number in range(250))


def asns(peer: Peer) -> int:
    """Return the length of the path that a peer has; 0 without a route."""
    route = peer.table.get(ROUTE.prefix)
    return 0 if route is None else len(route.as_path)


def test_the_newest_command_about_a_route_wins(exabgp_python: str, tmp_path: Path) -> None:
    """Whatever is sent about a route while ExaBGP is busy, the peer ends with the last of it."""
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp:
        peer.wait_up()
        for first, *names in product(("announce", "withdraw"), *[COMMANDS] * 3):
            exabgp.ask(COMMANDS["standby"])
            exabgp.ask(COMMANDS[first])
            wait_for(lambda: asns(peer) == LENGTHS[first], 20, f"{first}")  # noqa: B023
            signal_pid(exabgp.pid, signal.SIGSTOP)
            exabgp.send(*(COMMANDS[name] for name in names))
            signal_pid(exabgp.pid, signal.SIGCONT)
            exabgp.wait_answered()
            wait_for(lambda: asns(peer) == LENGTHS[names[-1]], 20, f"{first}, {names}")  # noqa: B023
        assert exabgp.ask(QueryAdjRibOut()).rib == ()


def test_without_the_shim_a_withdrawn_route_stays(exabgp_python: str, tmp_path: Path) -> None:
    """Proves that the test before would fail without the patch: an older path is sent last."""
    with (
        Peer(FIRST) as peer,
        ExaBGP(exabgp_python, tmp_path, peer.port, patched=False) as exabgp,
    ):
        peer.wait_up()
        exabgp.ask(COMMANDS["announce"])
        wait_for(lambda: asns(peer) == 1, 20, "the route")
        signal_pid(exabgp.pid, signal.SIGSTOP)
        exabgp.send(COMMANDS["standby"], COMMANDS["announce"], COMMANDS["standby"])
        signal_pid(exabgp.pid, signal.SIGCONT)
        exabgp.wait_answered()
        peer.wait(lambda _: len(peer.updates) >= 3)
        assert asns(peer) == 1
        assert exabgp.ask(QueryAdjRibOut()).rib == (STANDBY,)


def test_many_routes_leave_in_few_updates(exabgp_python: str, tmp_path: Path) -> None:
    """Each is confirmed; bare, ExaBGP sends 25 in each turn and sleeps in between."""
    with Peer(FIRST) as peer, ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp:
        peer.wait_up()
        for command in (Announce, Withdraw):
            before = len(peer.updates)
            signal_pid(exabgp.pid, signal.SIGSTOP)  # so that it finds all of them waiting
            exabgp.send_one_per_line(*(command(route) for route in ROUTES))
            signal_pid(exabgp.pid, signal.SIGCONT)
            exabgp.wait_answered()
            there = len(ROUTES) if command is Announce else 0
            peer.wait(lambda peer: len(peer.table) == there)  # noqa: B023 - waited for here
            assert len(peer.updates) - before <= 4
        answers = [fact for fact in exabgp.facts if isinstance(fact, Answer)]
        assert [answer.error for answer in answers] == [None] * 2 * len(ROUTES)


def test_neighbors_share_no_route(exabgp_python: str, tmp_path: Path) -> None:
    """A route for both that is withdrawn from one stays unchanged at the other."""
    with (
        Peer(FIRST) as peer,
        Peer(SECOND, peer.port) as second,
        ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp,
    ):
        peer.wait_up()
        second.wait_up()
        exabgp.write(f"announce route {ROUTE.prefix} next-hop {LOCAL} as-path [ 65010 ]\n")
        wait_for(lambda: peer.table and second.table, 20, "the route at both")
        exabgp.ask(Withdraw(ROUTE))
        wait_for(lambda: not peer.table, 20, "no route at the first")
        exabgp.ask(Announce(replace(STANDBY, neighbor=SECOND)))
        wait_for(lambda: asns(second) == 7, 20, "another path at the second")
        assert second.table[ROUTE.prefix].next_hop == LOCAL
        rib = exabgp.ask(QueryAdjRibOut()).rib
        assert rib == (canonicalize_route(replace(STANDBY, neighbor=SECOND)),)


def test_a_neighbor_s_copy_has_a_route_of_its_own(exabgp_python: str) -> None:
    """The route in it may be changed, its attributes never are: bare, all of it is copied."""
    ask = (
        "from types import SimpleNamespace as Some; from exabgp.bgp.neighbor import Neighbor\n"
        "queued = Some(nlri=Some(nexthop=Some(SELF=False)), attributes=[])\n"
        "copied = Neighbor.remove_self(None, queued)\n"
        "print(copied.nlri is queued.nlri, copied.attributes is queued.attributes)"
    )
    patch = "from anycastd.speaker.exabgp import shim; shim.apply_patches()\n"
    has = "from exabgp.bgp.neighbor import Neighbor as N; print(hasattr(N, 'remove_self'))"
    if run_python(exabgp_python, has).stdout == "False\n":
        pytest.skip("this ExaBGP makes no copies")
    assert run_python(exabgp_python, patch + ask).stdout == "False True\n"
    assert run_python(exabgp_python, ask).stdout == "False False\n"


# An ExaBGP that is slow to go on after each "done", as on a busy machine.
SLOW = """\
import sys
if sys.orig_argv[-1].endswith("exabgp.conf"):
    import time
    from exabgp.reactor.api.processes import Processes
    def slow(self, *given, original=Processes._answer, **more):
        original(self, *given, **more)
        time.sleep(0.2)
    Processes._answer = slow
"""


@pytest.mark.parametrize("patched", [True, False], ids=["shim", "bare"])
def test_what_is_confirmed_is_sent_before_the_end(
    exabgp_python: str, tmp_path: Path, *, patched: bool
) -> None:
    """SIGTERM right after the confirmation: the withdrawal, then the end; bare, only the end."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(SLOW, encoding="utf-8")
    with (
        Peer(FIRST) as peer,
        ExaBGP(exabgp_python, tmp_path, peer.port, patched=patched, path=[hook]) as exabgp,
    ):
        peer.wait_up()
        exabgp.ask(COMMANDS["announce"])
        wait_for(lambda: asns(peer) == 1, 20, "the route")
        assert exabgp.ask(COMMANDS["withdraw"]) == Answer(COMMANDS["withdraw"])
        signal_pid(exabgp.pid, signal.SIGTERM)
        (closed,) = peer.wait(lambda _: peer.list_events(Closed))
        withdrawn = [update.at for update in peer.updates if update.withdrawn]
        assert len(withdrawn) == patched
        assert all(at <= closed.at for at in withdrawn)


@pytest.mark.parametrize(
    "change",
    [
        "import exabgp.reactor.asynchronous as m; m.ASYNC.run = m.ASYNC._run_async = print",
        "import exabgp.bgp.neighbor as m; m.Neighbor.remove_self = lambda self, change: change",
        "import exabgp.rib.outgoing as m; m.OutgoingRIB.add_to_rib = lambda *_: None",
        "import exabgp.reactor.peer as m; m.Peer.shutdown = lambda self: None",
    ],
    ids=["limit", "copies", "newest", "end"],
)
def test_another_queue_is_refused(exabgp_python: str, change: str) -> None:
    """A patch that does not fit is named, and nothing is patched."""
    assert "install an unmodified" in start_changed_shim(exabgp_python, change)
