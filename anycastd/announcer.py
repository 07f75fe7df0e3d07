"""The agent's end of the lease: a sink for wanted routes, a source of the lease's reports.

There is no renewal timer here.  Only ``want()`` sends, and only a decision pass calls it; what is
sent is whole state, so nothing is kept to be repeated: after a reconnect the next pass says it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import tenacity

from anycastd.lease import MESSAGE_MAX, MessageError, Report, Route, Want
from anycastd.pipeline import LeaseView

log = logging.getLogger(__name__)

RETRY_MIN, RETRY_MAX = 0.02, 0.5
"""Seconds between attempts to reach the lease: growing, jittered."""


class Announcer:
    """Keep a connection to the lease process at ``path``.

    ``emit`` gets a LeaseView whenever something about the lease changed.
    """

    def __init__(self, path: str, ttl: float, emit: Callable[[LeaseView], None]) -> None:
        self.path = path
        self.ttl = ttl
        self.emit = emit
        self.view = LeaseView()
        self.lost = ""
        self.serial = 0
        self._epoch = time.monotonic_ns()
        self._writer: asyncio.StreamWriter | None = None
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Connect, listen, connect again, until cancelled or the lease is lost to another agent."""
        while not self.lost:
            reader, first = await self._reach()
            try:
                self._take(first)
                while line := await reader.readline():
                    self._take(line)
            except (OSError, ValueError) as error:
                log.warning("the lease at %s: %s", self.path, error)
            finally:
                self._close()
            self._show(replace(self.view, connected=False))

    def want(self, routes: Iterable[Route], ttl: float | None = None) -> None:
        """Say the whole wanted set, for ``ttl`` seconds (None: the profile's)."""
        if self._writer is None or self._writer.transport.get_write_buffer_size() > MESSAGE_MAX:
            return  # nobody there, or nobody reads: the lease runs out by itself
        self.serial += 1
        message = Want(
            serial=self.serial,
            ttl=self.ttl if ttl is None else ttl,
            routes=tuple(routes),
            epoch=self._epoch,
            pid=os.getpid(),
        )
        self._writer.write(message.dump())

    async def withdraw(self, within: float) -> bool:
        """Withdraw everything; True once it is confirmed, False after ``within`` seconds."""
        self.want((), ttl=0)
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

    async def _reach(self) -> tuple[asyncio.StreamReader, bytes]:
        """Connect and hear the first report: only that proves that somebody is there."""
        attempts = tenacity.AsyncRetrying(
            wait=tenacity.wait_random_exponential(multiplier=RETRY_MIN, max=RETRY_MAX),
            retry=tenacity.retry_if_exception_type((OSError, EOFError)),
        )
        async for attempt in attempts:
            with attempt:
                reader, writer = await asyncio.open_unix_connection(self.path, limit=MESSAGE_MAX)
                try:
                    if not (first := await reader.readline()):
                        raise EOFError
                except BaseException:
                    writer.close()
                    raise
                self._writer = writer
                return reader, first
        raise AssertionError("tenacity gave up though it was not told when")

    def _take(self, line: bytes) -> None:
        try:
            report = Report.load(line)
        except MessageError as error:
            log.warning("a report that cannot be read: %s", error)
            return
        if report.lost:
            self.lost = report.lost
        held = self.view.held if report.held is None else report.held
        self._show(LeaseView(connected=True, report=report, held=held))

    def _show(self, view: LeaseView) -> None:
        self.view = view
        self._news.set()
        self.emit(view)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
