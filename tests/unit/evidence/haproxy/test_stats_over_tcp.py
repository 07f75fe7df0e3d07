"""HAProxy's stats socket over TCP: looks, events, gone against silent, and `check`'s inventory."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycastd.evidence.haproxy.inventory import list_proxies, read_servers
from anycastd.evidence.haproxy.look import look_once
from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot, Unreadable
from anycastd.system.clock import OwnTime
from support.appliance import own_network
from support.haproxy import HEAD, HAProxy, Web, free_port, run_haproxy, until
from support.snapshots import query
from support.watcher_thread import Watching


class Scene:
    """A HAProxy with a server, and the address of its stats socket."""

    def __init__(self, haproxy: HAProxy, web: Web, port: int) -> None:
        self.haproxy, self.web, self.port = haproxy, web, port
        self.socket = f"tcp://127.0.0.1:{port}"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A HAProxy that answers on a TCP port, too, as `stats socket ipv4@...` has it."""
    web, port = Web(), free_port()
    line = f"global\n    stats socket ipv4@127.0.0.1:{port} level admin\n"
    head = HEAD.replace("global\n", line, 1)
    body = f"""
backend web
    server s1 127.0.0.1:{web.port} check inter 50ms fall 1 rise 1
frontend web
    bind 127.0.0.1:{free_port()}
    default_backend web
"""
    with run_haproxy(tmp_path, body, head) as it:
        yield Scene(it, web, port)
    web.stop()


def look(where: str, timeout: float = 5.0) -> Observation:
    """Take one look at the backend."""
    return asyncio.run(look_once(where, query({"web"}, {"web"}), OwnTime(), timeout))


def test_a_look_over_tcp_is_a_look(scene: Scene) -> None:
    """The same answer as by the path; and what `check` asks besides."""
    until(lambda: scene.haproxy.status("web/s1").startswith("UP L"))
    found = look(scene.socket)
    assert isinstance(found, Snapshot)
    assert found.worker.pid == scene.haproxy.worker
    assert [each.usable for each in found.backends["web"].servers] == [Usable.YES]
    assert list_proxies(scene.socket) == list_proxies(str(scene.haproxy.socket))
    assert "web" in list_proxies(scene.socket).backends
    assert list(read_servers(scene.socket)) == ["web"]


def test_events_come_over_tcp(scene: Scene) -> None:
    """A server that goes down is seen long before the next look is due."""
    with Watching(scene.socket, interval=30.0, frontends=("web",)) as watching:
        until(lambda: watching.watcher.event_driven, 20)
        scene.web.stop()
        until(
            lambda: (
                isinstance(watching.seen[-1], Snapshot)
                and [each.usable for each in watching.seen[-1].backends["web"].servers]
                == [Usable.NO]
            ),
            20,
        )


def test_a_dead_haproxy_is_gone_at_once(scene: Scene) -> None:
    """The other machine's kernel refuses; an event stream that is open says nothing there."""
    with Watching(scene.socket, interval=30.0) as watching:
        until(lambda: watching.watcher.event_driven, 20)
        scene.haproxy.signal(signal.SIGKILL)
        until(lambda: isinstance(watching.seen[-1], Gone), 20)
    found = look(scene.socket)
    assert isinstance(found, Gone)
    assert found.detail == f"{scene.socket}: Connection refused"


def test_a_reload_is_not_gone(scene: Scene) -> None:
    """The new worker takes the port over; no look is refused."""
    with Watching(scene.socket, interval=0.05) as watching:
        until(lambda: watching.watcher.event_driven, 20)
        before = scene.haproxy.worker
        scene.haproxy.reload()
        after = scene.haproxy.worker
        until(
            lambda: (
                isinstance(watching.seen[-1], Snapshot)
                and watching.seen[-1].worker.pid == after != before
            ),
            20,
        )
        assert not [each for each in watching.seen if isinstance(each, Gone)]


def test_silence_is_not_gone(scene: Scene) -> None:
    """A HAProxy that hangs; a queue of connections that is full; a machine without a route."""
    scene.haproxy.signal(signal.SIGSTOP)
    try:
        found = look(scene.socket, 0.3)
    finally:
        scene.haproxy.signal(signal.SIGCONT)
    assert isinstance(found, Unreadable)
    assert "no answer within 0.3 s" in found.detail
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        with socket.create_connection(address):
            found = look(f"tcp://{address[0]}:{address[1]}", 0.3)
    assert isinstance(found, Unreadable)


@pytest.mark.root
def test_without_a_route_it_is_unreadable() -> None:
    """It says something of this machine's network, and nothing of HAProxy."""
    with own_network():
        found = look("tcp://198.51.100.1:9999", 0.5)
    assert isinstance(found, Unreadable)
    assert found.detail == "tcp://198.51.100.1:9999: Network is unreachable"


def test_ipv6_has_brackets() -> None:
    """The address is found again in the text of the profile."""
    found = look(f"tcp://[::1]:{free_port()}", 1.0)
    assert isinstance(found, Gone)
