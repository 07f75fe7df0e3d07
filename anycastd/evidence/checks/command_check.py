"""Run a command in a process group of its own (I/O).

A thread starts and watches it, because the start of a program may wait for a disk.  At its time
limit the whole group is killed.  It is waited for, so it leaves no zombie.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from anycastd.evidence.checks.asker import PlainAsker, Seen, UnseenError, describe_error
from anycastd.profile.checks import CommandCheck
from anycastd.system.printable import make_printable
from anycastd.system.side_thread import ThreadBusyError
from anycastd.system.spawn import (
    drop_ambient_capabilities,
    kill_group,
    make_killable,
    spawn_program,
)

MAX_OUTPUT = 1 << 16
"""Bytes that a command may write; one that writes more is killed, and has failed."""
MAX_LINE = 200
"""Characters of the first line of the output that operators are shown."""
END_TIMEOUT = 1.0
"""Seconds for a killed command to end; one that waits for a disk may need longer."""
SPARE_TIME = 1.0
"""Seconds beyond its time limit after which the thread kills it by itself."""
DIRECTORY = "/"
"""The working directory of a command."""
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "USER", "LOGNAME", "TMPDIR")


class CommandAsker(PlainAsker):
    """Runs the command once for each run, one at a time."""

    def __init__(self, name: str, asks: CommandCheck) -> None:
        super().__init__(name)
        self._asks = asks
        self._environment = {each: os.environ[each] for each in _INHERITED if each in os.environ}
        self._environment["ANYCASTD_CHECK"] = name
        self._unended: list[_Process] = []

    async def ask(self, timeout: float, step: int | None) -> Seen:  # noqa: ARG002 - of a load only
        """Run the command once; a cancelled wait kills it."""
        self._unended = [each for each in self._unended if not each.reap()]
        if self._unended:
            pid = self._unended[0].pid
            raise UnseenError(f"the last run cannot be ended: process {pid} waits in the kernel")
        process = _Process(self._asks.command, self._environment)
        run = asyncio.ensure_future(self.thread.call(process.run, timeout + SPARE_TIME))
        try:
            return await asyncio.shield(run)
        except ThreadBusyError:
            raise UnseenError("the last run still waits to be started") from None
        except OSError as error:
            raise UnseenError(_explain_start(self._asks.command[0], error)) from None
        finally:
            process.cancel()
            await asyncio.wait([run], timeout=END_TIMEOUT + SPARE_TIME)
            if process.pid and not process.ended:
                self._unended.append(process)

    def judge_late(self, timeout: float) -> Seen:
        """Judge a run that was killed at its time limit."""
        return Seen(passed=False, detail=f"killed after {timeout:g} s", answered=True)


class _Process:
    """One run of a command: ``run`` in a thread, ``cancel`` in the loop.

    ``pid`` is 0 before it is started; ``ended``: it was waited for.
    """

    def __init__(self, command: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self.pid = 0
        self.ended = False
        self._command = command
        self._environment = environment
        self._lock = threading.Lock()
        self._cancelled = False
        self._wake = -1
        self._said = bytearray()
        self._taken = 0

    def cancel(self) -> None:
        """Have the thread kill it, if it still runs."""
        with self._lock:
            self._cancelled = True
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def reap(self) -> bool:
        """Wait for it without blocking; return whether it has ended."""
        if not self.ended:
            with contextlib.suppress(ChildProcessError):
                self.ended = os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
        return self.ended

    def run(self, timeout: float) -> Seen:
        """Run it to its end, ``timeout`` seconds at most; raises OSError where it cannot start."""
        drop_ambient_capabilities()
        with contextlib.ExitStack() as opened:
            output, written = os.pipe2(os.O_CLOEXEC)
            opened.callback(os.close, output)
            with contextlib.ExitStack() as given:
                given.callback(os.close, written)
                stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                given.callback(os.close, stdin)
                os.set_blocking(output, False)
                wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                opened.callback(os.close, wake)
                self.pid = spawn_program(
                    self._command, self._environment, stdin, written, directory=DIRECTORY
                )
            try:
                make_killable(self.pid)
                pidfd = os.pidfd_open(self.pid)
                opened.callback(os.close, pidfd)
                self._set_wake(wake)
                return self._watch(pidfd, output, wake, time.monotonic() + timeout)
            finally:
                self._set_wake(-1)
                kill_group(self.pid)  # also what it left behind in its group
                self._wait_ended()

    def _set_wake(self, wake: int) -> None:
        with self._lock:
            self._wake = wake
            if self._cancelled and wake >= 0:
                os.eventfd_write(wake, 1)

    def _watch(self, pidfd: int, output: int, wake: int, ends_at: float) -> Seen:
        poll = select.poll()
        for descriptor in (pidfd, output, wake):
            poll.register(descriptor, select.POLLIN)
        while True:
            left = ends_at - time.monotonic()
            events = {each for each, _ in poll.poll(max(0.0, left) * 1000)}
            if output in events and not self._read(output):
                poll.unregister(output)
            if self._taken > MAX_OUTPUT:
                return Seen(passed=False, detail=f"killed: it wrote over {MAX_OUTPUT >> 10} KiB")
            if pidfd in events:
                self._read(output)
                return self._judge()
            if wake in events or left <= 0:
                return Seen(passed=False, detail="killed at its time limit")

    def _read(self, output: int) -> bool:
        """Read what it has written; return whether there may be more later."""
        while self._taken <= MAX_OUTPUT:
            try:
                piece = os.read(output, MAX_OUTPUT)
            except BlockingIOError:
                return True
            self._taken += len(piece)
            self._said += piece[: max(0, 4 * MAX_LINE - len(self._said))]
            if not piece:
                return False
        return False

    def _judge(self) -> Seen:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.ended = True
        return Seen(passed=code == 0, detail=describe_end(code, bytes(self._said)))

    def _wait_ended(self) -> None:
        """Wait a bounded time for the end of a process that was killed."""
        ends_at = time.monotonic() + END_TIMEOUT
        while not self.reap() and time.monotonic() < ends_at:
            time.sleep(0.005)


def describe_end(code: int, said: bytes) -> str:
    """Describe the end of a command: its exit status (negative: a signal), and its first line."""
    first = said.decode("utf-8", "replace").strip().partition("\n")[0]
    why = f"exit status {code}" if code >= 0 else f"ended by signal {-code}"
    return f"{why}: {make_printable(first, MAX_LINE)}" if first else why


def explain_command(path: str) -> str:
    """Explain why ``path`` cannot be run by this process; empty where it can."""
    if not Path(path).exists():
        return f"there is no {path}"
    if not Path(path).is_file():
        return f"{path} is no file"
    if not os.access(path, os.X_OK):
        return f"{path} is not executable for this user"
    return ""


def _explain_start(path: str, error: OSError) -> str:
    why = explain_command(path) or describe_error(error)
    if isinstance(error, FileNotFoundError) and Path(path).exists():
        why = f"the interpreter in the first line of {path} does not exist"
    return f"the command cannot be started: {why}"
