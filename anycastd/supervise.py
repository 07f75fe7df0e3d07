"""A speaker as our child, for the foreground form: started, started again, ended with us."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import signal
import sys
from collections.abc import Sequence

log = logging.getLogger(__name__)

AGAIN_MIN, AGAIN_MAX = 0.2, 5.0
"""Seconds before a speaker that ended is started again: doubled each time, up to the second."""
STEADY = 10.0
"""A speaker that ran for so many seconds is no crash loop: its next wait is the shortest again."""
GIVE_UP = frozenset({2, 69, 77, 78})
"""Exit codes that say what to mend first; starting again would only say it again."""

_PR_SET_PDEATHSIG = 1


class SpeakerEndedError(Exception):
    """The speaker cannot run; ``code`` is its exit code, its own message is already out."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the speaker ended with exit code {code}, see its message above")
        self.code = code


class Supervisor:
    """Own one speaker.  If this process is killed, the kernel ends the speaker with it."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = (sys.executable, "-m", "anycastd", "speaker", *arguments)
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Keep it running until cancelled; raises SpeakerEndedError where that is no use."""
        loop = asyncio.get_running_loop()
        wait = AGAIN_MIN
        while True:
            started = loop.time()
            self._process = await asyncio.create_subprocess_exec(
                *self.arguments, stdin=asyncio.subprocess.DEVNULL, preexec_fn=_end_with_parent
            )
            code = await self._process.wait()
            if code in GIVE_UP:
                raise SpeakerEndedError(code)
            if loop.time() - started >= STEADY:
                wait = AGAIN_MIN
            log.warning("the speaker ended (%s); starting it again in %.1f s", _ended(code), wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, AGAIN_MAX)

    async def stop(self, within: float) -> None:
        """End it: politely, and after ``within`` seconds by force."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                async with asyncio.timeout(within):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
