"""What a share of a backend's servers is a share of."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.appliance import PROFILE, Appliance, own_network
from support.haproxy import free_port, until

pytestmark = pytest.mark.root

BODY = """\
MORE
backend web
    default-server check inter {inter} rise 1 fall 2
    server s1 127.0.0.1:{one}
    server s2 127.0.0.1:{two}
    server s3 127.0.0.1:{two}
    server s4 127.0.0.1:{two}
SLOTS
frontend web
    bind 203.0.113.10:80 transparent
    default_backend web
"""
RESOLVERS = """\
resolvers names
    nameserver n 127.0.0.1:PORT
    resolve_retries 1
    timeout resolve 200ms
    timeout retry 200ms
    hold valid 200ms
    hold nx 200ms
    hold other 200ms
    hold obsolete 200ms
"""
SLOTS = """\
    server-template spare 1-6 web.invalid:80 resolvers names resolve-prefer ipv4 init-addr none
    server srv7 127.0.0.1:1023 disabled weight 0
    server srv8 127.0.0.1:1023 disabled
"""
FOUND = """\
frontend web
    bind 203.0.113.10:80 transparent
    default_backend web
backend web
    default-server check inter {inter} rise 1 fall 2 addr 127.0.0.1 port {one}
    server-template s 1-10 web.invalid:80 resolvers names resolve-prefer ipv4 init-addr none
"""
DEGRADED = 4
"""ASNs of the path at the level degraded."""


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    """Run each test in its own network."""
    with own_network():
        yield


class NameServer:
    """A DNS server (RFC 1035) that answers each question for an A record with ``addresses``."""

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self._socket = socket.socket(type=socket.SOCK_DGRAM)

    def start(self) -> int:
        """Start it on loopback; returns its port."""
        self._socket.bind(("127.0.0.1", 0))
        threading.Thread(target=self._run, daemon=True).start()
        port: int = self._socket.getsockname()[1]
        return port

    def stop(self) -> None:
        """End it."""
        self._socket.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, client = self._socket.recvfrom(4096)
                end = question.index(b"\0", 12) + 5
                is_a = question[end - 4 : end - 2] == b"\0\1"
                records = [
                    b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(each)
                    for each in (self.addresses if is_a else ())
                ]
                code = 0x8180 if self.addresses else 0x8183
                counts = struct.pack(">HHHHH", code, 1, len(records), 0, 0)
                answer = question[:2] + counts + question[12:end] + b"".join(records)
                self._socket.sendto(answer, client)


# FC-SLOTS: litmus_paper issue 51, haproxy-ingress issue 409, kubernetes-ingress issue 64.
@pytest.mark.parametrize("by", ["", ", by: weight"])
def test_a_generated_configuration_with_spare_servers(tmp_path: Path, by: str) -> None:
    """Empty slots are in no share; servers that leave stay in it."""
    body = BODY.replace("MORE", RESOLVERS.replace("PORT", str(free_port()))).replace("SLOTS", SLOTS)
    profile = PROFILE.replace("usable: 50%", f"usable: 50%{by}")
    with Appliance(tmp_path, body=body, profile=profile, inter="100ms") as one:
        one.start()
        assert one.haproxy.row("web", "spare1")["status"] == "MAINT (resolution)"
        one.haproxy.ask("set server web/s3 state maint;set server web/s4 state maint")
        needs = "2 of weight 4" if by else "2 of 4"
        until(lambda: f"{needs} usable" in str(one.status()["services"]["web"]), 20, 0.1)
        one.wait_path(1)
        one.haproxy.ask("set server web/s2 state maint")
        one.wait_path(DEGRADED)
        one.haproxy.reload()
        one.wait_path(1)


# FC-SLOTS: a service that is found by DNS, and whose records go.
def test_servers_whose_records_go(tmp_path: Path) -> None:
    """Three of four records vanish: one of four is left, not one of one."""
    names = NameServer()
    names.addresses = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
    resolvers = RESOLVERS.replace("PORT", str(names.start()))
    body = resolvers + FOUND
    with Appliance(tmp_path, body=body, inter="100ms") as one:
        one.start()
        until(lambda: one.status()["services"]["web"]["level"] == "preferred", 20, 0.1)
        until(lambda: "4 of 4 usable" in str(one.status()["services"]["web"]), 20, 0.1)
        names.addresses = names.addresses[:1]
        one.wait_path(DEGRADED)
        until(lambda: "1 of 4 usable" in str(one.status()["services"]["web"]), 20, 0.1)
    names.stop()


# FC-SLOWSTART: machine-config-operator issue 6400 (weight 256 and a slow start of a minute).
def test_servers_in_their_slow_start(tmp_path: Path) -> None:
    """By weight they count with what HAProxy gives them now, not with what they are to get."""
    body = BODY.replace("MORE", "").replace("SLOTS", "").replace("fall 2", "fall 2 weight 100")
    body = body.replace("backend web\n", "backend web\n    balance roundrobin\n")
    body = body.replace("rise 1", "rise 1 slowstart 8s")
    profile = PROFILE.replace("usable: 50%", "usable: 50%, by: weight")
    with Appliance(tmp_path, body=body, profile=profile, inter="100ms") as one:
        one.start()
        servers = ("s1", "s2", "s3", "s4")
        one.haproxy.ask(";".join(f"set server web/{name} state maint" for name in servers))
        one.wait_path(0)
        one.haproxy.ask(";".join(f"set server web/{name} state ready" for name in servers))
        one.wait_path(DEGRADED)
        assert int(one.haproxy.row("web", "s1")["weight"]) < 50, "the case of this test"
        one.wait_path(1)
        assert int(one.haproxy.row("web", "s1")["weight"]) >= 50
