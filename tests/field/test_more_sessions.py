"""Sessions that are up and carry nothing, and what real routers do that nobody expects."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.appliance import OWN, PEERS, PROFILE, VIP, Appliance, own_network
from support.bgp_wire import KEEPALIVE, UPDATE, Closed, build_message
from support.bird import Bird
from support.haproxy import until
from support.peer import Peer, wait_for

pytestmark = pytest.mark.root

WEB = f"{VIP}/32"


@pytest.fixture(autouse=True)
def _network() -> Iterator[None]:
    with own_network():
        yield


class DeafPeer(Peer):
    """A peer that reads nothing while ``deaf`` is true.

    It goes on with its keepalives, and asks for all routes again and again, so that its buffer is
    full soon.
    """

    deaf = False

    def __init__(self, address: str, hold_time: int) -> None:
        super().__init__(address, 179, hold_time=hold_time)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel's minimum

    def _messages(self, connection: socket.socket) -> Iterator[tuple[float, int | None, bytes]]:
        for message in super()._messages(connection):
            while self.deaf and not self._stop.is_set():
                self._stop.wait(0.02)
                self.send(build_message(KEEPALIVE))
                self.ask_refresh()
            yield message


def has_unsent(address: str) -> bool:
    """Return whether the kernel still holds some of what was sent to ``address``."""
    command = ["ss", "-Htn", "dst", f"{address}:179"]
    rows = subprocess.run(command, capture_output=True, encoding="ascii", check=True).stdout
    return any(int(row.split()[2]) > 500 for row in rows.splitlines())


def start(one: Appliance) -> None:
    """Start speaker and agent, and wait until the service is preferred."""
    one.start()
    one.wait_answers()


def wait_for_words(one: Appliance, address: str, words: str) -> None:
    """Wait until the status says that a neighbor's session is down, with ``words``."""

    def read() -> str:
        found = one.status()["neighbors"][address]
        return f"{found['session']}: {found['why']}"

    try:
        until(lambda: read().startswith("down") and words in read(), 30, 0.1)
    except AssertionError:
        raise AssertionError(f"{words!r} not in {read()!r}") from None


# From exabgp issue 1207, frr pull request 8530 and RFC 9687.
def test_a_peer_that_reads_nothing(tmp_path: Path, exabgp_python: str) -> None:
    """Its session is closed, so that it cannot keep what it does not know to be withdrawn."""
    deaf, other = DeafPeer(PEERS[0], hold_time=3), Peer(PEERS[1], 179)
    with Appliance(tmp_path, python=exabgp_python, peers=[deaf, other]) as one:
        start(one)
        deaf.deaf, deaf.accepting = True, False
        until(lambda: has_unsent(deaf.address), 30, 0.1)
        for backend in one.backends:
            backend.stop()
        wait_for(lambda: other.table.get(WEB) is None, 20)
        wait_for(lambda: deaf.list_events(Closed), 30, "closed session")
        wait_for_words(one, deaf.address, "took nothing of what was sent")
        assert not other.list_events(Closed)


# The half-open connection of a firewall that lost its state, with FC-HOLD's hold time of 0.
def test_packets_that_are_lost_one_way(tmp_path: Path, exabgp_python: str) -> None:
    """A withdrawal that does not arrive closes the session, which says so in words."""
    lossy, other = peers = [Peer(PEERS[0], 179, hold_time=0), Peer(PEERS[1], 179)]
    profile = PROFILE.replace("address: 192.0.2.4,", "address: 192.0.2.4, hold_time: 3,")
    with Appliance(tmp_path, python=exabgp_python, peers=peers, profile=profile, ttl=2) as one:
        start(one)
        rules = "table ip lossy { chain out { type filter hook output priority 0;\n"
        rules += f"ip saddr {OWN} ip daddr {lossy.address} drop\n}}\n}}\n"
        subprocess.run(["nft", "-f", "-"], input=rules, encoding="ascii", check=True)
        for backend in one.backends:
            backend.stop()
        wait_for(lambda: WEB not in other.table, 20)
        assert WEB in lossy.table
        wait_for_words(one, lossy.address, "took nothing of what was sent")
        assert one.status()["neighbors"][other.address]["session"] == "up"


# From calico issues 2211 and 7144, frr issue 12030.
def test_a_router_that_keeps_stale_routes(tmp_path: Path, exabgp_python: str) -> None:
    """BIRD with graceful restart, long-lived too, loses the route with a speaker that is killed."""
    keep = "graceful restart on; long lived graceful restart on;"
    with (
        Bird(
            tmp_path,
            PEERS[0],
            179,
            neighbor=OWN,
            extra=f"{keep} long lived stale time 3600;",
            channels={"ipv4": keep},
        ) as bird,
        Appliance(tmp_path, python=exabgp_python, peers=[Peer(PEERS[1], 179)]) as one,
    ):
        start(one)
        until(lambda: WEB in bird.ask("show route protocol speaker"), 20, 0.1)
        assert "Long-lived graceful restart" in bird.ask("show protocols all speaker")
        assert one.speaker is not None
        one.speaker.kill()
        until(lambda: WEB not in bird.ask("show route protocol speaker"), 20, 0.05)


def build_updates(first: int, count: int) -> bytes:
    """Return UPDATEs with three prefixes each, as of a full table, numbered from ``first`` on."""
    path = b"\x40\x01\x01\x00\x40\x02\x0a\x02\x02" + struct.pack("!II", 65515, 64600)
    path += b"\x40\x03\x04\xc0\x00\x02\x04\xc0\x08\x04\xff\xff\x00\x01"
    head = struct.pack("!HH", 0, len(path)) + path
    numbers = range(first * 3, (first + count) * 3)
    prefixes = [b"\x18\x0a" + struct.pack("!H", number % 65536) for number in numbers]
    bodies = [head + b"".join(prefixes[n : n + 3]) for n in range(0, len(prefixes), 3)]
    return b"".join(build_message(UPDATE, body) for body in bodies)


def withdraw_and_return(one: Appliance) -> float:
    """Stop the servers until no peer has the route; return the seconds that this took."""
    began = time.monotonic()
    for backend in one.backends:
        backend.stop()
    one.wait_path(0)
    took = time.monotonic() - began
    for backend in one.backends:
        backend.start()
    one.wait_path(1, 60)
    return took


# From exabgp issues 934 and 477: a full table keeps a speaker from its timers.
def test_a_full_table_while_the_servers_die(tmp_path: Path, exabgp_python: str) -> None:
    """A neighbor that sends as many routes as it can delays no withdrawal by a second."""
    with Appliance(tmp_path, python=exabgp_python) as one:
        start(one)
        flooding, ended = one.peers[0], threading.Event()
        sent: list[int] = []

        def flood() -> None:
            while not ended.is_set():
                flooding.send(build_updates(50 * len(sent), 50))
                sent.append(50)

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        wait_for(lambda: sum(sent) > 10_000, 30, "a full table on its way")
        # A busy machine may be slow once; a table that is in the way is in the way each time.
        assert any(withdraw_and_return(one) < 1.5 for _ in range(3))
        ended.set()
        thread.join(10)
        assert not [each for it in one.peers for each in it.list_events(Closed)]


# A load balancer, or SSH, behind the address; a router whose OPEN is malformed.
@pytest.mark.parametrize(
    ("sent", "words"),
    [(b"SSH-2.0-OpenSSH_9.2p1\r\n", "no BGP router"), (b"", "no connection")],
    ids=["another service", "closes at once"],
)
def test_what_is_no_router(tmp_path: Path, exabgp_python: str, sent: bytes, words: str) -> None:
    """The status says so, and the other neighbor has its routes."""
    ended = threading.Event()
    with socket.create_server((PEERS[0], 179)) as listener:

        def answer() -> None:
            listener.settimeout(0.1)
            while not ended.is_set():
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.sendall(sent)
                        connection.shutdown(socket.SHUT_WR)
                        connection.settimeout(1)
                        while connection.recv(4096):
                            pass

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with Appliance(tmp_path, python=exabgp_python, peers=[Peer(PEERS[1], 179)]) as one:
            start(one)
            wait_for_words(one, PEERS[0], words)
            assert not one.peers[0].list_events(Closed)
        ended.set()
        thread.join(10)
