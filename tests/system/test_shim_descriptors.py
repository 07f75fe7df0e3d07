"""ExaBGP without a free descriptor: sessions end and come back, and ExaBGP goes on."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.lease.commands import Announce, Answer, QuerySessions, Withdraw
from support.exabgp import FIRST, LOCAL, SECOND, ExaBGP
from support.peer import Peer, wait_for

ROUTE = Route(FIRST, "203.0.113.10/32", LOCAL, (65010,))


@contextmanager
def no_free_descriptor(pid: int) -> Iterator[None]:
    """Let a process open nothing for a ``with`` block, not even a number that it closes."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))  # the standard streams
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def end_sessions(*peers: Peer) -> None:
    """Have peers close their sessions with a Cease."""
    for peer in peers:
        peer.drop(6, 4)


def test_sessions_end_and_come_back(exabgp_python: str, tmp_path: Path) -> None:
    """Commands are answered meanwhile, each failure is logged once, and routes come back."""
    with (
        Peer(FIRST) as peer,
        Peer(SECOND, peer.port) as second,
        ExaBGP(exabgp_python, tmp_path, peer.port) as exabgp,
    ):
        peer.wait_up()
        second.wait_up()
        exabgp.ask(Announce(ROUTE))
        with no_free_descriptor(exabgp.pid):
            end_sessions(peer, second)
            wait_for(lambda: exabgp.log.read_text().count("cannot open a socket") == 2, 30, "a try")
            down = {FIRST: Session.DOWN, SECOND: Session.DOWN}
            assert exabgp.ask(QuerySessions(), 30).sessions == down
            assert exabgp.ask(Withdraw(ROUTE), 30) == Answer(Withdraw(ROUTE))
            assert exabgp.ask(Announce(ROUTE), 30) == Answer(Announce(ROUTE))
        wait_for(lambda: ROUTE.prefix in peer.table, 30, "the route")
        second.wait_up()
        assert exabgp.log.read_text(encoding="utf-8").count("cannot open a socket") == 2
        assert exabgp.process is not None
        assert exabgp.process.poll() is None


def test_without_the_shim_exabgp_ends(tmp_path: Path, exabgp_python: str) -> None:
    """Proves that the test before would fail without the patches, with 5.0."""
    with (
        Peer(FIRST) as peer,
        ExaBGP(exabgp_python, tmp_path, peer.port, patched=False) as exabgp,
    ):
        peer.wait_up()
        if exabgp.version().startswith("4."):
            pytest.skip("4.2 only waits longer")
        assert exabgp.process is not None
        with no_free_descriptor(exabgp.pid):
            end_sessions(peer)
            exabgp.process.wait(30)
