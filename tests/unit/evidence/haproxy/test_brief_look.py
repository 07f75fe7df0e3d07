"""A large backend of a real HAProxy is asked briefly, and as a whole where that is needed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from anycastd.evidence.haproxy import look as look_module
from anycastd.evidence.haproxy.brief_look import (
    EARLY,
    MAX_GIVEN_UP,
    MAX_SINGLE,
    WHOLE_EVERY,
    choose_brief,
)
from anycastd.evidence.haproxy.judged_rows import SLOT_MARGIN
from anycastd.evidence.haproxy.look import Looker
from anycastd.evidence.haproxy.query import BRIEF_FROM, Query
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Observation, Snapshot, Unreadable
from anycastd.evidence.haproxy.stats import parse_answer
from anycastd.evidence.haproxy.watcher import Watcher
from anycastd.profile.model import Instance
from anycastd.system.clock import OwnTime
from anycastd.system.ticker import tick_forever, ticking
from support.haproxy import HAProxy, Web, free_port, run_haproxy, until
from support.snapshots import query
from support.waiting import eventually

COUNT = BRIEF_FROM + 20
CLOCK = OwnTime()
ASKED = query({"web", "small"}, {"web"})


@pytest.fixture(scope="module")
def haproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HAProxy]:
    """Run a HAProxy whose backend `web` is large; its servers are checked once and then rarely."""
    web = Web()
    servers = "".join(
        f"    server s{n} 127.0.0.1:{web.port} weight {1 + n % 3}{' check' if n < 3 else ''}"
        f" inter 200ms rise 1 fall 3\n"
        for n in range(COUNT)
    )
    body = (
        f"frontend web\n    bind 127.0.0.1:{free_port()}\n    default_backend web\n"
        f"backend web\n{servers}backend small\n    server a 127.0.0.1:{web.port}\n"
    )
    with run_haproxy(tmp_path_factory.mktemp("haproxy"), body) as it:
        until(lambda: all(it.status(f"web/s{n}") == "UP L4OK" for n in range(3)), 20)
        # Before that, a server in maintenance is taken for an empty slot.
        until(lambda: read_uptime(it) > SLOT_MARGIN + 1, 20)
        yield it
    web.stop()


def read_uptime(haproxy: HAProxy) -> int:
    """Return for how many seconds HAProxy has run."""
    return int(haproxy.ask("show info").partition("Uptime_sec: ")[2].split()[0])


@pytest.fixture(autouse=True)
def restored(haproxy: HAProxy) -> None:
    """Have every server in service, with the weight of haproxy.cfg, and checked."""
    haproxy.ask(";".join(f"set server web/s{n} state ready" for n in range(12)))
    haproxy.ask(";".join(f"set server web/s{n} weight 100%" for n in range(12)))
    until(lambda: all(haproxy.status(f"web/s{n}") == "UP L4OK" for n in range(3)), 20)


def with_looker(
    haproxy: HAProxy, use: Callable[[Looker], Awaitable[None]], asked: Query = ASKED
) -> None:
    """Use a Looker that has looked at all rows twice."""

    async def run() -> None:
        async with ticking(CLOCK):
            looker = Looker(str(haproxy.socket), asked, CLOCK, 10.0)
            with contextlib.closing(looker):
                for _ in range(2):
                    assert is_whole(await look(looker, every=0.0))
                await use(looker)

    asyncio.run(run())


async def look(looker: Looker, *names: str, every: float = 600.0) -> Snapshot:
    """Look, after events that named servers of `web`, at another instant than before."""
    began_at = CLOCK.now()
    await eventually(lambda: CLOCK.now() > began_at, 20)
    seen = await looker.look({"web": set(names)}, every)
    assert isinstance(seen, Snapshot), seen
    return seen


def is_whole(seen: Snapshot) -> bool:
    """Tell whether all rows of `web` were asked for."""
    return seen.backends["web"].asked_at == seen.asked_at


def usable(seen: Snapshot, name: str) -> Usable:
    """Tell whether a server of `web` counts."""
    return next(each.usable for each in seen.backends["web"].servers if each.name == name)


def test_a_brief_look_finds_what_a_whole_one_finds(haproxy: HAProxy) -> None:
    """Nothing happened: all is as before but the time; the small backend is asked as ever."""

    async def use(looker: Looker) -> None:
        whole = await look(looker, every=0.0)
        brief = await look(looker)
        assert not is_whole(brief)
        assert brief.backends["small"].asked_at == brief.asked_at
        assert brief.backends["web"].servers == whole.backends["web"].servers
        assert brief.backends["web"].counts == whole.backends["web"].counts
        assert brief.frontends.keys() == whole.frontends.keys()
        assert is_whole(await look(looker, every=0.0))

    with_looker(haproxy, use)


def test_servers_that_events_name_are_asked_for(haproxy: HAProxy) -> None:
    """One leaves and comes back; while it waits for its check it is asked for without events."""

    async def use(looker: Looker) -> None:
        haproxy.ask("set server web/s1 state maint")
        gone = await look(looker, "s1")
        assert not is_whole(gone)
        assert usable(gone, "s1") is Usable.NO
        assert gone.backends["web"].counts.proved == 2
        haproxy.ask("set server web/s1 state ready")
        back = await look(looker, "s1")
        assert not is_whole(back)
        while usable(back, "s1") is not Usable.YES:
            await asyncio.sleep(0.02)
            back = await look(looker)
            assert not is_whole(back)

    with_looker(haproxy, use)


def test_a_count_that_differs_asks_for_all_rows(haproxy: HAProxy) -> None:
    """A server left and no event named it, or an event named another one."""

    async def use(looker: Looker) -> None:
        for number, named in ((4, ()), (5, ("s6",)), (6, ("no-such",))):
            haproxy.ask(f"set server web/s{number} state maint")
            seen = await look(looker, *named)
            assert is_whole(seen)
            assert usable(seen, f"s{number}") is Usable.NO
        assert not is_whole(await look(looker))

    with_looker(haproxy, use)


def test_what_the_count_hides_is_found_by_the_next_whole_look(haproxy: HAProxy) -> None:
    """As many servers left as came, unannounced: their number is right at each look."""
    haproxy.ask("set server web/s7 state maint")

    async def use(looker: Looker) -> None:
        haproxy.ask("set server web/s7 state ready;set server web/s8 state maint")
        brief = await look(looker)
        assert not is_whole(brief)
        whole = await look(looker, every=0.0)
        assert (usable(brief, "s8"), usable(whole, "s8")) == (Usable.UNPROVED, Usable.NO)
        assert brief.backends["web"].counts == whole.backends["web"].counts

    with_looker(haproxy, use)


def test_weights_are_compared_where_a_rule_adds_them_up(haproxy: HAProxy) -> None:
    """Another weight asks for all rows only where a rule is by weight."""

    async def count(looker: Looker) -> None:
        haproxy.ask("set server web/s2 weight 50%")
        assert not is_whole(await look(looker))

    async def weigh(looker: Looker) -> None:
        before = await look(looker)
        assert not is_whole(before)
        assert len(before.backends["web"].weights) == COUNT
        haproxy.ask("set server web/s2 weight 25%")
        assert is_whole(await look(looker))
        haproxy.ask("set server web/s2 state maint")
        assert not is_whole(await look(looker, "s2"))

    with_looker(haproxy, count)
    by_weight = Query(frozenset({"web", "small"}), frozenset({"web"}), frozenset({"web"}))
    with_looker(haproxy, weigh, by_weight)


def test_all_rows_are_asked_for_where_single_ones_do_not_do(haproxy: HAProxy) -> None:
    """A rule limits its queue; events name many servers; the look before got no answer."""

    async def never(looker: Looker) -> None:
        assert is_whole(await look(looker))

    async def many(looker: Looker) -> None:
        assert not is_whole(await look(looker, *(f"s{n}" for n in range(MAX_SINGLE))))
        assert is_whole(await look(looker, *(f"s{n}" for n in range(MAX_SINGLE + 1))))

    async def unanswered(looker: Looker) -> None:
        hidden = haproxy.socket.with_suffix(".away")
        haproxy.socket.rename(hidden)
        assert isinstance(await looker.look({"web": {"s9"}}, 600.0), Unreadable)
        hidden.rename(haproxy.socket)
        assert is_whole(await look(looker))
        assert not is_whole(await look(looker))

    queues = Query(frozenset({"web", "small"}), frozenset({"web"}), queues=frozenset({"web"}))
    with_looker(haproxy, never, queues)
    with_looker(haproxy, many)
    with_looker(haproxy, unanswered)


def test_an_event_is_answered_by_a_brief_look(haproxy: HAProxy) -> None:
    """The watcher passes on which servers HAProxy's events have named."""

    async def run() -> None:
        clock, seen = OwnTime(), list[Observation]()
        instance = Instance("main", str(haproxy.socket), "anycastd", 3.0, 0.25)
        watcher = Watcher(instance, ASKED, clock=clock, emit=seen.append, interval=1.0)
        tasks = [asyncio.create_task(watcher.run()), asyncio.create_task(tick_forever(clock))]

        def is_brief() -> bool:
            newest = seen[-1] if seen else None
            return isinstance(newest, Snapshot) and not is_whole(newest)

        def find(name: str) -> Snapshot | None:
            looks = (each for each in seen if isinstance(each, Snapshot))
            return next((each for each in looks if usable(each, name) is Usable.NO), None)

        try:
            await eventually(lambda: watcher.event_driven, 20)
            found = []
            for name in ("s0", "s1", "s2"):  # a look that was due may come before an event
                seen.clear()
                await eventually(is_brief, 20)
                haproxy.ask(f"set server web/{name} state maint")
                found.append(await eventually(lambda: find(name), 20))  # noqa: B023 - used at once
            assert not all(map(is_whole, filter(None, found)))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


def test_all_rows_are_asked_for_early_until_something_happens(haproxy: HAProxy) -> None:
    """Nothing waits for a look at all rows that is not due: it ends, and the next one is brief."""
    nothing, event = asyncio.Event(), asyncio.Event()

    async def look_early(looker: Looker, every: float, unless: asyncio.Event) -> Snapshot | None:
        began_at = CLOCK.now()
        await eventually(lambda: CLOCK.now() > began_at, 20)
        seen = await looker.look_early(every, unless)
        assert seen is None or isinstance(seen, Snapshot), seen
        return seen

    async def use(looker: Looker) -> None:
        event.set()
        found = [
            await look_early(looker, 600.0, nothing),  # not even early
            await look_early(looker, 600.0, event),
            await look_early(looker, EARLY, nothing),
            await look_early(looker, 0.0, event),  # due
        ]
        assert [each and is_whole(each) for each in found] == [False, False, True, True]
        for _ in range(MAX_GIVEN_UP):
            assert looker.is_early(EARLY)
            haproxy.signal(signal.SIGSTOP)  # so that the answer is not there before the event
            try:
                assert await look_early(looker, EARLY, event) is None
            finally:
                haproxy.signal(signal.SIGCONT)
            assert not is_whole(await look(looker)), "the one before has not lost what is known"
        assert not looker.is_early(EARLY), "HAProxy has begun often enough"
        assert is_whole(await look(looker, every=0.0))
        assert looker.is_early(EARLY)

    with_looker(haproxy, use)


def test_a_look_that_ended_early_counts_as_silence(haproxy: HAProxy) -> None:
    """HAProxy has not answered it either, if it does not answer the next one."""

    async def use(_: Looker) -> None:
        looker = Looker(str(haproxy.socket), ASKED, CLOCK, 0.2)
        with contextlib.closing(looker):
            assert isinstance(await looker.look(), Snapshot)
            assert isinstance(await looker.look(), Snapshot)
            event, began_at = asyncio.Event(), CLOCK.now()
            haproxy.signal(signal.SIGSTOP)
            try:
                early = asyncio.create_task(looker.look_early(EARLY, event))
                await eventually(lambda: CLOCK.now() > began_at + 0.02, 20)
                event.set()
                assert await early is None
                ended_at = CLOCK.now()
                seen = await looker.look(None, 600.0)
            finally:
                haproxy.signal(signal.SIGCONT)
            assert isinstance(seen, Unreadable)
            assert began_at <= seen.began_at < ended_at
            assert seen.missed == 2
            assert isinstance(await looker.look(None, 600.0), Snapshot)

    with_looker(haproxy, use)


class SlowRows:
    """A socket in front of HAProxy's: the answer to a request for all rows of `web` never comes.

    It is so from ``hold`` on.  ``held`` counts these requests, ``closed`` those that the client
    has given up.
    """

    def __init__(self, path: Path, haproxy: HAProxy) -> None:
        self.path, self._haproxy = path, haproxy
        number = next(
            line.split(",")[header.index("iid")]
            for text in [haproxy.ask("show stat")]
            for header in [text.splitlines()[0].removeprefix("# ").split(",")]
            for line in text.splitlines()
            if line.startswith("web,BACKEND,")
        )
        self._all_rows = f"show stat #{number} 7 -1".encode()
        self._tasks: list[asyncio.Task[None]] = []
        self.hold = False
        self.held = self.closed = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve meanwhile."""
        async with await asyncio.start_unix_server(self._serve, self.path):
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on to HAProxy, or hold it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        with contextlib.closing(writer):
            request = await reader.readline()
            if self.hold and self._all_rows in request:
                self.held += 1
                assert await reader.read() == b""
                self.closed += 1
                return
            answers, haproxy = await asyncio.open_unix_connection(str(self._haproxy.socket))
            with contextlib.closing(haproxy), contextlib.suppress(OSError):  # the client has gone
                haproxy.write(request)
                while data := await answers.read(1 << 16):
                    writer.write(data)
                    await writer.drain()


def test_an_event_does_not_wait_for_a_look_at_all_rows(
    haproxy: HAProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watcher gives up a look at all rows that is not due, and asks for what was named."""
    monkeypatch.setattr(look_module, "EARLY", WHOLE_EVERY)  # each quiet look is an early one

    async def run() -> None:
        clock, seen = OwnTime(), list[Observation]()
        slow = SlowRows(tmp_path / "s", haproxy)
        instance = Instance("main", str(slow.path), "anycastd", 60.0, 0.25)
        watcher = Watcher(instance, ASKED, clock=clock, emit=seen.append, interval=5.0)

        def find_gone() -> Snapshot | None:
            looks = (each for each in seen if isinstance(each, Snapshot))
            return next((each for each in looks if usable(each, "s2") is Usable.NO), None)

        async with slow.serving():
            tasks = [asyncio.create_task(watcher.run()), asyncio.create_task(tick_forever(clock))]
            try:
                await eventually(lambda: watcher.event_driven, 20)
                known = len(seen)
                await eventually(lambda: len(seen) > known + 1, 20)  # the new stream's look is over
                slow.hold = True
                await eventually(lambda: slow.held, 20)
                slow.hold = False
                haproxy.ask("set server web/s2 state maint")
                await eventually(find_gone, 20)
                assert not any(isinstance(each, Unreadable) for each in seen)
                await eventually(lambda: slow.closed, 20)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


@pytest.mark.parametrize("number", ["", "0", "x", "1;shutdown sessions server web/s0", "1" * 30])
def test_a_server_without_a_number_is_not_asked_for_by_it(haproxy: HAProxy, number: str) -> None:
    """What HAProxy shows as a number becomes a part of a command only if it is one."""
    asked = Query(frozenset({"web"}), brief_from=1)
    text = haproxy.ask("show stat;show info")
    header = text.splitlines()[0].removeprefix("# ").split(",")
    rows = [line.split(",") for line in text.splitlines() if line.startswith("web,s0,")]
    fields = {**dict(zip(header, rows[0], strict=True)), "sid": number}
    seen = parse_answer(text.replace(",".join(rows[0]), ",".join(fields.values())), 1.0, asked)
    assert list(choose_brief(seen, asked, {}, 2.0, 60.0)) == ["web"]
    assert not choose_brief(seen, asked, {"web": {"s0"}}, 2.0, 60.0)
    assert choose_brief(seen, asked, {"web": {"s1"}}, 2.0, 60.0) == {"web": (2,)}


def test_another_worker_is_asked_for_everything(haproxy: HAProxy) -> None:
    """Its rows are its own: nothing is taken over from the worker before."""

    async def use(looker: Looker) -> None:
        await asyncio.to_thread(haproxy.reload)
        seen = await look(looker)
        assert is_whole(seen)
        assert seen.worker.pid == haproxy.worker

    with_looker(haproxy, use)
    until(lambda: all(haproxy.status(f"web/s{n}") == "UP L4OK" for n in range(3)), 20)
