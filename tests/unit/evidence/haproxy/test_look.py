"""One look: what is asked again, what is nobody's fault but ours, and what is never raised."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from anycastd.evidence.haproxy import look
from anycastd.evidence.haproxy.look import MAX_EXCHANGES, Looker, look_once
from anycastd.evidence.haproxy.query import MAX_NAMES, Query
from anycastd.evidence.haproxy.snapshot import Snapshot, Unreadable
from anycastd.reasons import Reason
from anycastd.system.clock import OwnTime
from anycastd.system.ticker import ticking
from support.descriptors import no_free_descriptor
from support.haproxy import free_port, replace_haproxy, run_haproxy
from support.snapshots import query

T = TypeVar("T")

INFO = "Name: HAProxy\nPid: {pid}\nUptime_sec: 1\nVersion: 2.6.12\n\n"
HEADER = (
    "# pxname,svname,scur,qcur,econ,wretr,wredis,status,weight,bck,iid,tracked,type,"
    "check_status,last_chk,last_agt,agent_status,"
    "lastchg,chkfail,chkdown,check_duration,check_fall,addr,act,sid\n"
)


class Fake:
    """HAProxy's place on a stats socket: it answers each command of a line by ``answer``."""

    def __init__(self) -> None:
        self.pid = 1
        self.tracked = ""
        self.changed: dict[str, str] = {}
        self.requests: list[str] = []

    def serve(self, connection: socket.socket, request: bytes) -> None:
        """Answer one connection."""
        line = request.decode().strip()
        self.requests.append(line)
        connection.sendall("".join(self.answer(each) for each in line.split(";")).encode())

    def answer(self, command: str) -> str:
        """Answer one command."""
        if command in self.changed:
            return self.changed[command]
        if command == "show info":
            return INFO.format(pid=self.pid)
        server = f"web,s1,0,0,0,0,0,UP,1,0,3,{self.tracked},2,L4OK,,,,,,,,,,,\n"
        rows = server + "web,BACKEND,0,0,0,0,0,UP,1,,3,,1,,,,,,,,,,,,\n"
        return HEADER + (rows if command in ("show stat", "show stat #3 7 -1") else "") + "\n"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    """Run a fake at ``tmp_path / "s"``."""
    it = Fake()
    with replace_haproxy(tmp_path / "s", it.serve):
        yield it


def with_looker(
    path: Path, asked: Query, use: Callable[[Looker], Awaitable[T]], timeout: float = 1.0
) -> T:
    """Run ``use`` with a looker."""

    async def run() -> T:
        clock = OwnTime()
        async with ticking(clock):
            with contextlib.closing(Looker(str(path), asked, clock, timeout)) as looker:
                return await use(looker)

    return asyncio.run(run())


def test_a_refused_number_is_asked_in_full(fake: Fake, tmp_path: Path) -> None:
    """Whatever HAProxy says to a number, the look has its rows; that worker is not asked so again.

    Another worker is asked by number again.
    """
    fake.changed = {"show stat #3 7 -1": "[3]: No such proxy.\n\n"}

    async def use(looker: Looker) -> None:
        for _ in range(3):
            seen = await looker.look()
            assert isinstance(seen, Snapshot)
            assert seen.backends["web"].counts.proved == 1
        assert fake.requests == [
            "show stat;show info",
            "show stat #3 7 -1;show info",
            "show stat;show info",
            "show stat;show info",
        ]
        fake.pid, fake.changed = 2, {}
        fake.requests.clear()
        for _ in range(2):
            await looker.look()
        assert fake.requests[-1] == "show stat #3 7 -1;show info"

    with_looker(tmp_path / "s", query({"web"}), use)


def test_a_number_that_has_become_anothers(fake: Fake, tmp_path: Path) -> None:
    """An answer by number that lacks a backend is not the proof that HAProxy lacks it."""

    async def use(looker: Looker) -> None:
        await looker.look()
        fake.changed = {"show stat #3 7 -1": HEADER + "\n"}
        seen = await looker.look()
        assert isinstance(seen, Snapshot)
        assert "web" in seen.backends

    with_looker(tmp_path / "s", query({"web"}), use)


def test_what_haproxy_lacks_is_asked_for_now_and_then(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later HAProxy may add a backend while it runs; its name is never part of a command."""
    names = query({"web", "domain"})

    async def use(looker: Looker) -> None:
        for _ in range(3):
            await looker.look()
        assert fake.requests[1:] == ["show stat #3 7 -1;show info"] * 2
        monkeypatch.setattr(look, "ABSENT_INTERVAL", 0.0)
        await looker.look()
        assert fake.requests[-1] == "show stat;show info"

    with_looker(tmp_path / "s", names, use)


def test_backends_that_are_tracked_without_an_end(fake: Fake, tmp_path: Path) -> None:
    """Each answer names another one: a bounded number of connections, and names."""
    numbers = iter(range(1_000_000))
    answer = fake.answer

    def change(command: str) -> str:
        fake.tracked = f"backend{next(numbers)}/s"
        return answer(command)

    fake.answer = change  # type: ignore[method-assign]

    async def use(looker: Looker) -> None:
        seen = await looker.look()
        assert isinstance(seen, Snapshot)
        assert len(fake.requests) <= MAX_EXCHANGES
        for _ in range(100):
            assert isinstance(await looker.look(), Snapshot)
        assert len(looker.proxies) <= MAX_NAMES

    with_looker(tmp_path / "s", query({"web"}), use)


def test_a_lack_of_descriptors_is_ours(
    fake: Fake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named as such, logged once, and over with the lack."""

    async def use(looker: Looker) -> None:
        with no_free_descriptor():
            for _ in range(3):
                seen = await looker.look()
                assert isinstance(seen, Unreadable)
                assert seen.reason is Reason.AGENT_SHORT
                assert "Too many open files" in seen.detail
        assert isinstance(await looker.look(), Snapshot)

    with caplog.at_level(logging.ERROR):
        with_looker(tmp_path / "s", query({"web"}), use)
    (record,) = caplog.records
    assert "this agent cannot ask HAProxy: Too many open files" in record.getMessage()
    assert fake.requests


@pytest.mark.parametrize("error", [TypeError("x"), RecursionError(), MemoryError()])
def test_an_exception_of_a_parser_is_an_unreadable_answer(
    fake: Fake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """It ends nothing, and is logged once, with its traceback where it is a bug."""

    def parse(*_: object, **__: object) -> Snapshot:
        raise error

    async def use(looker: Looker) -> None:
        monkeypatch.setattr(look, "parse_in_turns", parse)
        for _ in range(3):
            seen = await looker.look()
            assert isinstance(seen, Unreadable)
            is_lack = isinstance(error, MemoryError)
            assert seen.reason is (Reason.AGENT_SHORT if is_lack else Reason.ANSWER_MALFORMED)
        monkeypatch.undo()
        assert isinstance(await looker.look(), Snapshot)

    with caplog.at_level(logging.ERROR):
        with_looker(tmp_path / "s", query({"web"}), use)
    (record,) = caplog.records
    assert bool(record.exc_info) is not isinstance(error, MemoryError)
    assert fake.requests


def test_what_was_read_before_a_time_out_is_shown(tmp_path: Path) -> None:
    """An answer that does not end is quoted, printable, so that one sees who answers."""

    def serve(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"220 mail.example ESMTP\x1b[2J\r\n")
        connection.recv(1)

    with replace_haproxy(tmp_path / "s", serve):
        seen = asyncio.run(look_once(str(tmp_path / "s"), query({"web"}), OwnTime(), 0.2))
    assert isinstance(seen, Unreadable)
    assert seen.detail.endswith("it began '220 mail.example ESMTP\\x1b[2J\\r\\n'")


def test_a_look_in_which_this_process_stalls(tmp_path: Path) -> None:
    """It asks again, for a third of the time: it ends before the answer before it is too old."""
    requests: list[bytes] = []
    timeout, ticks = 1.5, 0.6  # less than the two thirds that it would take longer otherwise

    def serve(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        connection.recv(1)

    async def use(looker: Looker) -> tuple[Unreadable, float]:
        clock = looker._clock  # noqa: SLF001 - the time that it goes by
        began_at = clock.now()
        asyncio.get_running_loop().call_later(0.1, time.sleep, 0.4)
        seen = await looker.look()
        assert isinstance(seen, Unreadable)
        assert seen.began_at - began_at < ticks, "silent from the first question on"
        return seen, clock.now() - began_at

    with replace_haproxy(tmp_path / "s", serve):
        seen, took = with_looker(tmp_path / "s", query({"web"}), use, timeout)
    assert len(requests) == 2
    assert seen.missed == 1
    assert timeout * 4 / 3 - 0.01 < took < timeout * 4 / 3 + ticks


def test_a_request_that_no_buffer_holds(tmp_path: Path) -> None:
    """10,000 entries of a map, asked for in one line of 600 kB, of a real HAProxy."""
    path = tmp_path / "maintenance.map"
    path.write_text("key-of-some-length-0 on\n", encoding="utf-8")
    body = f"""
frontend web
    bind 127.0.0.1:{free_port()}
    http-request deny if {{ str(web),map_str({path},off) on }}
"""
    entries = frozenset((str(path), f"key-of-some-length-{n}") for n in range(10_000))
    with run_haproxy(tmp_path, body) as haproxy:
        began_at = time.monotonic()
        asked = Query(frontends=frozenset({"web"}), entries=entries)
        seen = asyncio.run(look_once(str(haproxy.socket), asked, OwnTime(), 30.0))
    assert isinstance(seen, Snapshot)
    assert len(seen.entries) == 10_000
    assert [key for (_, key), value in seen.entries.items() if value] == ["key-of-some-length-0"]
    assert time.monotonic() - began_at < 30
