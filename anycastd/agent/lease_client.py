"""The agent's end of the lease: a sink for wanted routes, a source of the lease's reports.

There is no renewal timer here.  Only ``want()`` sends, and only a decision pass calls it; what is
sent is whole state, so nothing is kept to be repeated: after a reconnect the next pass says it,
and of what waits for a lease process that does not read, only the newest is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import tenacity

from anycastd.bgp.route import Route
from anycastd.decision.pipeline import LeaseView
from anycastd.lease.messages import MAX_MESSAGE, MessageError, Reload, Report, Want
from anycastd.system.clock import OwnTime

log = logging.getLogger(__name__)

RETRY_MIN, RETRY_MAX = 0.02, 0.5
"""Seconds between attempts to reach the lease: growing, jittered."""
BRIEF = 1.0
"""A connection that ended within so many seconds is no success: the next one waits."""
SILENT = 8.0
"""Seconds of own time in which a Want must be answered; ExaBGP itself has 5, the hold time is 9."""
LISTEN = 1.0
"""Seconds between two looks whether the lease is silent."""

_OTHER = "the speaker runs other sessions or VIPs than this profile has"


@dataclass(frozen=True, slots=True)
class ExpectedSpeaker:
    """What the speaker must agree with: hashes of the profile's sessions and VIPs.

    ``ask``: have it read the profile again in any case; an MD5 password is in no hash.
    """

    sessions: str
    vips: str
    ask: bool = False


class LeaseClient:
    """Keep a connection to the lease process at ``path``.

    ``emit`` gets a LeaseView whenever something about the lease changed.  ``silent`` is called when
    the lease process has not answered for SILENT seconds on ``clock``.  ``ran_out`` is set when the
    newest report says that nothing is held: what was wanted was not renewed in time, or died.
    """

    def __init__(
        self,
        path: str,
        ttl: float,
        emit: Callable[[LeaseView], None],
        *,
        clock: OwnTime,
        terms: ExpectedSpeaker,
        silent: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.ttl = ttl
        self.emit = emit
        self.clock = clock
        self.terms = terms
        self.silent = silent
        self.view = LeaseView()
        self.lost = ""
        self.serial = 0
        self._epoch = time.monotonic_ns()
        self._writer: asyncio.StreamWriter | None = None
        self._news = asyncio.Event()
        self.ran_out = False
        self._wanted: tuple[Route, ...] = ()
        self._waiting: Want | None = None
        self._more = asyncio.Event()
        self._unanswered: float | None = None
        self._asked = self._tried = False
        self._garbled = ""

    async def run(self) -> None:
        """Connect, listen, connect again, until cancelled or the lease is lost to another agent."""
        loop = asyncio.get_running_loop()
        while not self.lost:
            reader, writer, first = await self._reach()
            since = loop.time()
            pump = asyncio.create_task(self._pump(writer))
            try:
                self._take(first)
                await self._listen(reader)
            except (OSError, ValueError) as error:
                log.warning("the lease at %s: %s", self.path, error)
            finally:
                pump.cancel()
                self._close()
            self._show(replace(self.view, connected=False))
            if loop.time() - since < BRIEF and not self.lost:
                await asyncio.sleep(RETRY_MAX)

    def want(
        self, routes: Iterable[Route], ttl: float | None = None, *, leaving: bool = False
    ) -> int | None:
        """Say the whole wanted set, for ``ttl`` seconds (None: the profile's); give its serial.

        ``leaving``: it is the last one of this agent, which ends in order.
        """
        if self._writer is None:
            return None  # nobody there: the lease runs out by itself
        self.serial += 1
        self._wanted = tuple(routes)
        message = Want(
            serial=self.serial,
            ttl=self.ttl if ttl is None else ttl,
            routes=self._wanted,
            epoch=self._epoch,
            pid=os.getpid(),
            leaving=leaving,
            lapses=None if self.view.report is None else self.view.report.lapses,
        )
        if self._unanswered is None:
            self._unanswered = self.clock.now()
        if self._writer.transport.get_write_buffer_size():
            self._waiting = message
            self._more.set()
        else:
            self._writer.write(message.dump())
        return self.serial

    def acknowledge_expiry(self) -> bool:
        """Return whether the lease expired since the last call; the caller acts on it."""
        expired, self.ran_out = self.ran_out, False
        return expired

    async def withdraw(self, within: float) -> bool:
        """Withdraw everything; True once it is confirmed, False after ``within`` seconds."""
        self.want((), ttl=0, leaving=True)
        return await self.confirmed(within)

    async def confirmed(self, within: float) -> bool:
        """Wait until the newest Want is confirmed; False after ``within`` seconds."""
        serial = self.serial
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._writer is not None:
                    report = self.view.report
                    if report is not None and report.acked >= serial:
                        return True
                    self._news.clear()
                    await self._news.wait()
        return False

    def problems(self) -> tuple[str, ...]:
        """Say what about the lease is not as it should be, in words."""
        report = self.view.report if self.view.connected else None
        if report is None:
            return (self._garbled,) if self._garbled else ()
        found = [self._garbled] if self._garbled else []
        found += report.problems
        if self._differs(report) and not report.problems:
            if not report.reload:
                found.append(f"{_OTHER}: restart it when a loss of its sessions suits")
            elif report.reload == "ready" and self._tried:
                found.append(f"{_OTHER}: give both the same --profile, and reload")
        return tuple(found)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """Connect and hear the first report: only that proves that somebody is there."""
        attempts = tenacity.AsyncRetrying(
            wait=tenacity.wait_random_exponential(multiplier=RETRY_MIN, max=RETRY_MAX),
            retry=tenacity.retry_if_exception_type((OSError, EOFError, ValueError)),
        )
        async for attempt in attempts:
            with attempt:
                reader, writer = await asyncio.open_unix_connection(self.path, limit=MAX_MESSAGE)
                try:
                    if not (first := await reader.readline()):
                        raise EOFError
                except BaseException:
                    writer.close()
                    raise
                writer.transport.set_write_buffer_limits(high=0)
                self._writer, self._waiting, self._unanswered = writer, None, None
                self._asked = self._tried = False
                return reader, writer, first
        raise AssertionError("tenacity gave up though it was not told when")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Hear reports until the connection ends or nobody answers."""
        while not self._is_silent():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN):
                    line = await reader.readline()
                if not line:
                    return
                self._take(line)
        log.error("the lease process at %s has not answered for %g s", self.path, SILENT)
        self.silent()

    def _is_silent(self) -> bool:
        since = self._unanswered
        return since is not None and self.clock.now() - since >= SILENT

    async def _pump(self, writer: asyncio.StreamWriter) -> None:
        """Say the newest of what waits as soon as what was said before is read."""
        with contextlib.suppress(OSError):
            while True:
                await self._more.wait()
                self._more.clear()
                await writer.drain()
                if self._waiting is not None:
                    writer.write(self._waiting.dump())
                    self._waiting = None

    def _take(self, line: bytes) -> None:
        self._unanswered = None
        try:
            report = Report.load(line)
        except MessageError as error:
            self._complain(f"the lease's report cannot be read: {error}; restart the speaker")
            return
        if report.refused:
            self._complain(f"the lease refused what it was told: {report.refused}")
        elif report.acked:
            self._garbled = ""
        if report.lost:
            self.lost = report.lost
        held = self.view.leased if report.held is None else report.held
        self.ran_out = self._has_run_out(report, held)
        self._agree(report)
        self._show(LeaseView(connected=True, report=report, leased=held))

    def _has_run_out(self, report: Report, held: tuple[Route, ...] | None) -> bool:
        before = self.view.report
        if before is not None and before.instance == report.instance and report.lapses is not None:
            return self.ran_out or report.lapses != before.lapses
        if held or report.expires_in is not None:
            return False
        if self.view.connected:
            # Else it has not read the newest one yet.
            return bool(self._wanted) and report.serial == self.serial
        # Another lease process that found nothing: whatever level was reached meanwhile, nobody
        # was told of it.
        return before is not None

    def _agree(self, report: Report) -> None:
        """Have the speaker take over this profile's sessions and VIPs where it runs others."""
        self._tried = self._tried or (self._asked and report.reload == "busy")
        wrong = self._differs(report) or self.terms.ask
        if wrong and report.reload == "ready" and not self._asked and self._writer is not None:
            log.info("having the speaker read its profile again")
            self._asked = True
            self.terms = replace(self.terms, ask=False)
            self._writer.write(Reload().dump())

    def _differs(self, report: Report) -> bool:
        # An older speaker says nothing of its VIPs.
        other = report.vips not in {"", self.terms.vips}
        return other or report.config != self.terms.sessions

    def _complain(self, text: str) -> None:
        if text != self._garbled:
            log.error("%s", text)
            self._garbled = text

    def _show(self, view: LeaseView) -> None:
        self.view = view
        self._news.set()
        self.emit(view)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
