"""Run the speaker as a child process: the foreground form.

The child is started again when it ends.  A reload executes the agent anew in the same process,
which stays the parent: the new agent adopts the child by its pid.  When the agent is killed, the
kernel ends the child (``PARENT_VARIABLE`` in ``speaker.exabgp.contract``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

from anycastd.speaker.exabgp.contract import PARENT_VARIABLE
from anycastd.system.exit_codes import NO_RESTART

log = logging.getLogger(__name__)

MIN_RETRY_DELAY, MAX_RETRY_DELAY = 0.2, 5.0
"""Seconds before a speaker that ended is started again: doubled each time, up to the second."""
STABLE_TIME = 10.0
"""Seconds that a speaker must have run for the delay to start at its minimum again."""


class SpeakerEndedError(Exception):
    """The speaker cannot run.  ``code`` is its exit code; it has printed its own message."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the speaker ended with exit code {code}, see its message above")
        self.code = code


class Supervisor:
    """One `anycastd speaker` with ``arguments``, as a child of this process.

    ``pid`` is a speaker that the agent before a reload started in this process; it is ignored if it
    is not a child of this process any more.  ``problem`` says why it
    cannot be started, or is empty.
    """

    def __init__(self, arguments: Sequence[str], pid: int | None = None) -> None:
        self.command_line = (sys.executable, "-m", "anycastd", "speaker", *arguments)
        self.pid = pid if pid is not None and _is_child(pid) else None
        self.problem = ""

    async def run(self) -> NoReturn:
        """Start the speaker, and start it again when it ends, until cancelled.

        Raises SpeakerEndedError where another start would fail as well (``NO_RESTART``).  Where the
        process cannot be started it tries again with a growing delay, and ``problem`` says why.
        """
        loop = asyncio.get_running_loop()
        delay = MIN_RETRY_DELAY
        while True:
            started_at = loop.time()
            if self.pid is None:
                try:
                    self.pid = self._start()
                except OSError as error:
                    self._report_failed_start(error, delay)
                    await asyncio.sleep(delay)
                    delay = min(2 * delay, MAX_RETRY_DELAY)
                    continue
            self.problem = ""
            code = await _wait_for_child(self.pid)
            self.pid = None
            if code in NO_RESTART:
                raise SpeakerEndedError(code)
            if loop.time() - started_at >= STABLE_TIME:
                delay = MIN_RETRY_DELAY
            log.warning(
                "the speaker ended (%s); starting it again in %.1f s", _describe_code(code), delay
            )
            await asyncio.sleep(delay)
            delay = min(2 * delay, MAX_RETRY_DELAY)

    async def stop(self, timeout: float) -> None:
        """End the speaker by SIGTERM, or by SIGKILL if it still runs after ``timeout`` s."""
        pid, self.pid = self.pid, None
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout):
                await _wait_for_child(pid)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            await _wait_for_child(pid)

    def kill(self) -> None:
        """End the speaker by SIGKILL; ``run`` then starts another one."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)

    def _report_failed_start(self, error: OSError, delay: float) -> None:
        """Say once why the speaker cannot be started: this process lacks what a child needs."""
        problem = f"the speaker cannot be started: {error.strerror}"
        if problem != self.problem:
            log.error("%s; trying again, first in %.1f s", problem, delay)
        self.problem = problem

    def _start(self) -> int:
        environment = os.environ | {PARENT_VARIABLE: str(os.getpid())}
        process = subprocess.Popen(self.command_line, stdin=subprocess.DEVNULL, env=environment)
        process.returncode = 0  # _wait_for_child collects its exit code, not Popen
        return process.pid


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, OverflowError):
        return False
    return True


async def _wait_for_child(pid: int) -> int:
    """Wait until a child ends; return its exit code, or the negative number of a signal.

    It uses the child's pidfd: asyncio's own functions know only the children that asyncio started.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:  # without a free descriptor: ask now and then
        return await _poll_child(pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    with contextlib.suppress(ChildProcessError):
        _, status = os.waitpid(pid, 0)  # noqa: ASYNC222 - it has ended, so this does not wait
        return os.waitstatus_to_exitcode(status)
    return 0


async def _poll_child(pid: int) -> int:
    """Ask whether a child has ended until it has; returns as ``_wait_for_child`` does."""
    while True:
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it does not wait
        except ChildProcessError:
            return 0
        if ended:
            return os.waitstatus_to_exitcode(status)
        await asyncio.sleep(MIN_RETRY_DELAY)


def _describe_code(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
