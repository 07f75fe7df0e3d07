"""A reload: the code and the profile on disk are judged, then take this process's place.

Same process id, same command line, new code, new profile.  What was judged is what starts: the
profile's text is kept in a descriptor that the judge and the successor both read, so that somebody
who saves the file meanwhile breaks nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from anycastd.agent.control_client import VALIDATE_TIMEOUT

log = logging.getLogger(__name__)

TEXT = "ANYCASTD_PROFILE_FD"
"""Environment: the descriptor of a profile's text that was judged already."""
SPEAKER = "ANYCASTD_SPEAKER_PID"
"""Environment: the foreground form's speaker, which is ours to adopt."""
CONTROL = "ANYCASTD_CONTROL_FD"
"""Environment: the descriptor of the control socket, so that who asks meanwhile only waits."""
REPEAT = "ANYCASTD_RELOAD_AGAIN"
"""Environment: another reload was asked for while the last one was under way."""
DRAINS = "ANYCASTD_DRAINS"
"""Environment: drains that stand and could not be written to the disk."""
SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""What the agent acts on; held back while nobody is there to act."""


class ReloadRefusedError(Exception):
    """What is on disk cannot take over: every problem, one per line."""


@dataclass(frozen=True, slots=True)
class StartContext:
    """How this agent was started: all that its successor needs.

    ``profile`` is the profile's absolute path.  ``text``: what was judged already (None: this is
    no successor); ``speaker``: the speaker that it has to adopt; ``control``: the control socket's
    descriptor; ``again``: it has to reload; ``drains``: those that are on no disk.
    """

    line: tuple[str, ...]
    environment: Mapping[str, str]
    profile: str
    text: str | None = None
    speaker: int | None = None
    control: int | None = None
    again: bool = False
    drains: str = ""


@dataclass(frozen=True, slots=True)
class Successor:
    """What has been judged and may take over.

    ``descriptor`` holds its profile's text, ``took`` is how long the judge needed, in seconds,
    ``said`` what it had to say nevertheless.
    """

    descriptor: int
    took: float
    said: tuple[str, ...] = ()


def block_signals() -> None:
    """Keep signals back until the agent can act on them; they are kept across exec, too."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def unblock_signals() -> None:
    """Let signals through, those that came meanwhile first."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def read_start_context(profile: str) -> StartContext:
    """Find out how this process was started; call it before anything changes the environment."""
    descriptor = os.environ.pop(TEXT, "")
    speaker = os.environ.pop(SPEAKER, "")
    control = os.environ.pop(CONTROL, "")
    again = os.environ.pop(REPEAT, "")
    drains = os.environ.pop(DRAINS, "")
    text = None
    if descriptor:
        text = _contents(int(descriptor))
        os.close(int(descriptor))
    return StartContext(
        line=(sys.executable, *sys.orig_argv[1:]),
        environment=dict(os.environ),
        profile=os.path.abspath(profile),
        text=text,
        speaker=int(speaker) if speaker else None,
        control=int(control) if control else None,
        again=bool(again),
        drains=drains,
    )


class Reloader:
    """One reload at a time: ``heir`` is set, and ``agreed``, once one may take over."""

    def __init__(self, its: StartContext) -> None:
        self.origin = its
        self.heir: Successor | None = None
        self.agreed = asyncio.Event()
        self._again = False
        self._busy = False
        self._judging: asyncio.Task[None] | None = None

    def signal(self) -> None:
        """Reload because a signal says so; one that comes meanwhile is another reload after it."""
        if self._busy:
            self._again = True
        else:
            self._judging = asyncio.create_task(self._by_signal())

    async def ask(self) -> Successor:
        """Reload; raises RefusedError, after which everything is as before."""
        if self._busy:
            raise ReloadRefusedError("another reload is under way: ask again in a moment")
        self._busy = True
        try:
            self.heir = await validate_on_disk(self.origin)
        except ReloadRefusedError as refusal:
            for line in str(refusal).splitlines():
                log.error("reload refused: %s", line)  # noqa: TRY400 - not our bug, no traceback
            raise
        finally:
            self._busy = self.heir is not None
            if self._again and not self._busy:
                self._again = False
                self.signal()
        log.info("the code and the profile on disk take over")
        self.agreed.set()
        return self.heir

    async def stop(self) -> None:
        """Give up what a signal began."""
        if self._judging is not None:
            self._judging.cancel()
            await asyncio.gather(self._judging, return_exceptions=True)

    def become(self, speaker: int | None, control: int | None, drains: str = "") -> NoReturn:
        """Execute ourselves anew, with ``heir``; raises OSError where that cannot be.

        ``speaker`` is the pid of our own speaker, ``control`` the control socket's descriptor,
        ``drains`` are those that are on no disk.
        """
        environment = dict(self.origin.environment)
        if self.heir is not None:
            environment[TEXT] = str(self.heir.descriptor)
            os.set_inheritable(self.heir.descriptor, True)
        if speaker is not None:
            environment[SPEAKER] = str(speaker)
        if control is not None:
            environment[CONTROL] = str(control)
        if self._again:
            environment[REPEAT] = "yes"
        if drains:
            environment[DRAINS] = drains
        sys.stdout.flush()
        sys.stderr.flush()
        line = self.origin.line
        os.execve(line[0], line, environment)  # noqa: S606 - that is the point

    async def _by_signal(self) -> None:
        with contextlib.suppress(ReloadRefusedError):
            await self.ask()


async def validate_on_disk(its: StartContext) -> Successor:
    """Have the code on disk judge the profile on disk, by our own command line.

    Raises RefusedError.
    """
    try:
        text = Path(its.profile).read_bytes()
    except OSError as error:
        raise ReloadRefusedError(f"{its.profile}: cannot be read: {error.strerror}") from None
    descriptor = os.memfd_create("profile")
    try:
        os.write(descriptor, text)
        began = time.monotonic()
        code, said = await _run(its, descriptor)
        took = time.monotonic() - began
        if code:
            raise ReloadRefusedError(said or f"the code on disk ends with exit code {code} at once")
    except BaseException:
        os.close(descriptor)
        raise
    return Successor(descriptor, took, tuple(said.splitlines()))


async def _run(its: StartContext, descriptor: int) -> tuple[int, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            *its.line,
            "--validate",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**its.environment, TEXT: str(descriptor)},
            pass_fds=(descriptor,),
        )
    except OSError as error:
        raise ReloadRefusedError(f"{its.line[0]}: {error.strerror}") from None
    try:
        async with asyncio.timeout(VALIDATE_TIMEOUT):
            _, said = await process.communicate()
    except TimeoutError:
        raise ReloadRefusedError(
            f"the judge did not answer within {VALIDATE_TIMEOUT:g} s"
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode or 0, said.decode("utf-8", "replace").strip()


def _contents(descriptor: int) -> str:
    data = b""
    while piece := os.pread(descriptor, 1 << 20, len(data)):  # both readers share one position
        data += piece
    return data.decode("utf-8")
