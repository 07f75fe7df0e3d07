"""The surfaces of the product: where text enters that somebody else may have written.

Each ``feed`` lets through no exception that the reader of that text expects, and checks what must
hold for any text.  What is left is a fault of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h11

from anycastd.agent.control_server import ControlServer
from anycastd.agent.http_server import HttpServer
from anycastd.agent.json_cache import JsonCache
from anycastd.agent.page import Page
from anycastd.agent.peer_access import AccessPolicy, PeerUser
from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.route import Route
from anycastd.decision.memory import load_memory
from anycastd.decision.region_report import parse_region_report
from anycastd.decision.stored_drains import dump_drains, load_drains
from anycastd.evidence.finding import RuleRef
from anycastd.evidence.haproxy import events
from anycastd.evidence.haproxy.answer import MalformedAnswerError
from anycastd.evidence.haproxy.brief_look import choose_brief
from anycastd.evidence.haproxy.check_times import parse_check_times
from anycastd.evidence.haproxy.conditions import evaluate_rule
from anycastd.evidence.haproxy.config_names import parse_config_names
from anycastd.evidence.haproxy.query import Query, build_request, iter_service_rules
from anycastd.evidence.haproxy.stats import parse_answer
from anycastd.evidence.vip import netlink, selftest
from anycastd.lease.commands import Announce, Ping, QueryAdjRibOut, QuerySessions, Withdraw
from anycastd.lease.effects import SendCommand, SendReport
from anycastd.lease.messages import MessageError, Report
from anycastd.lease.reconfigure import RewriteError, WriteResult
from anycastd.lease.settings import LeaseFile, LeaseStartError
from anycastd.profile.validate import validate_profile
from anycastd.speaker.exabgp.api import ApiConversation
from anycastd.speaker.exabgp.contract import dump_negotiated_event
from fuzz.asked_servers import ask_as_told
from fuzz.check_surfaces import CHECK_SURFACES
from fuzz.engine import Surface
from fuzz.import_surfaces import IMPORT_SURFACES
from support.lease_rig import PEERS, LeaseRig, route, want
from support.profiles import TEXT, profile

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
INFO = b"Name: HAProxy\nVersion: 2.6.12\nPid: 123\nUptime_sec: 7\nStopping: 0\n\n"
LINE = 50e-6
"""Seconds of CPU time for each byte of what is read line by line: a line may have one byte."""
LINE_OF_OURS = re.compile(r"[-a-z0-9.:/,#\[\] ]*")
"""The letters of any line for ExaBGP: those of names, numbers and addresses."""


def _capture(name: str) -> bytes:
    return (CAPTURES / name).read_bytes()


# HAProxy ------------------------------------------------------------------------------------------

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


# ExaBGP and the lease -----------------------------------------------------------------------------

_STATE = (
    b'{ "exabgp": "4.0.1", "time": 1.5, "host" : "nva", "pid" : 2, "ppid" : 1, "counter": 1, '
    b'"type": "state", "neighbor": { "address": { "local": "192.0.2.10", "peer": "192.0.2.4" }, '
    b'"asn": { "local": 65010, "peer": 65515 } , "state": "down", '
    b'"reason": "peer reset, message (notification sent (4,0,hold timer expired))" } }'
)
_NEGOTIATED = dump_negotiated_event("192.0.2.4", Negotiated((), 9, True)).encode()
_RIB_ROW = (
    b"neighbor 192.0.2.4 local-ip 192.0.2.10 local-as 65010 peer-as 65515 router-id 192.0.2.10 "
    b"family-allowed in-open ipv4 unicast 203.0.113.10/32 next-hop 192.0.2.10 "
    b"as-path [ 65010 65010 ] med 5 local-preference 97 community [ 65535:0 65010:2 ]"
)


def _feed_exabgp(data: bytes) -> None:
    conversation = ApiConversation(PEERS, 65010)
    leased = Route(PEERS[0], "203.0.113.10/32", "192.0.2.10", (65010,))
    conversation.send(QuerySessions(), Announce(leased), Ping(), QueryAdjRibOut(), Withdraw(leased))
    for line in data.decode(errors="replace").split("\n"):
        conversation.receive(line)


def _feed_agent_message(data: bytes) -> None:
    """Whatever an agent sends: every line that leaves for ExaBGP has letters of ours alone."""
    rig = LeaseRig()
    conversation = ApiConversation(PEERS, 65010)
    for line in data.split(b"\n"):
        for effect in rig.lease.on_message(1, line, rig.now):
            if isinstance(effect, SendCommand):
                for sent in conversation.send(effect.command).splitlines():
                    assert LINE_OF_OURS.fullmatch(sent), f"for ExaBGP: {sent!r}"
    rig.lease.tick(rig.now + 60)


def _feed_report(data: bytes) -> None:
    with contextlib.suppress(MessageError):
        Report.load(data)


def _feed_lease_file(data: bytes) -> None:
    with contextlib.suppress(LeaseStartError):
        LeaseFile.load(data.decode(errors="replace"))


def _feed_write_result(data: bytes) -> None:
    with contextlib.suppress(RewriteError):
        WriteResult.load(data)


# Agent --------------------------------------------------------------------------------------------


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


# The table ----------------------------------------------------------------------------------------


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
    yield Surface(
        "exabgp-line",
        "ExaBGP, and through it BGP neighbors",
        (
            _STATE,
            b"exabgp 5.0.15\ndone\nPeer up/down\n192.0.2.4 65515 up 1\ndone\ndone\n"
            + _RIB_ROW
            + b"\ndone\ndone\n",
        ),
        (
            b"done\n",
            b"error\n",
            _STATE + b"\n",
            _RIB_ROW + b"\n",
            b"notification sent (6,2,",
            _NEGOTIATED + b"\n",
        ),
        _feed_exabgp,
        LINE,
    )
    yield Surface(
        "agent-message",
        "whoever may connect to the lease's socket",
        (
            want(1, route()),
            want(1, route(), route(neighbor=PEERS[1], asns=7)) + want(2),
            b'{"v": 1, "reload": true}',
        ),
        (b'"routes": [', b'"next_hop": "fe80::1%x y"', b'"epoch": 1000000000000000000'),
        _feed_agent_message,
        LINE,
    )
    yield Surface(
        "lease-report",
        "the lease process",
        tuple(_reports()),
        (b'"neighbors": ', b'"held": '),
        _feed_report,
    )
    yield Surface(
        "lease-file",
        "the speaker",
        (_lease_file(),),
        (b'"prefixes": ', b'"ttl_max": ', b'"local_pref": 97'),
        _feed_lease_file,
    )
    yield Surface(
        "write-result",
        "the rewrite of the speaker's files",
        (WriteResult("0f", True, ("192.0.2.4",), PEERS).dump().encode(),),
        (),
        _feed_write_result,
    )
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
        ((CAPTURES.parents[1] / "haproxy" / "haproxy.cfg").read_bytes(),),
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


def _reports() -> Iterator[bytes]:
    """Yield the lines of Reports that a real lease sends."""
    rig = LeaseRig(route())
    effects = rig.lease.on_message(1, want(1, route()), rig.now)
    for effect in [*rig.effects, *effects, *rig.lease.tick(rig.now + 1)]:
        if isinstance(effect, SendReport):
            yield effect.report.dump()


def _lease_file() -> bytes:
    file = LeaseFile("/run/lease.sock", None, ("203.0.113.10/32",), PEERS, 65010, 10.0)
    return file.dump().replace("\n", "").encode()


SURFACES: tuple[Surface, ...] = (*_surfaces(), *CHECK_SURFACES, *IMPORT_SURFACES)
"""Every surface, in the order of the table in docs/security.md."""
