"""Run the commands of `hooks` in the profile when something has happened.

A thread of its own starts and watches them; the agent's loop only puts an event into a bounded
queue.  Everything is bounded: commands that run and that wait, their time, and what they write.
What goes wrong with a hook is logged, and nothing else follows from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from anycastd.agent.event_log import EventLog
from anycastd.profile.model import Hook
from anycastd.system.printable import make_printable
from anycastd.system.spawn import drop_ambient_capabilities, make_killable, spawn_program
from anycastd.views.events import Event
from anycastd.views.hook_input import EVENT_GROUPS, build_input, build_variables

log = logging.getLogger(__name__)

MAX_RUNNING = 4
"""Commands that run at once."""
MAX_WAITING = 64
"""Commands that wait to be started; more are dropped and counted."""
MAX_OUTPUT = 65536
"""Bytes that a command may write; then its output is closed."""
MAX_LINE = 500
"""Characters of the first line of an output that are logged."""
END_TIMEOUT = 1.0
"""Seconds that the end of the agent gives to commands that wait or run."""
DROPPED_INTERVAL = 10.0
"""Seconds between two lines of the log about commands that were dropped."""
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "USER", "LOGNAME", "TMPDIR")


@dataclass(frozen=True, slots=True)
class _Job:
    hook: Hook
    event: Event


@dataclass(slots=True)
class _Run:
    """A command that runs.  ``ends_at`` is monotonic; descriptors are None once closed."""

    job: _Job
    pid: int
    pidfd: int
    ends_at: float
    left: bytes
    stdin: int | None
    output: int | None
    said: bytearray = field(default_factory=bytearray)
    taken: int = 0
    timed_out: bool = False

    @property
    def descriptors(self) -> list[int]:
        """Return the descriptors that are open."""
        return [each for each in (self.pidfd, self.stdin, self.output) if each is not None]


class HookRunner:
    """Runs ``hooks`` for the events of ``region``.

    ``succeeded``, ``failed`` and ``dropped`` count commands; one that was ended at its time has
    failed.
    """

    def __init__(self, hooks: Sequence[Hook], region: str) -> None:
        self.succeeded = self.failed = self.dropped = 0
        self._hooks = [
            (hook, frozenset().union(*(EVENT_GROUPS[word] for word in hook.events)))
            for hook in hooks
        ]
        self._region = region
        self._waiting: deque[_Job] = deque()
        self._started = False
        self._news = -1
        self._running: list[_Run] = []
        self._unlogged: Counter[str] = Counter()
        self._dropped_at = -DROPPED_INTERVAL
        self._ends_at: float | None = None
        self._ended: Future[None] = Future()

    def start(self, events: EventLog) -> None:
        """Follow ``events`` from now on.

        Where the system has no thread or descriptor left, that is logged, and hooks do not run.
        """
        try:
            self._news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            threading.Thread(target=self._run, name="hooks", daemon=True).start()
        except (OSError, RuntimeError) as error:
            log.error("hooks cannot be run: %s; free descriptors or tasks, and reload", error)  # noqa: TRY400
            return
        self._started = True
        events.subscribe(self.follow_event)

    def follow_event(self, event: Event) -> None:
        """Have the hooks run that want this event; returns at once."""
        for hook, kinds in self._hooks:
            if event.kind not in kinds:
                continue
            if len(self._waiting) >= MAX_WAITING or self._ends_at is not None:
                self.dropped += 1
                self._unlogged[event.kind.value] += 1
            else:
                self._waiting.append(_Job(hook, event))
            if not self._ended.done():
                self._wake()

    async def close(self) -> None:
        """End the thread: what waits or runs has ``END_TIMEOUT`` seconds, and is killed then."""
        if not self._started:
            return
        self._ends_at = time.monotonic() + END_TIMEOUT
        self._wake()
        with contextlib.suppress(TimeoutError):
            ended = asyncio.wrap_future(self._ended)
            await asyncio.wait_for(asyncio.shield(ended), END_TIMEOUT + 1.0)
            _close(self._news)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.eventfd_write(self._news, 1)

    # The thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        drop_ambient_capabilities()
        while not self._has_ended():
            try:
                self._start_waiting()
                self._wait()
                self._end_late()
            except Exception:  # a fault here must cost hooks alone, and no core
                log.exception("a fault in the hooks")
                time.sleep(1.0)
        for each in list(self._running):
            self._finish(each, killed=True)
        self._ended.set_result(None)

    def _has_ended(self) -> bool:
        if self._ends_at is None:
            return False
        idle = not self._waiting and not self._running
        return idle or time.monotonic() >= self._ends_at

    def _start_waiting(self) -> None:
        self._log_dropped()
        while self._waiting and len(self._running) < MAX_RUNNING:
            job = self._waiting.popleft()
            try:
                self._running.append(self._start(job))
            except OSError as error:
                self.failed += 1
                _log_failure(job, f"it cannot be started: {error.strerror or error}")

    def _start(self, job: _Job) -> _Run:
        """Start one command; raises OSError, and leaves no descriptor then."""
        with contextlib.ExitStack() as opened:
            theirs, stdin = os.pipe2(os.O_CLOEXEC)
            opened.callback(_close, stdin)
            with contextlib.ExitStack() as given:
                given.callback(_close, theirs)
                output, written = os.pipe2(os.O_CLOEXEC)
                opened.callback(_close, output)
                given.callback(_close, written)
                os.set_blocking(stdin, False)
                os.set_blocking(output, False)
                kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
                variables = kept | build_variables(job.event, self._region)
                pid = spawn_program(job.hook.command, variables, theirs, written)
            ends_at = time.monotonic() + job.hook.timeout
            make_killable(pid)
            try:
                pidfd = os.pidfd_open(pid)
            except OSError:
                _kill_group(pid)
                os.waitpid(pid, 0)
                raise
            opened.pop_all()
        left = build_input(job.event, self._region)
        return _Run(job, pid, pidfd, ends_at, left, stdin, output)

    def _wait(self) -> None:
        """Wait until something happens, and do what it asks for."""
        poll = select.poll()
        poll.register(self._news, select.POLLIN)
        owners: dict[int, _Run] = {}
        for each in self._running:
            owners |= dict.fromkeys(each.descriptors, each)
            poll.register(each.pidfd, select.POLLIN)
            if each.output is not None:
                poll.register(each.output, select.POLLIN)
            if each.stdin is not None:
                poll.register(each.stdin, select.POLLOUT)
        for descriptor, _ in poll.poll(self._timeout()):
            if descriptor == self._news:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._news)
                continue
            run = owners[descriptor]
            if descriptor == run.stdin:
                _write(run)
            elif descriptor == run.output:
                _read(run)
            elif run in self._running:
                self._finish(run)

    def _timeout(self) -> float | None:
        """Return the milliseconds until a command is late, or a line of the log is due."""
        now = time.monotonic()
        times = [each.ends_at for each in self._running]
        if self._unlogged:
            times.append(self._dropped_at + DROPPED_INTERVAL)
        if self._ends_at is not None:
            times.append(self._ends_at)
        return max(0.0, 1000 * (min(times) - now)) + 1 if times else None

    def _end_late(self) -> None:
        now = time.monotonic()
        for each in [run for run in self._running if run.ends_at <= now]:
            each.timed_out = True
            self._finish(each, killed=True)

    def _finish(self, run: _Run, *, killed: bool = False) -> None:
        """Take the end of a command; ``killed``: end it, and all of its group, first."""
        if killed:
            _kill_group(run.pid)
        _, status = os.waitpid(run.pid, 0)
        # What it left behind in its group would run without any bound.
        _kill_group(run.pid)
        _read(run)
        for descriptor in run.descriptors:
            _close(descriptor)
        self._running.remove(run)
        code = os.waitstatus_to_exitcode(status)
        if code == 0 and not run.timed_out:
            self.succeeded += 1
            return
        self.failed += 1
        if run.timed_out:
            why = f"it was ended after {run.job.hook.timeout:g} s"
        elif killed:
            why = "it was ended, because the agent ends"
        else:
            why = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
        first = bytes(run.said).decode("utf-8", "replace").lstrip().partition("\n")[0]
        _log_failure(run.job, f"{why}: {make_printable(first, MAX_LINE)}" if first else why)

    def _log_dropped(self) -> None:
        now = time.monotonic()
        if not self._unlogged or now < self._dropped_at + DROPPED_INTERVAL:
            return
        counted, self._unlogged = self._unlogged, Counter()
        self._dropped_at = now
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counted.items()))
        text = "hooks: %d events were dropped (%s): %d commands run and %d wait"
        log.warning(text, counted.total(), kinds, len(self._running), len(self._waiting))


def _write(run: _Run) -> None:
    """Write what the input of a command takes; close it after the end."""
    if run.stdin is None:
        return
    try:
        run.left = run.left[os.write(run.stdin, run.left) :]
    except BlockingIOError:
        return
    except OSError:
        run.left = b""  # it does not read its input
    if not run.left:
        _close(run.stdin)
        run.stdin = None


def _read(run: _Run) -> None:
    """Read what a command has written; close its output at the end, and at ``MAX_OUTPUT``."""
    while run.output is not None:
        try:
            piece = os.read(run.output, MAX_OUTPUT)
        except BlockingIOError:
            return
        run.taken += len(piece)
        run.said += piece[: max(0, MAX_LINE * 4 - len(run.said))]
        if not piece or run.taken >= MAX_OUTPUT:
            _close(run.output)
            run.output = None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _log_failure(job: _Job, why: str) -> None:
    about = f" of {job.event.service}" if job.event.service else ""
    kind = job.event.kind.value
    log.warning("the hook %s failed for %s%s: %s", job.hook.command[0], kind, about, why)
