"""The HAProxy file that users install: accepted, complete, and as fast as its comments say."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Snapshot
from support.haproxy import BINARY, HAProxy, Web, free_port, until
from support.watcher_thread import Watching

SHIPPED = Path(__file__).resolve().parents[4] / "haproxy" / "haproxy.cfg"


def filled(directory: Path, servers: list[Web], settings: str = "calm") -> str:
    """Give the shipped file with this test's paths, addresses and user."""
    text = SHIPPED.read_text(encoding="utf-8").replace(
        "backend web from calm", f"backend web from {settings}"
    )
    text = re.sub(r"^ +(user|group|chroot|log /dev/log) .*$", "", text, flags=re.MULTILINE)
    text = text.replace("mode 660 group haproxy", "mode 660")
    text = text.replace("/run/haproxy/anycastd.sock", str(directory / "stats.sock"))
    for number, server in enumerate(servers, 1):
        text = text.replace(f"10.0.3.1{number}:80", f"127.0.0.1:{server.port}")
    return text.replace("bind :80", f"bind 127.0.0.1:{free_port()}")


@pytest.fixture
def servers() -> Iterator[list[Web]]:
    """Give two servers."""
    both = [Web(), Web()]
    yield both
    for server in both:
        server.stop()


@pytest.fixture
def haproxy(
    tmp_path: Path, servers: list[Web], request: pytest.FixtureRequest
) -> Iterator[HAProxy]:
    """Give a HAProxy with the shipped file; a parameter names the check settings."""
    settings = getattr(request, "param", "calm")
    it = HAProxy(tmp_path, filled(tmp_path, servers, settings), head="")
    try:
        yield it.start()
    finally:
        it.kill()


def proved(seen: Snapshot) -> bool:
    """Whether both servers count."""
    return [each.usable for each in seen.backends["web"].servers] == [Usable.YES] * 2


def none_left(seen: Snapshot) -> bool:
    """Whether no server counts."""
    return [each.usable for each in seen.backends["web"].servers] == [Usable.NO] * 2


def get(port: int) -> bytes:
    """Ask for a page; the answer's first line."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return client.recv(4096).partition(b"\r\n")[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="HAProxy looks the user up and changes to it")
@pytest.mark.parametrize("settings", ["calm", "fast"])
def test_the_file_is_accepted_as_it_is(tmp_path: Path, settings: str) -> None:
    """HAProxy accepts it without a warning, with either set of check settings."""
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        SHIPPED.read_text(encoding="utf-8").replace("web from calm", f"web from {settings}"),
        encoding="utf-8",
    )
    assert BINARY is not None
    done = subprocess.run(
        [BINARY, "-c", "-f", str(config)], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert not re.search("WARNING|ALERT", done.stdout + done.stderr)


def test_what_a_rehearsal_fills_in_is_unambiguous() -> None:
    """One stats socket, two servers, one line that chooses the check settings."""
    lines = [line.strip() for line in SHIPPED.read_text(encoding="utf-8").splitlines()]
    code = [line for line in lines if line and not line.startswith("#")]
    assert sum(line.startswith("stats socket /run/haproxy/anycastd.sock ") for line in code) == 1
    assert sum(line.startswith("stats socket ") for line in code) == 1
    assert [line.split()[2] for line in code if line.startswith("server ")] == [
        "10.0.3.11:80",
        "10.0.3.12:80",
    ]
    assert code.count("backend web from calm") == 1
    assert code.count("bind :80") == 1


def reload_until_proved(haproxy: HAProxy, watching: Watching) -> float:
    """Reload HAProxy; return the seconds until both servers of the new worker are proved."""
    haproxy.reload()
    began, new = time.monotonic(), haproxy.worker

    def is_proved() -> bool:
        seen = watching.seen[-1]
        return isinstance(seen, Snapshot) and seen.worker.pid == new and proved(seen)

    until(is_proved)
    return time.monotonic() - began


@pytest.mark.parametrize("haproxy", ["calm", "fast"], indirect=True)
def test_the_agent_finds_what_the_profile_names(haproxy: HAProxy) -> None:
    """Events are heard, both servers are proved within half a second of a reload, no more rights.

    First checks would be spread over a whole `inter` without `max-spread-checks`.
    """
    with Watching(haproxy.socket, frontends=("web",)) as watching:
        watching.until(Snapshot, proved)
        assert watching.settled().frontends["web"].is_open
        # A busy machine may be slow once; a whole `inter` is waited for each time.
        assert any(reload_until_proved(haproxy, watching) < 0.5 for _ in range(5))
        assert watching.settled().polling == ""
    assert haproxy.ask("set server web/web1 state drain") == "Permission denied\n\n"
    assert haproxy.ask("disable frontend web") == "Permission denied\n\n"


@pytest.mark.parametrize(
    ("haproxy", "within"), [("calm", 0.4), ("fast", 0.2)], indirect=["haproxy"]
)
def test_live_traffic_finds_dead_servers(
    haproxy: HAProxy, servers: list[Web], within: float
) -> None:
    """Requests tell of two dead servers long before the checks' own rhythm would."""
    with Watching(haproxy.socket) as watching:
        # A busy machine may be slow once; the checks' own rhythm would be slow each time.
        assert any(kill_under_traffic(haproxy, watching, servers) < within for _ in range(5))


def kill_under_traffic(haproxy: HAProxy, watching: Watching, servers: list[Web]) -> float:
    """Stop all servers under traffic, and start them; return the seconds until that was seen."""
    watching.until(Snapshot, proved)
    watching.settled()
    died = time.monotonic()
    for server in servers:
        server.stop()
    clients = []
    while not none_left(watching.last()):
        # Nobody waits for an answer: that is what a rush of clients looks like.
        clients.append(socket.create_connection(("127.0.0.1", haproxy.port)))
        clients[-1].sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert time.monotonic() - died < 20
        time.sleep(0.01)
    took = watching.times[-1] - died
    for client in clients:
        client.close()
    for server in servers:
        server.start()
    return took


def test_one_dead_server_costs_no_client_an_error(haproxy: HAProxy, servers: list[Web]) -> None:
    """A request that a server refuses goes to the other one."""
    until(lambda: haproxy.status("web/web1") == haproxy.status("web/web2") == "UP L4OK")
    servers[0].stop()
    answers = [get(haproxy.port) for _ in range(20)]
    assert set(answers) == {b"HTTP/1.0 200 OK"}, answers


def test_a_lone_error_takes_no_server_away(haproxy: HAProxy, servers: list[Web]) -> None:
    """Refused once or twice is no death: the next check passes, and the server stays."""
    until(lambda: haproxy.status("web/web1") == haproxy.status("web/web2") == "UP L4OK")
    servers[0].stop()
    get(haproxy.port)
    get(haproxy.port)
    servers[0].start()
    until(lambda: haproxy.status("web/web1") == "UP L4OK")
    assert haproxy.row("web", "web1")["chkdown"] == "0"
