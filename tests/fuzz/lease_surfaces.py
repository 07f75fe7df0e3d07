"""The surfaces of ExaBGP and the lease: lines, messages, and the speaker's files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from anycastd.bgp.negotiated import Negotiated
from anycastd.bgp.route import Route
from anycastd.lease.commands import Announce, Ping, QueryAdjRibOut, QuerySessions, Withdraw
from anycastd.lease.effects import SendCommand, SendReport
from anycastd.lease.messages import MessageError, Report
from anycastd.lease.reconfigure import RewriteError, WriteResult
from anycastd.lease.settings import LeaseFile, LeaseStartError
from anycastd.speaker.exabgp.api import ApiConversation
from anycastd.speaker.exabgp.contract import dump_negotiated_event
from fuzz.engine import LINE, Surface
from support.lease_rig import PEERS, LeaseRig, route, want

LINE_OF_OURS = re.compile(r"[-a-z0-9.:/,#\[\] ]*")
"""The letters of any line for ExaBGP: those of names, numbers and addresses."""


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


def _surfaces() -> Iterator[Surface]:
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
        (
            b'"routes": [',
            b'"levels": {"preferred": [',
            b'"next_hop": "fe80::1%x y"',
            b'"epoch": 1000000000000000000',
        ),
        _feed_agent_message,
        LINE,
    )
    yield Surface(
        "lease-report",
        "the lease process",
        tuple(_reports()),
        (b'"neighbors": ', b'"held": ', b'"levels": '),
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


LEASE_SURFACES = tuple(_surfaces())
"""Surfaces of ExaBGP and the lease, after those of HAProxy in the table in docs/security.md."""
