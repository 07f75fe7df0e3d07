"""A speaker as our child, for the foreground form: started, started again, ended with us.

It survives that we execute ourselves anew (a reload): we stay its parent, so it is adopted by its
pid.  If we are killed, it ends itself, by the kernel's hand (``ANYCASTD_PARENT``, see ``speaker.exabgp.contract``).
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

from anycastd.speaker.exabgp.contract import PARENT_VARIABLE
from anycastd.system.exit_codes import NO_RESTART

log = logging.getLogger(__name__)

MIN_RETRY_DELAY, MAX_RETRY_DELAY = 0.2, 5.0
"""Seconds before a speaker that ended is started again: doubled each time, up to the second."""
STEADY = 10.0
"""A speaker that ran for so many seconds is no crash loop: its next wait is the shortest again."""


class SpeakerEndedError(Exception):
    """The speaker cannot run; ``code`` is its exit code, its own message is already out."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the speaker ended with exit code {code}, see its message above")
        self.code = code


class Supervisor:
    """Own one speaker: ``arguments`` are its own.

    ``pid`` is that of a speaker that this process had started before it executed itself anew.
    """

    def __init__(self, arguments: Sequence[str], pid: int | None = None) -> None:
        self.arguments = (sys.executable, "-m", "anycastd", "speaker", *arguments)
        self.pid = pid if pid is not None and _is_child(pid) else None

    async def run(self) -> None:
        """Keep it running until cancelled; raises SpeakerEndedError where that is no use."""
        loop = asyncio.get_running_loop()
        wait = MIN_RETRY_DELAY
        while True:
            started = loop.time()
            if self.pid is None:
                self.pid = self._start()
            code = await _ended(self.pid)
            self.pid = None
            if code in NO_RESTART:
                raise SpeakerEndedError(code)
            if loop.time() - started >= STEADY:
                wait = MIN_RETRY_DELAY
            log.warning("the speaker ended (%s); starting it again in %.1f s", _words(code), wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, MAX_RETRY_DELAY)

    async def stop(self, within: float) -> None:
        """End it: politely, and after ``within`` seconds by force."""
        pid, self.pid = self.pid, None
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(within):
                await _ended(pid)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            await _ended(pid)

    def kill(self) -> None:
        """End it by force, so that ``run`` starts another one."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)

    def _start(self) -> int:
        environment = os.environ | {PARENT_VARIABLE: str(os.getpid())}
        process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, env=environment)
        process.returncode = 0  # it is waited for here, by its pid
        return process.pid


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, OverflowError):
        return False
    return True


async def _ended(pid: int) -> int:
    """Wait for a child to end and give its exit code, a signal's number as a negative one.

    By the child's descriptor and not by asyncio's own means: those know only what they started.
    """
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    with contextlib.suppress(ChildProcessError):
        _, status = os.waitpid(pid, 0)  # noqa: ASYNC222 - it has ended, so this does not wait
        return os.waitstatus_to_exitcode(status)
    return 0


def _words(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
