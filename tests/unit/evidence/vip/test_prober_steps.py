"""Requests of the self-test whose steps have to be waited for, or end at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from ipaddress import ip_network

from anycastd.evidence.vip.prober import Prober
from anycastd.evidence.vip.selftest import Outcome, Probe
from anycastd.profile.model import SelfTest
from anycastd.system.clock import OwnTime
from anycastd.system.ticker import ticking
from support.haproxy import Web

HERE = ip_network("127.0.0.1/32")
TIMEOUT = 60.0
"""Longer than anything here takes."""


def by_http(port: int) -> SelfTest:
    """Build a self-test by HTTP."""
    return SelfTest(None, port, "/", None, 0.05, TIMEOUT)


def by_tcp(port: int) -> SelfTest:
    """Build a self-test by a connection."""
    return SelfTest(port, None, "/", None, 0.05, TIMEOUT)


async def send(test: SelfTest, late: asyncio.Event | None = None) -> Probe:
    """Send one request; ``late`` is set when its answer takes longer than usual."""
    clock = OwnTime()
    late = late or asyncio.Event()
    prober = Prober(HERE, test, clock=clock, emit=lambda _: None, on_late=late.set)
    async with ticking(clock):
        return await prober.send_request()


@contextlib.contextmanager
def resetting() -> Iterator[int]:
    """Accept connections and reset each at once; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        linger = struct.pack("ii", 1, 0)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        thread = threading.Thread(target=reset)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_connection_that_is_reset_at_once() -> None:
    """Somebody listens: it is all the same in which step the reset comes."""
    with resetting() as port:
        for _ in range(20):
            assert asyncio.run(send(by_tcp(port))).outcome is Outcome.PASSED
            found = asyncio.run(send(by_http(port)))
            assert found.outcome is Outcome.FAILED
            assert found.detail in {"connection reset by peer", "broken pipe"}


def test_a_connection_that_takes_its_time() -> None:
    """A full queue drops the first packet, and the kernel sends another one a second later."""

    async def ask(listener: socket.socket) -> Probe:
        late = asyncio.Event()
        request = asyncio.create_task(send(by_http(listener.getsockname()[1]), late))
        await late.wait()
        assert not request.done()
        await asyncio.to_thread(serve, listener)
        return await request

    def serve(listener: socket.socket) -> None:
        listener.accept()[0].close()  # what filled the queue
        with listener.accept()[0] as connection:
            assert connection.recv(4096).startswith(b"GET / ")
            connection.sendall(Web.OK)

    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        assert asyncio.run(ask(listener)).outcome is Outcome.PASSED


def test_an_answer_in_pieces() -> None:
    """Each piece is waited for; the status may be cut anywhere."""

    async def ask(listener: socket.socket) -> Probe:
        request = asyncio.create_task(send(by_http(listener.getsockname()[1])))
        await asyncio.to_thread(serve, listener)
        return await request

    def serve(listener: socket.socket) -> None:
        pieces = (b"HTTP/1.1 1", b"00 Wait\r\n", b"\r\nHTTP/1.1 50", b"3 No\r\n", b"\r\n")
        with listener.accept()[0] as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.recv(4096)
            for each in pieces:
                connection.sendall(each)
                threading.Event().wait(0.01)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = asyncio.run(ask(listener))
        assert (found.outcome, found.detail) == (Outcome.FAILED, "HTTP 503")


def test_a_request_longer_than_the_kernel_takes_at_once() -> None:
    """It is sent in pieces, as the server reads them."""
    path = "/" + "x" * (8 << 20)
    lengths: list[int] = []

    async def ask(listener: socket.socket) -> Probe:
        test = SelfTest(None, listener.getsockname()[1], path, None, 0.05, TIMEOUT)
        request = asyncio.create_task(send(test))
        await asyncio.to_thread(serve, listener)
        return await request

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as connection, connection.makefile("rb") as stream:
            lengths.extend(map(len, iter(stream.readline, b"\r\n")))
            connection.sendall(Web.OK)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert asyncio.run(ask(listener)).outcome is Outcome.PASSED
    assert lengths[0] == len(f"GET {path} HTTP/1.1\r\n")
