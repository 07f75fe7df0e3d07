"""When connections are made, and to whom: a real listener, and looks that a test writes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from anycastd.evidence.servers.addresses import parse_target
from anycastd.evidence.servers.asker import ServerAsker
from anycastd.evidence.servers.connector import ask_server
from anycastd.evidence.servers.refusals import Answer, ReachReport
from anycastd.evidence.vip.selftest import Outcome, build_probe
from anycastd.profile.model import Instance
from anycastd.system.clock import OwnTime
from support.haproxy import free_port
from support.profiles import profile
from support.server_looks import look_at

FAILED = build_probe(None, 1.0, Outcome.FAILED, "HTTP 503")
ROUNDS = 20
"""Turns of the loop in which a connection that is made would be seen."""


@dataclass
class Rig:
    """An asker, the listener that it may connect to, and what it reports."""

    asker: ServerAsker
    listener: socket.socket
    address: str
    reports: list[ReachReport] = field(default_factory=list)

    def count_connections(self) -> int:
        """Accept what has connected, and count it."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self.listener.accept()[0].close()
                count += 1
        return count


@pytest.fixture
def excused() -> set[str]:
    """Give the services that are in maintenance."""
    return set()


@pytest.fixture
def rig(excused: set[str]) -> Iterator[Rig]:
    """Build an asker for the service `web`, whose servers listen here."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        reports: list[ReachReport] = []
        asker = ServerAsker(
            Instance("main", "/nonexistent/stats.sock", None, 3.0, 0.25),
            profile().services,
            clock=OwnTime(0.05),
            emit=reports.append,
            request_look=bool,
            is_excused=excused.__contains__,
        )
        yield Rig(asker, listener, f"127.0.0.1:{listener.getsockname()[1]}", reports)


def run(rig: Rig, steps: Callable[[], Awaitable[None]]) -> None:
    """Run an asker while the steps of a test are done."""

    async def main() -> None:
        part = asyncio.ensure_future(rig.asker.run())
        try:
            await steps()
        finally:
            part.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await part

    asyncio.run(main())


async def settle() -> None:
    """Let everything run that is due."""
    for _ in range(ROUNDS):
        await asyncio.sleep(0.005)


async def wait_for_connection(rig: Rig) -> None:
    """Wait until one has connected; AssertionError if nobody does."""
    for _ in range(2000):
        if rig.count_connections():
            return
        await asyncio.sleep(0.005)
    raise AssertionError


def test_no_connection_without_a_doubt(rig: Rig) -> None:
    """Look after look: nobody connects; a self-test that fails is a doubt."""

    async def steps() -> None:
        for at in range(5):
            rig.asker.note_look(look_at(None, float(at), {"addr": rig.address}))
        await settle()
        assert rig.count_connections() == 0
        rig.asker.note_self_test("web", FAILED)
        await wait_for_connection(rig)
        assert not rig.reports  # a connection that stands proves nothing

    run(rig, steps)


def test_no_connection_in_maintenance(rig: Rig, excused: set[str]) -> None:
    """Nor for a service of another name, nor to a server that does not count."""
    excused.add("web")
    down = {"addr": rig.address, "status": "DOWN", "check_status": "L4CON"}

    async def steps() -> None:
        rig.asker.note_look(look_at(None, 1.0, {"addr": rig.address}))
        rig.asker.note_self_test("web", FAILED)
        rig.asker.note_late("web")
        excused.clear()
        rig.asker.note_self_test("other", FAILED)
        rig.asker.note_look(look_at(None, 2.0, down))
        rig.asker.note_self_test("web", FAILED)
        await settle()
        assert rig.count_connections() == 0

    run(rig, steps)


def test_a_refusal_where_haproxy_is_not_seen_proves_nothing(rig: Rig) -> None:
    """Its socket is not in this network namespace: its servers may be others than these."""

    async def steps() -> None:
        dead = f"127.0.0.1:{free_port()}"
        rig.asker.note_look(look_at(None, 1.0, {"addr": dead}))
        rig.asker.note_self_test("web", FAILED)
        await settle()
        assert not rig.reports

    run(rig, steps)


@pytest.mark.parametrize("comparable", [True, False])
def test_two_connections_to_a_dead_port(*, comparable: bool) -> None:
    """They are 20 ms apart, and count only where HAProxy's would go the same way."""

    async def answer() -> bool:
        return comparable

    async def ask() -> tuple[Answer, str]:
        target = parse_target(f"127.0.0.1:{free_port()}")
        assert target is not None
        asked = await ask_server(target, OwnTime(0.05), asyncio.Semaphore(1), answer)
        return asked.answer, asked.detail

    found, detail = asyncio.run(ask())
    assert found is (Answer.REFUSED if comparable else Answer.UNCERTAIN)
    assert detail.startswith("refuses connections (asked twice, ") is comparable


def test_a_server_that_is_silent_is_asked_once() -> None:
    """Its queue is full: the connection neither stands nor is refused, and nothing follows."""

    async def never() -> bool:
        raise AssertionError

    async def ask() -> None:
        with socket.socket() as full, contextlib.ExitStack() as clients:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(4):
                client = clients.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            target = parse_target(f"127.0.0.1:{full.getsockname()[1]}")
            assert target is not None
            asked = await ask_server(target, OwnTime(0.05), asyncio.Semaphore(1), never)
            assert asked.answer is Answer.UNCERTAIN

    asyncio.run(ask())
