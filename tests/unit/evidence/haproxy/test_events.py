from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import socket
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycastd.evidence.haproxy.answer import MalformedAnswerError
from anycastd.evidence.haproxy.event_stream import MAX_LINE, EventStream
from anycastd.evidence.haproxy.events import (
    MAX_START,
    Event,
    build_stream_request,
    classify_event,
    explain_refusal,
    parse_stream_start,
)
from anycastd.evidence.haproxy.snapshot import Worker
from anycastd.system.clock import OwnTime
from captures.states import EXPECTED
from support.haproxy import answer_fast, replace_haproxy
from support.waiting import eventually

CAPTURES = Path(__file__).resolve().parents[3] / "captures"
VERSIONS = ["2.6", "3.0"]
PROXIES = {name.partition("/")[0] for name in EXPECTED} | {"empty", "web", "paused", "traffic"}
INFO = "Name: HAProxy\nVersion: 2.6.12\nPid: 7\nUptime_sec: 1\nStart_time_sec: 9\n\n"

HEADERS = [
    "",
    "<1>",
    "<129>",
    "2026-11-30T11:06:07.511208+00:00 ",
    "<1>2026-11-30T11:06:07.005811+00:00 ",
    "<129>Nov 30 11:06:07 haproxy[6654]: ",
    "<129>Nov  1 11:06:05 vm haproxy[6612]: ",
    "<129>1 2026-11-30T11:06:05.524389+00:00 vm haproxy 6619 - - ",
]
"""What a ring of each format writes before a message: raw, short, priority, iso, and so on."""
OWN = [
    "Server b/s is DOWN. 0 active and 0 backup servers left.",
    "Server b/s ('192.0.2.7') is UP/READY (resolves again).",
    "Backup Server b/s was DOWN and now enters maintenance.",
    "Health check for server b/s succeeded, reason: Layer4 check passed.",
    "Agent check for backup server b/s failed, reason: x",
    "b/s changed its IP from 192.0.2.1 to 192.0.2.2 by DNS cache.",
    "Paused frontend b.",
    "backend b has no server available!",
    "Proxy b stopped (cumulated conns: FE: 0, BE: 0).",
    "Proxy b reached process FD limit (maxsock=200). Please check 'ulimit-n' and restart.",
]
"""Messages of HAProxy's own about the proxy `b`."""


def read_events(version: str) -> list[str]:
    """Read the lines that a ring of this version really got."""
    return (CAPTURES / f"events-{version}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_event_of_a_real_haproxy_is_understood(version: str) -> None:
    """What a ring really got: each line asks for a look, or tells that the worker is stopping."""
    seen = set()
    for line in read_events(version):
        event, proxy, _ = classify_event(line)
        words = {"stopped": Event.STOPPING, "Paused": Event.PAUSED, "Resumed": Event.RESUMED}
        expected = [each for word, each in words.items() if word in line]
        assert [event] == (expected or [Event.LOOK]), line
        assert re.search(rf"(?<![\w.]){re.escape(proxy)}\b|{re.escape(proxy)}", line)
        assert proxy in PROXIES | {"<HTTPCLIENT>"}, line
        seen.add(event)
    assert seen == {Event.STOPPING, Event.LOOK, Event.PAUSED}


@pytest.mark.parametrize(
    ("line", "event", "proxy"),
    [
        ("backend b has no server available!", Event.LOOK, "b"),
        ("<128>Jan  1 00:00:00 h haproxy[7]: Server b/s is DOWN. 0 active", Event.LOOK, "b"),
        ("Backup Server b/s is UP. 1 active and 1 backup servers online.", Event.LOOK, "b"),
        ("Health check for backup server b/s failed, reason: x.", Event.LOOK, "b"),
        ("Paused frontend f.", Event.PAUSED, "f"),
        ("Resumed frontend f.", Event.RESUMED, "f"),
        ("Proxy f hard-stopped (3 remaining conns will be closed).", Event.STOPPING, "f"),
        ("10.0.0.1:4711 [01/Jan:00:00:00] web web/s1 0/0/0/1/1 200 9 - - ----", Event.NOTHING, ""),
        ("Connect from 10.0.0.1:4711 to 10.0.0.2:80 (web/HTTP)", Event.NOTHING, ""),
        ("", Event.NOTHING, ""),
    ],
)
def test_lines_that_matter_and_lines_that_do_not(line: str, event: Event, proxy: str) -> None:
    """Traffic in the ring wakes nobody, whatever header the ring writes."""
    assert classify_event(line)[:2] == (event, proxy)


def test_the_stream_begins_with_its_worker() -> None:
    """Which worker a stream hangs on is known from its first block."""
    assert build_stream_request("anycastd") == "show info;show events anycastd -w -n\n"
    info = "Name: HAProxy\nVersion: 2.6.12\nPid: 7\nUptime_sec: 1\nStart_time_sec: 9\n\n"
    for end in range(len(info)):
        assert parse_stream_start(info[:end]) is None
    assert parse_stream_start(info + "Server b/s") == (
        Worker(7, 1.0, False, "2.6.12", 9),
        "Server b/s",
    )
    with pytest.raises(MalformedAnswerError):
        parse_stream_start("Permission denied\n\n")


def test_a_refused_stream_says_what_to_write() -> None:
    """The reason for polling names the lines that would end it."""
    assert "log ring@r format raw local0 notice" in explain_refusal("No such event sink\n", "r")
    assert "level operator" in explain_refusal("Permission denied\n\n", "r")
    assert "what is this" in explain_refusal("what is this\n", "r")


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("message", OWN)
def test_own_messages_are_known_in_every_format_of_a_ring(header: str, message: str) -> None:
    """Each message of HAProxy's own is understood behind the header of each format."""
    event, proxy, _ = classify_event(header + message)
    assert event is not Event.NOTHING
    assert proxy == "b"


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("message", OWN)
def test_client_text_means_nothing(header: str, message: str) -> None:
    """A request line that quotes one of HAProxy's messages asks for nothing."""
    # FC-RINGNOISE: openSUSE/heroes-salt (log-separate-errors, captured headers)
    request = f"{header}203.0.113.7:4711 [01/Jan/2026:00:00:00.000] web web/s1 0/0/0/1/1 400 9 "
    for line in (
        f'{request}- - CR-- {{{message}}} "POST / HTTP/1.1"',
        f'{request}- - CR-- "GET /{message} HTTP/1.1"',
        f"{request}{message}",
        f"{header}web {{: {message}}}",
        f"{header} {message}",
        f"{header}x: {message}",
    ):
        assert classify_event(line) == (Event.NOTHING, "", ""), line


@settings(max_examples=300)
@given(st.text(max_size=300), st.sampled_from(OWN), st.sampled_from(HEADERS))
def test_no_text_before_a_message_makes_it_one(text: str, message: str, header: str) -> None:
    """What stands behind the address of a client is never a message of HAProxy's own."""
    assert classify_event(f"{header}203.0.113.7:1 [{text}{message}")[0] is Event.NOTHING


@pytest.mark.parametrize(
    "part",
    ["a", "a/", "a ", "<1>", "Server ", "Server a/", "backend a ", "Paused frontend ", "1 ", ": "],
)
@pytest.mark.parametrize("before", ["", *HEADERS[1:], *OWN])
def test_a_long_line_costs_no_more_than_a_short_one(before: str, part: str) -> None:
    """A line of 64 kB is classified in a millisecond, whatever it repeats."""
    # M2a: a search for a name without a bound took 24 s here
    line = before + part * ((1 << 16) // len(part))

    def measure() -> float:
        began = time.perf_counter()
        classify_event(line)
        return time.perf_counter() - began

    assert min(measure() for _ in range(3)) < 0.001


def test_a_start_without_an_end_is_refused() -> None:
    """What never ends its `show info` is no HAProxy."""
    assert parse_stream_start("x" * MAX_START) is None
    with pytest.raises(MalformedAnswerError, match="has no end"):
        parse_stream_start("x" * (MAX_START + 1))


def open_stream(path: Path) -> EventStream:
    """Open a stream that watches the proxy `b`; call it in an event loop."""
    return EventStream(str(path), "r", ("b",), asyncio.Event(), OwnTime())


def test_a_stream_that_never_begins_is_refused(tmp_path: Path) -> None:
    """An endless answer instead of `show info` ends the stream, and none of it is kept."""
    # M3

    async def run() -> None:
        stream = open_stream(tmp_path / "sock")
        await eventually(lambda: stream.ended, 5)
        assert stream.worker is None
        assert len(stream.refusal) <= MAX_LINE

    with replace_haproxy(tmp_path / "sock", answer_fast):
        asyncio.run(run())


@pytest.mark.parametrize("part", [b"x", b"Server a/s is DOWN.\n", b"\n", b"\xff"])
def test_an_endless_stream_needs_no_memory_and_little_time(tmp_path: Path, part: bytes) -> None:
    """HAProxy writes without a pause: memory stays flat, and the loop is free for other work."""
    sent = threading.Event()

    def flood(connection: socket.socket, _: bytes) -> None:
        connection.sendall(INFO.encode())
        block = part * ((1 << 16) // len(part))
        while True:
            connection.sendall(block)
            sent.set()

    async def run() -> None:
        stream = open_stream(tmp_path / "sock")
        await eventually(lambda: stream.worker and sent.is_set(), 5)
        tracemalloc.start()
        end = time.monotonic() + 0.3
        await eventually(lambda: time.monotonic() > end, 5, every=0.02)
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        used, began = resource.getrusage(resource.RUSAGE_THREAD), time.monotonic()
        end = began + 0.5
        await eventually(lambda: time.monotonic() > end, every=0.02)
        after, lasted = resource.getrusage(resource.RUSAGE_THREAD), time.monotonic() - began
        stream.close()
        assert kept < 1 << 20
        took = after.ru_utime - used.ru_utime + after.ru_stime - used.ru_stime
        assert took < lasted / 2  # without pauses it takes nearly all of it

    with replace_haproxy(tmp_path / "sock", flood):
        asyncio.run(run())


def test_what_follows_a_long_line_is_read(tmp_path: Path) -> None:
    """A line that is too long is one line; its tail is not taken for another."""

    def serve(connection: socket.socket, _: bytes) -> None:
        long = b"x" * (1 << 18)  # several reads
        connection.sendall(INFO.encode() + long + b"Proxy b stopped (\nServer b/s is DOWN.\n")
        with contextlib.suppress(OSError):
            connection.recv(1)

    async def run() -> None:
        stream = open_stream(tmp_path / "sock")
        await eventually(lambda: stream.named, 5)
        assert (stream.lines, stream.stopping) == (2, False)
        stream.close()

    with replace_haproxy(tmp_path / "sock", serve):
        asyncio.run(run())
