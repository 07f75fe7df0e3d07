"""The surfaces of the agent and of `check`: requests, files, other regions, the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import h11

from anycastd.agent.control_server import ControlServer
from anycastd.agent.http_server import HttpServer
from anycastd.agent.json_cache import JsonCache
from anycastd.agent.page import Page
from anycastd.agent.peer_access import AccessPolicy, PeerUser
from anycastd.decision.memory import load_memory
from anycastd.decision.region_report import parse_region_report
from anycastd.decision.stored_drains import dump_drains, load_drains
from anycastd.evidence.haproxy.check_times import parse_check_times
from anycastd.evidence.haproxy.config_names import parse_config_names
from anycastd.evidence.vip import netlink
from anycastd.profile.validate import validate_profile
from fuzz.engine import LINE, Surface
from support.profiles import TEXT

ROOT = Path(__file__).resolve().parents[2]


async def _answer_nothing(_: object) -> dict[str, object]:
    return {}


_CONTROL = ControlServer(
    "/nowhere",
    {"status": _answer_nothing, "drain": _answer_nothing},
    AccessPolicy(find_name=lambda uid: f"user {uid}"),
)
_ROOT = PeerUser(0, frozenset({0}))
_HTTP = HttpServer(None, {path: Page(JsonCache(dict), 1.0) for path in ("/status", "/serving")})


def _feed_control(data: bytes) -> None:
    answer = asyncio.run(_CONTROL._answer(data, _ROOT))  # noqa: SLF001
    json.dumps(answer)


def _feed_http(data: bytes) -> None:
    """Answer by the real parser, with an answer that another parser reads as one answer."""
    pieces = asyncio.run(_HTTP.answer_head(data))
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(b"".join(pieces))
    response = client.next_event()
    assert isinstance(response, h11.Response), f"no answer: {response!r}"
    assert response.status_code in {200, 400, 401, 404, 405}


def _feed_region(data: bytes) -> None:
    parse_region_report(data.decode(errors="replace"), "westeurope", 100.0)


def _feed_drains(data: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(data)
        with contextlib.suppress(ValueError):
            table = load_drains(document, 100.0)
            dump_drains(table, 100.0)


def _feed_memory(data: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(data)
        if isinstance(document, dict):
            with contextlib.suppress(ValueError):
                load_memory(document, 100.0)


def _feed_profile(data: bytes) -> None:
    found = validate_profile(data.decode(errors="replace"), "profile.yaml")
    for problem in found.problems:
        text = str(problem)
        assert text.replace("\n", "").isprintable(), f"not printable: {text!r}"


def _feed_haproxy_file(data: bytes) -> None:
    text = data.decode(errors="replace")
    parse_check_times(text)
    found = parse_config_names(text)
    names = [*found.backends, *(each.name for each in found.frontends)]
    assert all(re.fullmatch(r"[-A-Za-z0-9_.:]{1,255}", name) for name in names)
    found.choose("203.0.113.10")


def _feed_netlink(data: bytes) -> None:
    with contextlib.suppress(OSError):  # then everything is read anew
        netlink.parse_changes(data)


def _surfaces() -> Iterator[Surface]:
    yield Surface(
        "control-request",
        "root and the group of the control socket",
        (b'{"v": 1, "ask": "status"}\n', b'{"v": 1, "ask": "drain", "with": {"service": "web"}}\n'),
        (b'"ask": ', b'"with": ', b'{"v": 1'),
        _feed_control,
    )
    yield Surface(
        "http-request",
        "whoever reaches the HTTP address",
        (
            b"GET /status HTTP/1.1\r\nHost: 192.0.2.10:9480\r\n\r\n",
            b"HEAD /serving?vip=203.0.113.10&x=%41 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
        ),
        (
            b"GET ",
            b"HTTP/1.1\r\n",
            b"Host: x\r\n",
            b"Content-Length: 5\r\n",
            b"Content-Length: " + b"9" * 5000 + b"\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Authorization: Bearer x\r\n",
            b"?a=%ff&",
        ),
        _feed_http,
    )
    yield Surface(
        "region-report",
        "whoever answers at the address of another region",
        (
            (
                b'{"v": 1, "region": "westeurope", "vips": {"203.0.113.10/32": '
                b'{"serves": true, "draining": false}}}'
            ),
        ),
        (b'"vips": ', b'"serves": '),
        _feed_region,
    )
    yield Surface(
        "drains-file",
        "whoever may write the state directory",
        (
            (
                b'[{"service": "web", "reason": "patches", "by": "root", "age": 1.0, "wait": 30.0, '
                b'"left": null, "force": false, "gone": {"web": 3.5}}]'
            ),
        ),
        (b'"gone": {', b'"age": ', b'"left": '),
        _feed_drains,
    )
    yield Surface(
        "memory-file",
        "whoever may write the state directory",
        (b'{"failures": 2, "failed": 9.5, "changed": 3.0, "returned": null, "announced": true}',),
        (b'"level": ', b'"changed": '),
        _feed_memory,
    )
    yield Surface(
        "profile",
        "root",
        (TEXT.encode(),),
        (
            b"&a ",
            b"*a",
            b"<<: *a\n",
            b"- ",
            b"{a: 1}, ",
            b"services:\n",
            b"\xef\xbb\xbffailed: 1\n",
        ),
        _feed_profile,
        200e-6,
    )
    yield Surface(
        "haproxy-file",
        "root, or what writes haproxy.cfg",
        ((ROOT / "haproxy" / "haproxy.cfg").read_bytes(),),
        (b"backend web\n", b"    default-server check inter 1s fastinter 20ms fall 2\n", b" # "),
        _feed_haproxy_file,
        LINE,
    )
    yield Surface(
        "netlink",
        "the kernel, and processes with CAP_NET_ADMIN",
        (
            (
                b"\x28\0\0\0\x14\0\0\0\0\0\0\0\0\0\0\0\x02\x20\0\0\x01\0\0\0"
                b"\x08\0\x01\0\xcb\0\x71\x0a\x08\0\x02\0\xcb\0\x71\x0a"
            ),
        ),
        (b"\0" * 16, b"\x10\0\0\0", b"\x08\0\x03\0\xff\xfe\0\0"),
        _feed_netlink,
    )


AGENT_SURFACES = tuple(_surfaces())
"""Surfaces of the agent, after those of the lease in the table in docs/security.md."""
