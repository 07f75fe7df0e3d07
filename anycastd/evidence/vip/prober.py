"""Send the self-test's requests to the VIP -> Probes; ``selftest`` says what they prove (I/O).

It sends one request at a time, from the VIP to the VIP, each on a new connection.  A slow request
delays the next one, so a full HAProxy gets at most one such connection in each `timeout`.  All
times are own time (`anycastd.system.clock`), in seconds.  The caller ticks the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Generator
from typing import NoReturn

from anycastd.evidence.vip import selftest
from anycastd.evidence.vip.selftest import MIN_AGREEING, Outcome, Probe, compute_max_age
from anycastd.evidence.vip.tcp_listeners import describe_listeners
from anycastd.profile.model import Network, SelfTest
from anycastd.system.clock import OwnTime
from anycastd.system.readiness import wait_ready
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
_Exchange = Generator[bool, None, tuple[Outcome, str]]


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
        self._request = selftest.build_request(test, self._vip)
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
            connection = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            return Outcome.NOT_ATTEMPTED, _describe_error(error)
        received = bytearray()
        with connection:
            exchange = self._exchange(connection, received)
            result = await self._run_exchange(exchange, connection.fileno(), asked_at)
            if result is None or self._test.http is None:
                # Reset: no TIME_WAIT in the kernel, no work left for HAProxy.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # An answer that has begun was in time, however long the rest of it is.
        result = result or selftest.parse_response(bytes(received))
        return result or (Outcome.SLOW, f"no answer within {self._test.timeout:g} s")

    async def _run_exchange(
        self, exchange: _Exchange, fd: int, asked_at: float
    ) -> tuple[Outcome, str] | None:
        """Run ``exchange`` on ``fd`` and return its result, None at the timeout.

        Tells if the answer takes longer than one usually does.
        """
        began_at, is_late = time.monotonic(), False
        late_at = began_at + min(max(MIN_LATE, LATE_TIMES * self._usual), self._test.timeout)
        try:
            while True:
                is_writing = next(exchange)
                left = late_at - time.monotonic()
                if left <= 0:
                    left = self._clock.interval
                    if not is_late:
                        is_late = True
                        self._on_late()
                    # Only now: what came while this process stalled counts as in time.
                    if self._clock.now() >= asked_at + self._test.timeout:
                        return None
                await wait_ready(fd, left, writable=is_writing)
        except StopIteration as ended:
            result: tuple[Outcome, str] = ended.value
            if result[0] is Outcome.PASSED and not is_late:
                took = time.monotonic() - began_at
                self._usual += (took - self._usual) / 8  # as RFC 6298 smooths
            return result

    def _exchange(self, connection: socket.socket, received: bytearray) -> _Exchange:
        """Connect, send and read to the end; ``received`` grows while the answer arrives.

        Yields where it has to wait: True until the connection is writable, False until readable.
        """
        try:
            with contextlib.suppress(OSError):  # else the port would be in use for all destinations
                connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            connection.bind((self._vip, 0))
            yield from _connect(connection, (self._vip, self._test.port))
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
            yield from _send(connection, self._request)
            while len(received) < MAX_ANSWER:
                try:
                    data = connection.recv(1 << 14)
                except BlockingIOError:
                    yield False
                    continue
                if not data:
                    break
                received += data
        except OSError as error:
            detail = _describe_error(error)
        return selftest.parse_response(bytes(received)) or (Outcome.FAILED, detail)


def _connect(connection: socket.socket, target: tuple[str, int]) -> Generator[bool, None, None]:
    """Connect, and yield where that has to wait; raises OSError where it fails.

    A second connect(2) tells how the first one ended.  To an address of this machine it has ended
    at once, although it said EINPROGRESS.
    """
    code = connection.connect_ex(target)
    if code == errno.EINPROGRESS:
        while (code := connection.connect_ex(target)) == errno.EALREADY:
            yield True
    if code not in (0, errno.EISCONN):
        raise OSError(code, os.strerror(code))


def _send(connection: socket.socket, request: bytes) -> Generator[bool, None, None]:
    """Send ``request``, and yield until the answer may be there; raises OSError."""
    unsent = request
    while unsent:
        try:
            unsent = unsent[connection.send(unsent) :]
        except BlockingIOError:
            yield True
    yield False


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
