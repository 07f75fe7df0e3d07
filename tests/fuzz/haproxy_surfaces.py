"""The surfaces of HAProxy: its answers, its events, and answers to the self-test."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from anycastd.evidence.finding import RuleRef
from anycastd.evidence.haproxy import events
from anycastd.evidence.haproxy.answer import MalformedAnswerError
from anycastd.evidence.haproxy.brief_look import choose_brief
from anycastd.evidence.haproxy.conditions import evaluate_rule
from anycastd.evidence.haproxy.query import Query, build_request, iter_service_rules
from anycastd.evidence.haproxy.stats import parse_answer
from anycastd.evidence.vip import selftest
from fuzz.asked_servers import ask_as_told
from fuzz.engine import Surface
from support.profiles import profile

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
INFO = b"Name: HAProxy\nVersion: 2.6.12\nPid: 123\nUptime_sec: 7\nStopping: 0\n\n"


def _capture(name: str) -> bytes:
    return (CAPTURES / name).read_bytes()


_PROFILE = profile(
    ("healthy: {backend: web, usable: 50%}", "healthy: {backend: web, usable: 50%, by: weight}"),
    ("failed: withdraw", "failed: withdraw\n    maintenance: {map: /etc/down.map, key: web}"),
)
_INSTANCE = _PROFILE.haproxy["main"]
_SERVICE = _PROFILE.services["web"]
_RULES = tuple(iter_service_rules(_SERVICE))
_REFS = tuple(RuleRef("web", (str(number),), "main", "") for number in range(len(_RULES)))
QUERY = replace(Query.from_services((_SERVICE,), "main"), brief_from=1)


def _feed_answer(data: bytes) -> None:
    """Read one answer after the other, as looks do, and evaluate every rule on each."""
    before = None
    for number, text in enumerate(data.decode(errors="replace").split("\f")[:4]):
        with contextlib.suppress(MalformedAnswerError):
            before = parse_answer(text, 100.0 + number, QUERY, before=before)
            named = {name: [s.name for s in it.servers] for name, it in before.backends.items()}
            brief = choose_brief(before, QUERY, named, 100.5 + number, 60.0)
            ask_as_told(before, text)
            line = build_request(QUERY, before, brief).line
            assert re.fullmatch(r"[-\w./#; ]*\n", line, re.ASCII), f"other commands: {line!r}"
            assert not re.search(r"#\d+ 4 (?!\d+;)", line), f"no number of a server: {line!r}"
            for ref, rule in zip(_REFS, _RULES, strict=True):
                finding = evaluate_rule(ref, rule, _INSTANCE, before, 100.5 + number)
                assert finding.value.isprintable(), f"for operators: {finding.value!r}"


def _feed_events(data: bytes) -> None:
    for line in data.decode(errors="replace").split("\n"):
        events.classify_event(line)


def _feed_stream_start(data: bytes) -> None:
    with contextlib.suppress(MalformedAnswerError):
        events.parse_stream_start(data.decode(errors="replace"))


def _feed_self_test(data: bytes) -> None:
    selftest.parse_response(data)


def _surfaces() -> Iterator[Surface]:
    look = _capture("look-2.6.txt")
    rows = _capture("states-2.6.txt")
    start = _capture("start-2.6.txt")
    first_rows = b"\n".join(rows.split(b"\n")[:6]) + b"\n\n"
    yield Surface(
        "haproxy-answer",
        "HAProxy, and through it the servers that it checks",
        (
            look,
            look + b"\f" + look.replace(b"UP,1,", b"MAINT,1,") + b"\f" + look,
            start + b"\f" + look,
            rows + b"\n" + INFO,
            b"No such proxy.\n\n" + first_rows + INFO,
        ),
        (
            b"web,BACKEND,0,0,",
            b"No such proxy.\n",
            b"[3]: Unknown command.\n",
            b"# be_id be_name srv_id srv_name srv_addr srv_op_state\n",
            b'"a""b\n',
            b"\n\n",
            INFO,
            b"key found=no\n",
            *(b"Uptime_sec: ", b"L7OKC", b"UP 1/3", b"\f", b"# pxname,svname,"),
            b"MAINT (resolution)",
            b"DOWN (agent)",
        ),
        _feed_answer,
    )
    lines = _capture("events-2.6.txt")
    pieces = (
        *(line + b"\n" for line in lines.split(b"\n")[:12]),
        b"Proxy web stopped (",
        b" has no server available!",
        b"Server web/s1 is DOWN",
        b"<134>Nov 30 10:00:00 haproxy[12]: 192.0.2.1:40000 [30/Nov/2026:10:00:00.000] web ",
    )
    yield Surface(
        "haproxy-event", "HAProxy, and its clients", (lines[:3000],), pieces, _feed_events
    )
    yield Surface("haproxy-stream", "HAProxy", (INFO + lines[:500],), pieces, _feed_stream_start)
    yield Surface(
        "self-test",
        "whoever listens on the VIP",
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.0 503 No\r\n\r\n"),
        (b"HTTP/1.1 ", b"\r\n", b"200"),
        _feed_self_test,
    )


HAPROXY_SURFACES = tuple(_surfaces())
"""Surfaces of HAProxy, first in the table in docs/security.md."""
