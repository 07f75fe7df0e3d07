"""The client of the lease process, against a fake lease process on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from anycastd.agent.lease_client import ExpectedSpeaker, LeaseClient
from anycastd.bgp.route import Route
from anycastd.bgp.session import Session
from anycastd.decision.pipeline import LeaseView
from anycastd.lease.messages import NeighborReport, Reload, Report, Want, parse_agent_message
from anycastd.system.clock import OwnTime

PEER = "192.0.2.4"
Eventually = Callable[..., Awaitable[Any]]


def report(serial: int = 0, **more: Any) -> Report:
    """Build a report of a lease whose session is up."""
    up = {PEER: NeighborReport(Session.UP, 1.0)}
    values = {"lease_id": "one", "config": "sessions", "vips": "vips", "reload": "ready"}
    return Report(
        **(values | {"serial": serial, "acked": serial, "expires_in": None, "neighbors": up} | more)
    )


def routes(count: int = 1, asns: int = 1) -> tuple[Route, ...]:
    """Build routes to ``count`` VIPs, with a path of ``asns`` ASNs."""
    return tuple(
        Route(PEER, f"203.0.{113 + n // 250}.{n % 250}/32", "192.0.2.10", (65010,) * asns)
        for n in range(count)
    )


class Play:
    """A fake lease process: on each connection it sends a report, and then runs ``scene``."""

    def __init__(
        self,
        path: Path,
        scene: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
        **client: Any,
    ) -> None:
        self.path = str(path / "lease.sock")
        self.scene = scene
        self.connections = 0
        self.views: list[LeaseView] = []
        self.greeting = report(leased=())
        settings: dict[str, Any] = {
            "clock": OwnTime(),
            "expected": ExpectedSpeaker("sessions", "vips"),
        }
        self.client = LeaseClient(self.path, 5.0, self.views.append, **(settings | client))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[LeaseClient]:
        """Run client, server and clock."""
        tasks: set[asyncio.Task[Any]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            tasks.add(asyncio.current_task())  # type: ignore[arg-type]  # there is one
            try:
                writer.write(self.greeting.dump())
                await self.scene(reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        async def tick() -> None:
            while True:
                await asyncio.sleep(0.01)
                self.client.clock.tick()

        server = await asyncio.start_unix_server(serve, self.path, limit=1 << 24)
        tasks |= {asyncio.create_task(self.client.run()), asyncio.create_task(tick())}
        try:
            yield self.client
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Confirm each Want at once."""
    while line := await reader.readline():
        want = parse_agent_message(line)
        if isinstance(want, Want):
            expires = want.ttl if want.routes else None
            writer.write(report(want.serial, leased=want.routes, expires_in=expires).dump())


def test_of_what_waits_only_the_newest_is_said(tmp_path: Path, eventually: Eventually) -> None:
    """A lease process that was stopped reads what was under way, and the newest state."""
    heard: list[Want] = []
    read = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read.wait()
        while line := await reader.readline():
            want = parse_agent_message(line)
            assert isinstance(want, Want)
            heard.append(want)
            writer.write(report(want.serial).dump())

    async def scene() -> None:
        play = Play(tmp_path, late)
        async with play.running() as client:
            await eventually(lambda: client.view.connected)
            for _ in range(200):
                client.renew(routes(1000))
            client.renew(routes(1))
            read.set()
            assert await client.wait_confirmed(10)

    asyncio.run(scene())
    assert heard[-1].serial == 201
    assert len(heard[-1].routes) == 1
    assert len(heard) < 20, [want.serial for want in heard]


def test_a_lease_that_refuses_is_not_asked_without_a_pause(
    tmp_path: Path, eventually: Eventually
) -> None:
    """It disconnects at each Want: reconnect now and then, not at once; keep the text."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(report(refused="not a set of wanted routes").dump())

    async def scene() -> int:
        play = Play(tmp_path, refuse)
        async with play.running() as client:
            ends = time.monotonic() + 2
            while time.monotonic() < ends:
                client.renew(routes())
                await asyncio.sleep(0.005)
            await eventually(client.list_problems)
            assert "not a set of wanted routes" in client.list_problems()[0]
        return play.connections

    assert 2 <= asyncio.run(scene()) <= 6


def test_a_lease_that_does_not_answer_is_noticed(tmp_path: Path, eventually: Eventually) -> None:
    """Eight seconds of one's own after a Want; without a Want there is nothing to answer."""
    silent: list[float] = []

    async def mute(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass

    async def scene() -> None:
        # Ten times as fast as the wall: the eight seconds are 0.8.
        clock = OwnTime(0.2, lambda: 10 * time.monotonic())
        play = Play(tmp_path, mute, clock=clock, on_silence=lambda: silent.append(clock.now()))
        async with play.running() as client:
            await eventually(lambda: client.view.connected)
            idle = clock.now()
            await eventually(lambda: clock.now() - idle > 12)
            assert not silent
            said = clock.now()
            client.renew(routes())
            await eventually(lambda: silent)
            assert 8 <= silent[0] - said < 22
            await eventually(lambda: play.connections == 2)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("told", "asks"),
    [
        ({}, False),
        ({"config": "others"}, True),
        ({"vips": "others"}, True),
        ({"config": "others", "reload": "busy"}, False),
        ({"config": "others", "reload": ""}, False),
        ({"vips": "", "reload": ""}, False),
    ],
)
def test_a_speaker_that_runs_something_else_is_asked_once(
    tmp_path: Path, eventually: Eventually, told: dict[str, Any], *, asks: bool
) -> None:
    """Where it can reload; an older one never gets a message that it would refuse."""
    heard: list[Want | Reload] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            writer.write(report(**told).dump())
        while line := await reader.readline():
            heard.append(said := parse_agent_message(line))
            if isinstance(said, Want):
                writer.write(report(said.serial, **told).dump())

    async def scene() -> tuple[str, ...]:
        play = Play(tmp_path, listen)
        async with play.running() as client:
            await eventually(lambda: len(play.views) >= 4)
            client.renew(routes())
            assert await client.wait_confirmed(5)
            return client.list_problems()

    problems = asyncio.run(scene())
    assert [isinstance(line, Reload) for line in heard] == ([True, False] if asks else [False])
    differs = told.get("config") == "others" or told.get("vips") == "others"
    assert bool(problems) == (differs and told.get("reload") == ""), "else it is being changed"


def test_a_speaker_with_another_profile_is_named(tmp_path: Path, eventually: Eventually) -> None:
    """It has read its own again, and it is still not ours."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(report(config="others").dump())
        assert isinstance(parse_agent_message(await reader.readline()), Reload)
        writer.write(report(config="others", reload="busy").dump())
        writer.write(report(config="others").dump())
        await reader.read()

    async def scene() -> None:
        play = Play(tmp_path, other)
        async with play.running() as client:
            await eventually(client.list_problems)
            assert "the same --profile" in client.list_problems()[0]

    asyncio.run(scene())


def test_a_lease_that_ran_out_is_noticed(tmp_path: Path, eventually: Eventually) -> None:
    """By the answer to the newest Want, and not by an older one that crosses it."""
    go_on, tell = asyncio.Event(), asyncio.Event()

    async def expire(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        want = parse_agent_message(await reader.readline())
        assert isinstance(want, Want)
        writer.write(report(want.serial - 1, leased=()).dump())
        await go_on.wait()
        writer.write(report(want.serial, leased=want.routes, expires_in=5.0).dump())
        await tell.wait()
        writer.write(report(want.serial, leased=()).dump())
        await reader.read()

    async def scene() -> None:
        play = Play(tmp_path, expire)
        async with play.running() as client:
            await eventually(lambda: client.view.connected)
            client.renew(routes())
            await eventually(lambda: len(play.views) == 2)
            assert not client.expired
            go_on.set()
            assert await client.wait_confirmed(5)
            assert not client.expired
            tell.set()
            await eventually(lambda: client.expired)

    asyncio.run(scene())


def test_another_lease_process_that_found_nothing(tmp_path: Path, eventually: Eventually) -> None:
    """Another ExaBGP: what was thought to be announced is not; at the start that is no news."""

    async def end(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readline()
        play.greeting = report(leased=(), lease_id="two")
        if play.connections > 1:
            await reader.read()

    async def scene() -> None:
        async with play.running() as client:
            await eventually(lambda: client.view.connected)
            assert not client.expired
            client.renew(())  # while HAProxy is dead, say; it returns while nobody can be told
            await eventually(lambda: client.expired)

    play = Play(tmp_path, end)
    asyncio.run(scene())


def test_a_connection_that_is_closed_before_its_wants_are_read(
    tmp_path: Path, eventually: Eventually
) -> None:
    """The lease process is the same and has no routes: the agent's never reached it.

    That is a new lease process which is flooded with connections: it closes those of no owner.
    """

    async def close(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await go_on.wait()
        if play.connections > 1:
            await reader.read()

    async def scene(leased: tuple[Route, ...]) -> bool:
        play.greeting = report(leased=leased, expirations=0, expires_in=5.0 if leased else None)
        async with play.running() as client:
            await eventually(lambda: client.view.connected)
            client.renew(routes())
            assert not client.expired
            go_on.set()
            await eventually(lambda: play.connections == 2 and client.view.connected)
            return client.acknowledge_expiry()

    for leased, expired in (((), True), (routes(), False)):
        go_on = asyncio.Event()
        play = Play(tmp_path, close)
        assert asyncio.run(scene(leased)) is expired


def test_a_lapse_is_noticed_whatever_crosses_it(tmp_path: Path, eventually: Eventually) -> None:
    """A lease that counts them leaves no doubt; what was said before it was heard says so."""
    wants: list[Want] = []

    async def lapse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for expirations, held in ((0, routes()), (1, ()), (1, routes())):
            want = parse_agent_message(await reader.readline())
            assert isinstance(want, Want)
            wants.append(want)
            writer.write(report(wants[0].serial, leased=held, expirations=expirations).dump())
        await reader.read()

    async def scene() -> None:
        play = Play(tmp_path, lapse)
        play.greeting = report(leased=(), expirations=0)
        async with play.running() as client:
            await eventually(lambda: client.view.connected)
            for count, ran_out in ((2, False), (3, True), (4, True)):
                client.renew(routes())
                await eventually(lambda count=count: len(play.views) == count)
                assert client.expired is ran_out, "until the agent has taken note of it"
            assert [want.expirations for want in wants] == [0, 0, 1]

    asyncio.run(scene())


def test_what_is_confirmed_is_what_was_wanted_last(tmp_path: Path, eventually: Eventually) -> None:
    """``withdraw`` waits for the confirmation of its own Want."""

    async def scene() -> None:
        play = Play(tmp_path, answers)
        async with play.running() as client:
            await eventually(lambda: client.view.connected)
            client.renew(routes())
            assert await client.withdraw(5)
            assert client.view.report is not None
            assert client.view.report.acked == client.serial == 2

    asyncio.run(scene())


def test_an_older_lease_process_is_sent_nothing_for_ibgp(
    tmp_path: Path, eventually: Eventually
) -> None:
    """It would refuse all routes of such a message; the others are renewed, and the status says so.

    One that takes them gets them.
    """
    inside = Route("192.0.2.5", "203.0.113.0/32", "192.0.2.10", (), local_pref=100)
    wants: list[Want] = []

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            want = parse_agent_message(line)
            assert isinstance(want, Want)
            wants.append(want)

    async def scene(*, ibgp: bool) -> tuple[str, ...]:
        play = Play(tmp_path, listen)
        play.greeting = report(leased=(), ibgp=ibgp)
        async with play.running() as client:
            await eventually(lambda: client.view.connected)
            client.renew((*routes(), inside))
            await eventually(lambda: wants)
            return client.list_problems()

    (problem,) = asyncio.run(scene(ibgp=False))
    assert "announces nothing to iBGP neighbors: restart it" in problem
    assert wants.pop().routes == routes()
    assert not asyncio.run(scene(ibgp=True))
    assert wants.pop().routes == (*routes(), inside)


def test_a_report_without_the_field_is_of_an_older_lease_process() -> None:
    """Fields are only ever added."""
    line = report(leased=()).dump()
    assert Report.load(line).ibgp
    assert not Report.load(line.replace(b',"ibgp":true', b"")).ibgp
