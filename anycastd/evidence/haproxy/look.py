"""One look at HAProxy: a new connection, one request, one answer (I/O)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from anycastd.evidence.haproxy.answer import (
    MASTER_SOCKET,
    MAX_HEAD,
    MalformedAnswerError,
    TruncatedAnswerError,
    is_masters_answer,
    quote_lines,
)
from anycastd.evidence.haproxy.brief_look import (
    EARLY,
    MAX_GIVEN_UP,
    DisagreementError,
    choose_brief,
)
from anycastd.evidence.haproxy.query import (
    MAX_NAMES,
    Brief,
    Query,
    build_request,
    missing_tracked_backends,
)
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot, Unreadable, Worker
from anycastd.evidence.haproxy.stats import parse_in_turns
from anycastd.evidence.haproxy.stats_socket import (
    begin_connect,
    end_connect,
    parse_stats_socket,
)
from anycastd.evidence.haproxy.unix_listeners import listens_somewhere
from anycastd.reasons import Reason
from anycastd.system.clock import OwnTime
from anycastd.system.readiness import wait_ready
from anycastd.system.spare_socket import SHORTAGES, SpareSocket
from anycastd.system.ticker import ticking
from anycastd.system.turns import run_in_turns, run_unless

log = logging.getLogger(__name__)

MAX_ANSWER = 16 << 20
"""Maximum size of an answer in bytes; 10,000 servers have 3 MB."""
MAX_EXCHANGES = 8
"""Maximum number of connections for one look; servers that track servers may need several."""
ABSENT_INTERVAL = 10.0
"""Seconds after which everything is asked for again, where HAProxy lacks something."""
RETRY_FOR, RETRY_DELAY = 0.03, 0.0005
"""Seconds.  A look that ends early because its worker ends is repeated for RETRY_FOR at most.

RETRY_DELAY is the time between two attempts.
"""
STALLED_SHARE = 1 / 3
"""Share of a look's timeout for asking again where this process stalled meanwhile.

The answer before is a third of `deadline` old when a look begins, which may take another third.  So
what this look finds is known before that answer is too old.
"""


async def look_once(path: str, query: Query, clock: OwnTime, timeout: float) -> Observation:
    """Take one look at the stats socket ``path``, as Looker.look does; ticks ``clock``.

    ``timeout`` is in seconds of own time.  Never raises for a HAProxy that is absent or silent.
    """
    async with ticking(clock):
        with contextlib.closing(Looker(path, query, clock, timeout)) as looker:
            return await looker.look()


class Looker:
    """Client of one HAProxy's stats socket; it keeps what makes the next look cheaper.

    ``timeout`` is in seconds of own time.  ``worker_lives`` returns whether something else proves
    that a worker runs: a refused connection is not Gone then.  ``proxies`` are those that the
    last look asked for.
    """

    def __init__(
        self,
        path: str,
        query: Query,
        clock: OwnTime,
        timeout: float,
        worker_lives: Callable[[], bool] = lambda: False,
    ) -> None:
        self.proxies = query.proxies
        self._path = path
        self._profile_query = query
        self._query = query  # with the backends whose servers are tracked
        self._clock = clock
        self._timeout = timeout
        self._worker_lives = worker_lives
        self._last: Snapshot | None = None  # of the worker that is asked now
        self._before: Snapshot | None = None
        self._silent_from: float | None = None
        self._missed = 0
        self._is_gone = False
        self._logged = ""
        self._is_answered = False  # the look before was
        self._given_up = 0
        self._full_at = 0.0
        self._in_full_for: Worker | None = None
        self._where = parse_stats_socket(path)
        self._sockets = SpareSocket(self._where.family)

    async def look_early(self, whole_every: float, unless: asyncio.Event) -> Observation | None:
        """Take one look as ``look`` does, but ask for all rows up to EARLY seconds sooner.

        No event has named a server since the look before; ``unless`` is set when one does.  A look
        at all rows that is not due yet ends then, and returns None.
        """
        if not self.is_early(whole_every):
            return await self.look(None, whole_every)
        began = self._clock.now()
        seen = await run_unless(unless, self.look(None, whole_every - EARLY))
        if seen is None:
            # If HAProxy does not answer the next look either, it has been silent since this one.
            self._silent_from = began if self._silent_from is None else self._silent_from
            self._missed, self._is_answered = self._missed + 1, True
            self._given_up += 1
        return seen

    def is_early(self, whole_every: float) -> bool:
        """Return whether all rows of a backend are due in less than EARLY seconds, and not yet.

        After MAX_GIVEN_UP looks that ended early they are asked for when they are due.
        """
        last = self._choose_numbers()
        if not self._is_answered or last is None or last is not self._before:
            return False
        if self._given_up >= MAX_GIVEN_UP:
            return False
        ages = [self._clock.now() - last.backends[name].asked_at for name in last.judged.lines]
        return any(whole_every - EARLY <= age < whole_every for age in ages)

    async def look(
        self, named: Mapping[str, Collection[str]] | None = None, whole_every: float = 0.0
    ) -> Observation:
        """Take one look, in at most ``timeout`` seconds (and STALLED_SHARE more after a stall).

        ``named``: backend -> the servers that events have named since the look before.  Large
        backends are asked briefly, and as a whole each ``whole_every`` seconds (``brief_look``).
        Never raises for a HAProxy that is absent, silent or sends garbage: that is Gone or
        Unreadable.  A lack of this process itself is Unreadable, too, and marked as such.
        """
        first = began = self._clock.now()
        lost, stalled, timeout = self._clock.stalled, False, self._timeout
        # What events said before a look without an answer is known by a whole look alone.
        whole_every = whole_every if self._is_answered else 0.0
        self._is_answered = False
        while True:
            may_retry = self._clock.now() - began < RETRY_FOR
            try:
                snapshot = await self._request_snapshot(began + timeout, named or {}, whole_every)
                if not (snapshot.worker.stopping and may_retry):
                    self._silent_from, self._missed, self._logged = None, 0, ""
                    self._is_gone, self._is_answered = False, True
                    return snapshot
            except (ConnectionRefusedError, FileNotFoundError) as error:
                if (seen := self._on_refused(error, began, may_retry=may_retry)) is not None:
                    return seen
            except (TruncatedAnswerError, ConnectionResetError, BrokenPipeError) as error:
                if not may_retry:
                    return self._unreadable(began, f"closed without an answer ({error})")
            except TimeoutError as error:
                if stalled or self._clock.stalled - lost < self._clock.interval:
                    return self._unreadable(first, f"no answer within {self._timeout:g} s{error}")
                # This process stalled, and HAProxy perhaps as well: it proves nothing, ask again.
                began, stalled = self._clock.now(), True
                timeout *= STALLED_SHARE
            # Whatever HAProxy sends must not end the agent, and whatever this process lacks.
            except Exception as error:  # noqa: BLE001
                return self._explain_failure(began, error)
            await asyncio.sleep(RETRY_DELAY)

    def _on_refused(
        self, error: OSError, asked_at: float, *, may_retry: bool
    ) -> Gone | Unreadable | None:
        """Find out whether a worker runs; None: ask again, since a reload may be under way."""
        if self._where.remote:
            # The stream proves nothing here: a machine that is gone leaves it open.
            return None if may_retry else self._gone(error)
        if self._worker_lives():
            if may_retry:
                return None
        elif not self._still_listens():
            return self._gone(error)
        detail = f"{error.strerror}, although a worker runs"
        return self._unreadable(asked_at, detail, Reason.SOCKET_LOST)

    def close(self) -> None:
        """Close the descriptor that is kept in reserve."""
        self._sockets.close()

    def _gone(self, error: OSError) -> Gone:
        self._last, self._silent_from, self._missed = None, None, 0
        self._is_gone = True
        return Gone(self._clock.now(), f"{self._path}: {error.strerror}")

    def _still_listens(self) -> bool:
        """Whether a socket that was bound to the path still listens, though not at the path.

        The path may be lost while HAProxy lives.  A worker that dies, or only finishes its
        connections, has closed the socket.
        """
        return not self._is_gone and listens_somewhere(self._path)

    def _unreadable(
        self, asked_at: float, detail: str, reason: Reason = Reason.HAPROXY_SILENT
    ) -> Unreadable:
        self._silent_from = asked_at if self._silent_from is None else self._silent_from
        self._missed += 1
        detail = f"{self._path}: {detail}"
        return Unreadable(asked_at, self._silent_from, self._missed, detail, reason)

    def _explain_failure(self, asked_at: float, error: Exception) -> Unreadable:
        """Tell garbage, what this process lacks, and a bug of ours apart; log the last two once."""
        if isinstance(error, MalformedAnswerError):
            return self._unreadable(asked_at, str(error), Reason.ANSWER_MALFORMED)
        lack = str(error.strerror) if isinstance(error, OSError) else "no memory"
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in SHORTAGES:
            self._log_once(lack, logging.ERROR, "%s: this agent cannot ask HAProxy: %s", lack)
            return self._unreadable(asked_at, lack, Reason.AGENT_SHORT)
        if isinstance(error, OSError):
            return self._unreadable(asked_at, lack)
        kind = type(error).__name__
        self._log_once(kind, logging.ERROR, "%s: a bug of ours: %s", kind, error=error)
        detail = f"its answer cannot be read ({kind}: a bug of ours)"
        return self._unreadable(asked_at, detail, Reason.ANSWER_MALFORMED)

    def _log_once(
        self, key: str, level: int, text: str, detail: str, error: Exception | None = None
    ) -> None:
        if key != self._logged:
            self._logged = key
            log.log(level, text, self._path, detail, exc_info=error)

    async def _request_snapshot(
        self, deadline: float, named: Mapping[str, Collection[str]], whole_every: float
    ) -> Snapshot:
        """Ask, and ask again where the answer shows that more must be asked for."""
        for left in reversed(range(MAX_EXCHANGES)):
            asked_at, last = self._clock.now(), self._choose_numbers()
            brief: Brief = {}
            if last is not None and last is self._before:
                brief = choose_brief(last, self._query, named, asked_at, whole_every)
            request = build_request(self._query, last, brief)
            text = await self._exchange(request.line, deadline)
            try:
                snapshot = await run_in_turns(
                    parse_in_turns(text, asked_at, self._query, request, before=self._before)
                )
            except DisagreementError:
                whole_every = 0.0
                continue
            except TruncatedAnswerError:
                raise
            except MalformedAnswerError:
                if last is None:
                    raise
                self._last, self._in_full_for = None, last.worker
                continue  # perhaps only a number was refused: ask in full
            if not brief or (last is not None and snapshot.worker.is_same_process(last.worker)):
                self._before = snapshot
            if last is None:
                self._full_at = asked_at
            elif not snapshot.worker.is_same_process(last.worker):
                self._last, self._query = None, self._profile_query  # another worker's numbers
                continue
            elif _lost_some(last, snapshot):
                self._last, self._in_full_for = None, last.worker
                continue
            tracked = missing_tracked_backends(snapshot) - self._query.backends
            if tracked and left and len(self._query.backends) < MAX_NAMES:
                self._query = replace(self._query, backends=self._query.backends | tracked)
                self._last = None
                continue
            self._last, self.proxies = snapshot, self._query.proxies
            self._given_up = self._given_up if brief else 0
            return snapshot
        raise MalformedAnswerError("each answer was of another worker, or had other proxies")

    def _choose_numbers(self) -> Snapshot | None:
        """Choose the answer whose numbers to ask by; None to ask for everything."""
        last = self._last
        if last is None:
            return None
        if self._in_full_for is not None and last.worker.is_same_process(self._in_full_for):
            return None
        is_due = self._clock.now() - self._full_at >= ABSENT_INTERVAL
        if is_due and not (
            self._query.backends <= last.backends.keys()
            and self._query.frontends <= last.frontends.keys()
        ):
            return None
        return last

    async def _exchange(self, request: str, deadline: float) -> str:
        """Send ``request`` on a new connection and read until HAProxy closes it."""
        with self._sockets.open() as sock:
            sock.setblocking(False)
            while True:
                try:
                    if begin_connect(sock, self._where):
                        await self._wait_connected(sock, deadline)
                    break
                except BlockingIOError:  # the queue of a Unix socket is full
                    self._check_time(deadline)
                    await asyncio.sleep(self._clock.interval)
            return await self._read_answer(sock, request.encode(), deadline)

    async def _read_answer(self, sock: socket.socket, request: bytes, deadline: float) -> str:
        unsent, answer = memoryview(request), bytearray()
        while True:
            if unsent:  # a long request: HAProxy reads the rest once its first answers are read
                with contextlib.suppress(BlockingIOError):
                    unsent = unsent[sock.send(unsent) :]
            try:
                data = sock.recv(1 << 18)
            except BlockingIOError:
                if self._clock.now() >= deadline:
                    raise TimeoutError(_describe_beginning(answer)) from None
                await wait_ready(sock.fileno(), self._clock.interval)
                continue
            if not data:
                return answer.decode(errors="replace")
            answer += data
            if len(answer) > MAX_ANSWER:
                raise MalformedAnswerError(f"an answer of more than {MAX_ANSWER >> 20} MiB")
            if len(answer) < MAX_HEAD and is_masters_answer(answer.decode(errors="replace")):
                raise MalformedAnswerError(MASTER_SOCKET)

    async def _wait_connected(self, sock: socket.socket, deadline: float) -> None:
        """Wait until a TCP connection stands; raises OSError where it is refused."""
        while not await wait_ready(sock.fileno(), self._clock.interval, writable=True):
            self._check_time(deadline)
        end_connect(sock)

    def _check_time(self, deadline: float) -> None:
        """Raise TimeoutError after ``deadline``.

        Callers look first what came, and wait a tick at most between two calls: what came while
        this process stalled counts as in time.
        """
        if self._clock.now() >= deadline:
            raise TimeoutError


def _describe_beginning(answer: bytearray) -> str:
    """Describe what was read of an answer that did not end; empty if that is nothing."""
    return f"; it began {quote_lines([answer[:80].decode(errors='replace')])}" if answer else ""


def _lost_some(last: Snapshot, now: Snapshot) -> bool:
    """Whether a proxy that HAProxy had is not in its answer by number."""
    return not (
        last.backends.keys() <= now.backends.keys()
        and last.frontends.keys() <= now.frontends.keys()
    )
