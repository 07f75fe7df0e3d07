"""Send the self-test's requests to the VIP -> Probes; ``selftest`` says what they prove (I/O).

It sends one request at a time, from the VIP to the VIP, each on a new connection.  A slow request
delays the next one, so a full HAProxy gets at most one such connection in each `timeout`.  All
times are own time (`anycastd.system.clock`), in seconds.  The caller ticks the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import socket
import struct
from collections.abc import Callable
from typing import NoReturn

from anycastd.evidence.vip import selftest
from anycastd.evidence.vip.selftest import MIN_AGREEING, Outcome, Probe, compute_max_age
from anycastd.evidence.vip.tcp_listeners import describe_listeners
from anycastd.profile.model import Network, SelfTest
from anycastd.system.clock import OwnTime
from anycastd.system.ticker import ticking

RETRY_DELAY = 0.02
"""Seconds between a first refusal and the request that confirms it.

It is long enough for a reload to replace the listener, and short enough for a fast withdrawal.
"""
SLOW_EVERY, SLOW_FOR = 1.0, 600.0
"""Seconds.  After a slow or a rate-limited answer, one request each SLOW_EVERY, for SLOW_FOR.

A rate limit that ten requests a second exceed lets one pass, and a HAProxy that is full has rest.
"""
MIN_LATE, LATE_TIMES = 0.02, 4
"""An answer is late after MIN_LATE seconds, or LATE_TIMES the usual time, whichever is longer."""
MAX_ANSWER = 1 << 16
"""Maximum size of an answer in bytes; its status is at its beginning."""

# Python's socket module has it from 3.12 on; linux/in.h calls it IP_BIND_ADDRESS_NO_PORT.
_BIND_ADDRESS_NO_PORT = 24
_RESET = struct.pack("ii", 1, 0)


class Prober:
    """Source of Probes: emits one for each request while ``run()`` runs.

    ``emit`` is called in the event loop and must not block.  ``name`` is that of the service.
    ``on_late`` is called while an answer takes longer than usual.
    """

    def __init__(
        self,
        vip: Network,
        test: SelfTest,
        *,
        clock: OwnTime,
        emit: Callable[[Probe], None],
        name: str = "",
        on_late: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = f"self-test {name}"
        self._vip = str(vip.network_address)
        self._family = socket.AF_INET6 if ":" in self._vip else socket.AF_INET
        self._test = test
        self._clock = clock
        self._emit = emit
        self._on_late = on_late
        self._usual = 0.0
        self._last_probe: Probe | None = None
        self._slow_until = -math.inf

    def list_problems(self) -> tuple[str, ...]:
        """List the processes that listen on the port, while answers are mixed; for the status."""
        if self._last_probe is None or not self._last_probe.mixed:
            return ()
        who = describe_listeners(self._vip, self._test.port)
        return (f"VIP {self._vip}: on port {self._test.port} listen {who}",) if who else ()

    async def run(self) -> NoReturn:
        """Send requests until cancelled; a request that fails is an observation, not an error."""
        while True:
            first = self._last_probe is None
            probe = await self.send_request()
            self._emit(probe)
            rest = self._choose_interval(probe)
            if first:  # so that many services do not ask at the same moment
                rest *= random.random()  # noqa: S311 - no secret
            if probe.outcome is Outcome.REFUSED and not probe.confirmed:
                rest = RETRY_DELAY
            await asyncio.sleep(max(0.0, probe.asked_at + rest - self._clock.now()))

    def _choose_interval(self, probe: Probe) -> float:
        """Return the seconds from this request to the next one."""
        if probe.outcome in (Outcome.SLOW, Outcome.LIMITED) and probe.count >= MIN_AGREEING:
            self._slow_until = probe.asked_at + SLOW_FOR
        if probe.asked_at >= self._slow_until:
            return self._test.every
        # Often enough that no result grows too old before the next one.
        return max(self._test.every, min(SLOW_EVERY, compute_max_age(self._test) / 2))

    async def send_request(self) -> Probe:
        """Send one request, in at most ``timeout`` seconds (twice that if this process stalled).

        Never raises for a request that fails: the Probe says how it failed.
        """
        asked_at, stalled = self._clock.now(), self._clock.stalled
        outcome, detail = await self._exchange_in_time(asked_at)
        if outcome is Outcome.SLOW and self._clock.stalled - stalled >= self._clock.interval:
            # This process stalled, and HAProxy perhaps as well: it proves nothing, ask again.
            asked_at = self._clock.now()
            outcome, detail = await self._exchange_in_time(asked_at)
        self._last_probe = selftest.build_probe(self._last_probe, asked_at, outcome, detail)
        return self._last_probe

    async def _exchange_in_time(self, asked_at: float) -> tuple[Outcome, str]:
        try:
            connection = socket.socket(self._family, socket.SOCK_STREAM)
        except OSError as error:
            return Outcome.NOT_ATTEMPTED, _describe_error(error)
        received = bytearray()
        with connection:
            exchange = asyncio.ensure_future(self._exchange(connection, received))
            try:
                await self._await_usual(exchange)
                while not exchange.done() and self._clock.now() < asked_at + self._test.timeout:
                    await asyncio.wait([exchange], timeout=self._clock.interval)
                # An answer that has begun was in time, however long the rest of it is.
                result = (
                    exchange.result()
                    if exchange.done()
                    else selftest.parse_response(bytes(received))
                )
            finally:
                exchange.cancel()
                await asyncio.wait([exchange])  # it must end before its socket is closed
            if result is None or self._test.http is None:
                # Reset: no TIME_WAIT in the kernel, no work left for HAProxy.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return result or (Outcome.SLOW, f"no answer within {self._test.timeout:g} s")

    async def _await_usual(self, exchange: asyncio.Future[tuple[Outcome, str]]) -> None:
        """Wait for an answer as long as one usually takes; tell if it is late."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        late_after = min(max(MIN_LATE, LATE_TIMES * self._usual), self._test.timeout)
        await asyncio.wait([exchange], timeout=late_after)
        if not exchange.done():
            self._on_late()
        elif not exchange.exception() and exchange.result()[0] is Outcome.PASSED:
            self._usual += (loop.time() - began_at - self._usual) / 8  # as RFC 6298 smooths

    async def _exchange(
        self, connection: socket.socket, received: bytearray
    ) -> tuple[Outcome, str]:
        """Connect, send and read to the end; ``received`` grows while the answer arrives."""
        loop = asyncio.get_running_loop()
        try:
            connection.setblocking(False)
            with contextlib.suppress(OSError):  # else the port would be in use for all destinations
                connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            connection.bind((self._vip, 0))
            await loop.sock_connect(connection, (self._vip, self._test.port))
        except ConnectionRefusedError:
            return Outcome.REFUSED, "refused"
        except ConnectionError as error:
            # It was accepted, and reset at once (`tcp-request connection reject`, a rate limit).
            if self._test.http is not None:
                return Outcome.FAILED, _describe_error(error)
        except OSError as error:
            return Outcome.NOT_ATTEMPTED, _describe_error(error)
        if self._test.http is None:
            return Outcome.PASSED, "connected"
        detail = "closed without an answer"
        try:
            await loop.sock_sendall(connection, selftest.build_request(self._test, self._vip))
            while len(received) < MAX_ANSWER and (
                data := await loop.sock_recv(connection, 1 << 14)
            ):
                received += data
        except OSError as error:
            detail = _describe_error(error)
        return selftest.parse_response(bytes(received)) or (Outcome.FAILED, detail)


def _describe_error(error: OSError) -> str:
    """Describe an error in the system's words; asyncio's own texts name its calls."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def probe_once(vip: Network, test: SelfTest, clock: OwnTime) -> Probe:
    """Send one request to the VIP, and a second one if the first result does not count yet.

    Returns the newest Probe.  Ticks ``clock``.
    """
    prober = Prober(vip, test, clock=clock, emit=lambda _: None)
    async with ticking(clock):
        first = await prober.send_request()
        return first if first.confirmed else await prober.send_request()
