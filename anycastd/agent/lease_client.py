"""Client of the lease process: sends wanted routes, receives reports (I/O).

There is no timer that renews the lease.  Only ``renew()`` sends, and only a decision pass calls it.
Each message carries the whole state, so nothing is kept for repetition: after a reconnect the next
pass sends it, and of the messages that a lease process has not read yet, only the newest is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import tenacity

from anycastd.bgp.route import Route
from anycastd.decision.pipeline import LeaseView, has_lost_routes
from anycastd.lease.messages import MAX_MESSAGE, Levels, MessageError, Reload, Report, Want
from anycastd.system.clock import OwnTime
from anycastd.system.counters import LeaseCounters
from anycastd.system.printable import make_printable

log = logging.getLogger(__name__)

RETRY_MIN, RETRY_MAX = 0.02, 0.5
"""Seconds between attempts to connect to the lease: growing, with jitter."""
SHORT_CONNECTION = 1.0
"""Seconds; a connection that was shorter counts as a failure: wait before the next one."""
ANSWER_TIMEOUT = 8.0
"""Seconds of own time in which a Want must be answered: the lease process gives ExaBGP up to 5 s
(1 s until it asks, 4 s for the answer), and the hold time is 9 s."""
CHECK_INTERVAL = 1.0
"""Seconds between two checks of ANSWER_TIMEOUT."""
MAX_TEXT, MAX_ERRORS = 400, 20
"""Characters of a text in a report that are kept, and texts of one kind."""

_NO_IBGP = (
    "the speaker is of an older release, which announces nothing to iBGP neighbors: restart it "
    "when a loss of its sessions suits"
)
_OTHER = "the speaker runs other sessions or VIPs than this profile has"


@dataclass(frozen=True, slots=True)
class ExpectedSpeaker:
    """What the speaker must run: the hashes of the profile's sessions and VIPs.

    ``force_reload``: have it read the profile again in any case, since no hash covers the MD5
    passwords.
    """

    sessions: str
    vips: str
    force_reload: bool = False


class LeaseClient:
    """A client of the lease process whose socket is ``path``; it keeps one connection to it.

    ``ttl`` (seconds) is the default time to live of a Want.  ``emit`` is called with a LeaseView
    whenever something about the lease changed.  ``on_silence`` is called when the lease process has
    not answered for ANSWER_TIMEOUT seconds on ``clock``.

    ``expired`` is set when a report says that the lease has expired: routes were not renewed in
    time, the lease process ended, or it read no Want on the connection before.  ``lost`` names the
    agent that took the lease over, and is empty otherwise.  ``counters`` counts renewals.
    """

    def __init__(
        self,
        path: str,
        ttl: float,
        emit: Callable[[LeaseView], None],
        *,
        clock: OwnTime,
        expected: ExpectedSpeaker,
        on_silence: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.ttl = ttl
        self.emit = emit
        self.clock = clock
        self.expected = expected
        self.on_silence = on_silence
        self.view = LeaseView()
        self.lost = ""
        self.serial = 0
        self.expired = False
        self.counters = LeaseCounters()
        self._epoch = time.monotonic_ns()
        self._writer: asyncio.StreamWriter | None = None
        self._view_changed = asyncio.Event()
        self._wanted: tuple[Route, ...] = ()
        self._waiting: Want | None = None
        self._write_more = asyncio.Event()
        self._unanswered_at: float | None = None
        self._reload_sent = self._reload_began = False
        self._bad_report = ""
        self._has_left_out = False

    async def run(self) -> None:
        """Connect, read reports, connect again; returns when another agent took the lease over."""
        loop = asyncio.get_running_loop()
        while not self.lost:
            reader, writer, first = await self._connect()
            connected_at = loop.time()
            write_loop = asyncio.create_task(self._write_loop(writer))
            try:
                self._on_report(first)
                await self._read_loop(reader)
            except (OSError, ValueError) as error:
                log.warning("the lease at %s: %s", self.path, error)
            finally:
                write_loop.cancel()
                self._close()
            self._set_view(replace(self.view, connected=False))
            if loop.time() - connected_at < SHORT_CONNECTION and not self.lost:
                await asyncio.sleep(RETRY_MAX)

    def renew(
        self,
        routes: Iterable[Route],
        ttl: float | None = None,
        *,
        leaving: bool = False,
        levels: Levels | None = None,
    ) -> int | None:
        """Send the whole set of wanted routes, to stand for ``ttl`` seconds (None: the default).

        ``leaving``: this agent ends in order, and this is its last message.  ``levels`` are those
        of the routes, for the next agent (``decision.kept_levels``).  Returns the serial of
        the message, None while there is no connection: then the lease expires by itself.
        """
        if self._writer is None:
            return None
        self.serial += 1
        self.counters.count_renewal(time.monotonic(), self.ttl)
        self._wanted = self._leave_out_ibgp(tuple(routes))
        message = Want(
            serial=self.serial,
            ttl=self.ttl if ttl is None else ttl,
            routes=self._wanted,
            epoch=self._epoch,
            pid=os.getpid(),
            leaving=leaving,
            expirations=None if self.view.report is None else self.view.report.expirations,
            levels=levels,
        )
        if self._unanswered_at is None:
            self._unanswered_at = self.clock.now()
        if self._writer.transport.get_write_buffer_size():
            self._waiting = message
            self._write_more.set()
        else:
            self._writer.write(message.dump())
        return self.serial

    def _leave_out_ibgp(self, routes: tuple[Route, ...]) -> tuple[Route, ...]:
        """Leave out what an older lease process does not take: it would refuse all the others."""
        report = self.view.report
        if report is None or report.ibgp:
            return routes
        kept = tuple(route for route in routes if route.local_pref is None)
        self._has_left_out = len(kept) != len(routes)
        return kept

    def acknowledge_expiry(self) -> bool:
        """Return whether the lease expired since the last call; call it once for each pass."""
        expired, self.expired = self.expired, False
        return expired

    async def withdraw(self, timeout: float) -> bool:
        """Withdraw all routes, with the last message of this agent.

        Returns True once ExaBGP has confirmed it; False after ``timeout`` seconds, or where there
        is no connection.
        """
        self.renew((), ttl=0, leaving=True)
        return await self.wait_confirmed(timeout)

    async def wait_confirmed(self, timeout: float) -> bool:
        """Wait until ExaBGP has confirmed the newest Want.

        Returns True then; False after ``timeout`` seconds, or where there is no connection.
        """
        serial = self.serial
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._writer is not None:
                    report = self.view.report
                    if report is not None and report.acked >= serial:
                        return True
                    self._view_changed.clear()
                    await self._view_changed.wait()
        return False

    def list_problems(self) -> tuple[str, ...]:
        """List what is wrong with the lease, for the status: one sentence each."""
        report = self.view.report if self.view.connected else None
        if report is None:
            return (self._bad_report,) if self._bad_report else ()
        found = [self._bad_report] if self._bad_report else []
        found += report.problems
        if self._has_left_out and not report.ibgp:
            found.append(_NO_IBGP)
        if self._differs(report) and not report.problems:
            if not report.reload:
                found.append(f"{_OTHER}: restart it when a loss of its sessions suits")
            elif report.reload == "ready" and self._reload_began:
                found.append(f"{_OTHER}: give both the same --profile, and reload")
        return tuple(found)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """Connect and read the first report: only that proves that a lease process is there."""
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
                self._writer, self._waiting, self._unanswered_at = writer, None, None
                self._reload_sent = self._reload_began = False
                return reader, writer, first
        raise AssertionError("tenacity gave up though it was given no limit")

    async def _read_loop(self, reader: asyncio.StreamReader) -> None:
        """Read reports until the connection ends or a Want is not answered in time."""
        while not self._is_silent():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL):
                    line = await reader.readline()
                if not line:
                    return
                self._on_report(line)
        log.error("the lease process at %s has not answered for %g s", self.path, ANSWER_TIMEOUT)
        self.on_silence()

    def _is_silent(self) -> bool:
        sent_at = self._unanswered_at
        return sent_at is not None and self.clock.now() - sent_at >= ANSWER_TIMEOUT

    async def _write_loop(self, writer: asyncio.StreamWriter) -> None:
        """Write the newest message that waits, as soon as the one before it is read."""
        with contextlib.suppress(OSError):
            while True:
                await self._write_more.wait()
                self._write_more.clear()
                await writer.drain()
                if self._waiting is not None:
                    writer.write(self._waiting.dump())
                    self._waiting = None

    def _on_report(self, line: bytes) -> None:
        self._unanswered_at = None
        self.counters.reported_at = time.monotonic()
        try:
            report = _make_printable(Report.load(line))
        except MessageError as error:
            self._complain(f"the lease's report cannot be read: {error}; restart the speaker")
            return
        if report.refused:
            self._complain(f"the lease refused what it was told: {report.refused}")
        elif report.acked:
            self._bad_report = ""
        if report.lost:
            self.lost = report.lost
        before, new = self.view, report.leased is not None
        leased, levels = (report.leased, report.levels) if new else (before.leased, before.levels)
        answers_newest = bool(self._wanted) and report.serial == self.serial
        self.expired |= has_lost_routes(before, report, leased, answers_newest=answers_newest)
        self._request_reload(report)
        self._set_view(LeaseView(True, report, leased, levels))

    def _request_reload(self, report: Report) -> None:
        """Have the speaker take over this profile's sessions and VIPs where it runs others."""
        self._reload_began = self._reload_began or (self._reload_sent and report.reload == "busy")
        needed = self._differs(report) or self.expected.force_reload
        if (
            needed
            and report.reload == "ready"
            and not self._reload_sent
            and self._writer is not None
        ):
            log.info("having the speaker read its profile again")
            self._reload_sent = True
            self.expected = replace(self.expected, force_reload=False)
            self._writer.write(Reload().dump())

    def _differs(self, report: Report) -> bool:
        # An older speaker does not report its VIPs.
        other = report.vips not in {"", self.expected.vips}
        return other or report.config != self.expected.sessions

    def _complain(self, text: str) -> None:
        if text != self._bad_report:
            log.error("%s", text)
            self._bad_report = text

    def _set_view(self, view: LeaseView) -> None:
        self.view = view
        self._view_changed.set()
        self.emit(view)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def describe_leased(view: LeaseView) -> dict[str, Any]:
    """Describe what is on the lease as JSON values: its routes, and the levels that it has."""
    return {"held": [asdict(it) for it in view.leased or ()], "leased_levels": view.levels}


def _make_printable(report: Report) -> Report:
    """Make the texts of a report printable: parts of them come from peers and from ExaBGP."""
    neighbors = {
        address: replace(peer, detail=make_printable(peer.detail, MAX_TEXT))
        for address, peer in report.neighbors.items()
    }
    return replace(
        report,
        neighbors=neighbors,
        exabgp=make_printable(report.exabgp, MAX_TEXT),
        lost=make_printable(report.lost, MAX_TEXT),
        refused=make_printable(report.refused, MAX_TEXT),
        errors=tuple(make_printable(error, MAX_TEXT) for error in report.errors[:MAX_ERRORS]),
        problems=tuple(make_printable(each, MAX_TEXT) for each in report.problems[:MAX_ERRORS]),
    )
