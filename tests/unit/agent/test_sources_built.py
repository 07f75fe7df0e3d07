"""Which sources an agent has, by its profile."""

from __future__ import annotations

import pytest

from anycastd.agent.inbox import Inbox
from anycastd.agent.sources import build_sources, build_watchers
from anycastd.system.clock import OwnTime
from support.profiles import profile

HAPROXY = "main: {socket: /run/haproxy/anycastd.sock, ring: anycastd}"


@pytest.mark.parametrize(
    ("haproxy", "asked"),
    [
        (HAPROXY, True),
        (HAPROXY.replace("}", ", ask_servers: true}"), True),
        (HAPROXY.replace("}", ", ask_servers: false}"), False),
        ("main: {socket: 'tcp://10.10.0.4:9999'}", False),
    ],
)
def test_servers_are_asked_where_the_profile_says_so(haproxy: str, *, asked: bool) -> None:
    """By default; never those of a HAProxy on another machine, which reaches other servers."""
    its, clock, inbox = profile((HAPROXY, haproxy)), OwnTime(0.05), Inbox()
    watchers = build_watchers(its, clock, inbox)
    names = [source.name for source in build_sources(its, clock, inbox, watchers)]
    assert ("servers of haproxy main" in names) is asked
