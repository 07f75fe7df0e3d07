"""A request to the VIP through the loopback -> observations: `selftest` says what they prove.

One request at a time, from the VIP to the VIP, each on a connection of its own.  A request that
is slow delays the next one, so a HAProxy that is full gets one connection of ours per `timeout`
and no more.  All times are own time (`anycastd.system.clock`), in seconds: somebody must tick the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
from collections.abc import Callable
from typing import NoReturn

from anycastd.evidence.vip import selftest
from anycastd.evidence.vip.selftest import Outcome, Probe
from anycastd.profile.model import Network, SelfTest
from anycastd.system.clock import OwnTime
from anycastd.system.ticker import ticking

RETRY_DELAY = 0.02
"""Seconds until a refusal is asked for again: long enough for a listener that moves, short enough
for a withdrawal."""
MAX_ANSWER = 1 << 16
"""Bytes of an answer that are read; its status is in the first few."""

# Python's socket module has it from 3.12 on; linux/in.h calls it IP_BIND_ADDRESS_NO_PORT.
_BIND_ADDRESS_NO_PORT = 24
_RESET = struct.pack("ii", 1, 0)


class Prober:
    """A source: emits one Probe per request, for as long as ``run()`` runs.

    ``emit`` is called in the loop and must not block.
    """

    def __init__(
        self, vip: Network, test: SelfTest, *, clock: OwnTime, emit: Callable[[Probe], None]
    ) -> None:
        self._vip = str(vip.network_address)
        self._family = socket.AF_INET6 if ":" in self._vip else socket.AF_INET
        self._test = test
        self._clock = clock
        self._emit = emit
        self._last: Probe | None = None

    async def run(self) -> NoReturn:
        """Ask for ever; whatever happens to a request is an observation, not an error."""
        while True:
            first = self._last is None
            probe = await self.ask()
            self._emit(probe)
            rest = self._test.every
            if first:  # so that many services do not ask in one breath
                rest *= random.random()  # noqa: S311 - no secret
            if probe.outcome is Outcome.REFUSED and not probe.confirmed:
                rest = RETRY_DELAY
            await asyncio.sleep(max(0.0, probe.asked_at + rest - self._clock.now()))

    async def ask(self) -> Probe:
        """Ask once, in at most ``timeout`` seconds (twice that where we ourselves stalled)."""
        asked, lost = self._clock.now(), self._clock.stalled
        outcome, why = await self._ask(asked)
        if outcome is Outcome.SLOW and self._clock.stalled - lost >= self._clock.interval:
            # We were away, and HAProxy perhaps as well: that proves nothing, ask again.
            asked = self._clock.now()
            outcome, why = await self._ask(asked)
        self._last = selftest.next_probe(self._last, asked, outcome, why)
        return self._last

    async def _ask(self, asked: float) -> tuple[Outcome, str]:
        try:
            connection = socket.socket(self._family, socket.SOCK_STREAM)
        except OSError as error:
            return Outcome.NOT_ATTEMPTED, _words(error)
        heard = bytearray()
        with connection:
            exchange = asyncio.ensure_future(self._exchange(connection, heard))
            try:
                while not exchange.done() and self._clock.now() < asked + self._test.timeout:
                    await asyncio.wait([exchange], timeout=self._clock.interval)
                # An answer that has begun was in time, however long the rest of it is.
                result = (
                    exchange.result() if exchange.done() else selftest.parse_response(bytes(heard))
                )
            finally:
                exchange.cancel()
                await asyncio.wait([exchange])  # it lets go of the socket before that is closed
            if result is None or self._test.http is None:
                # Leave nothing behind: neither a wait of the kernel's nor work for HAProxy.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return result or (Outcome.SLOW, f"no answer within {self._test.timeout:g} s")

    async def _exchange(self, connection: socket.socket, heard: bytearray) -> tuple[Outcome, str]:
        """Connect, ask, and read to the end; ``heard`` grows while the answer comes."""
        loop = asyncio.get_running_loop()
        try:
            connection.setblocking(False)
            with contextlib.suppress(OSError):  # else a port is taken for all destinations
                connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            connection.bind((self._vip, 0))
            await loop.sock_connect(connection, (self._vip, self._test.port))
        except ConnectionRefusedError:
            return Outcome.REFUSED, "refused"
        except ConnectionError as error:
            # It was accepted, and reset at once (`tcp-request connection reject`, a rate limit).
            if self._test.http is not None:
                return Outcome.FAILED, _words(error)
        except OSError as error:
            return Outcome.NOT_ATTEMPTED, _words(error)
        if self._test.http is None:
            return Outcome.PASSED, "connected"
        why = "closed without an answer"
        try:
            await loop.sock_sendall(connection, selftest.build_request(self._test, self._vip))
            while len(heard) < MAX_ANSWER and (data := await loop.sock_recv(connection, 1 << 14)):
                heard += data
        except OSError as error:
            why = _words(error)
        return selftest.parse_response(bytes(heard)) or (Outcome.FAILED, why)


def _words(error: OSError) -> str:
    """Say an error as the system does; asyncio's own words are of its calls."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def probe_once(vip: Network, test: SelfTest, clock: OwnTime) -> Probe:
    """Ask until the result counts, as a Prober does; ticks ``clock`` itself."""
    prober = Prober(vip, test, clock=clock, emit=lambda _: None)
    async with ticking(clock):
        first = await prober.ask()
        return first if first.confirmed else await prober.ask()
