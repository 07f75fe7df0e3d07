"""Reload: validate the code and the profile on disk, then execute them in this process.

The process id and the command line stay, the code and the profile are new.  The text that was
validated is the text that starts: it is kept in a memory file which the validation and the
successor both read, so a file that is saved meanwhile has no effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from anycastd.agent.control_client import VALIDATE_TIMEOUT
from anycastd.agent.deadline import is_late
from anycastd.system.exit_codes import USAGE, ExitError
from anycastd.system.printable import make_printable
from anycastd.system.regular_file import read_regular_file

log = logging.getLogger(__name__)

PROFILE_FD = "ANYCASTD_PROFILE_FD"
"""Environment: the descriptor of the profile's text, which is validated already."""
SPEAKER_PID = "ANYCASTD_SPEAKER_PID"
"""Environment: the pid of the foreground form's speaker, a child of this process."""
CONTROL_FD = "ANYCASTD_CONTROL_FD"
"""Environment: the descriptor of the control socket: clients wait there during the reload."""
REPEAT = "ANYCASTD_RELOAD_AGAIN"
"""Environment: a signal asked for another reload while this one was under way."""
DRAINS_FD = "ANYCASTD_DRAINS_FD"
"""Environment: the descriptor of the drains that could not be written to the disk, as JSON.

Not their text: a variable has 128 KiB at most, execve(2).
"""
MAX_PROFILE_SIZE = 16 * 1024 * 1024
"""Bytes of a profile that are read at most."""
START_ALLOWANCE = 4.0
"""The lease outlives a reload by this factor times the duration of the validation."""
_MAX_DIGITS = 9  # of a descriptor or a pid
_MAX_SHOWN = 40  # characters of a variable in a message

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""The signals that the agent handles; blocked while no handler is installed."""


class ReloadRefusedError(Exception):
    """The code or the profile on disk cannot start: one problem per line."""


@dataclass(frozen=True, slots=True)
class StartContext:
    """How this agent was started: what its successor needs.

    ``profile_path`` is absolute.  ``profile_text`` is the validated text (None: this agent is not
    the successor of a reload).  ``speaker_pid`` is the speaker to adopt, ``control_fd`` the
    control socket's descriptor, ``unsaved_drains`` those that are on no disk.  ``repeat``: reload
    once more after the start.  ``failed_reload``: why a reload could not execute its successor, so
    that this agent goes on instead; else empty.
    """

    command_line: tuple[str, ...]
    environment: Mapping[str, str]
    profile_path: str
    profile_text: str | None = None
    speaker_pid: int | None = None
    control_fd: int | None = None
    repeat: bool = False
    unsaved_drains: str = ""
    failed_reload: str = ""

    @property
    def is_successor(self) -> bool:
        """Whether a reload started this agent."""
        return self.profile_text is not None


@dataclass(frozen=True, slots=True)
class Successor:
    """A validated successor.

    ``profile_fd`` is a memory file with its profile's text, ``drains_fd`` an empty one for drains
    that are on no disk, ``validation_time`` the duration of the validation (s), ``warnings`` the
    lines that the validation printed.
    """

    profile_fd: int
    drains_fd: int
    validation_time: float
    warnings: tuple[str, ...] = ()

    @property
    def start_allowance(self) -> float:
        """Seconds that this successor may need until it renews the lease."""
        return START_ALLOWANCE * self.validation_time

    def close(self) -> None:
        """Close the memory files."""
        os.close(self.profile_fd)
        os.close(self.drains_fd)


def block_signals() -> None:
    """Block the agent's signals until it can handle them; a blocked signal survives an exec."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def unblock_signals() -> None:
    """Unblock the agent's signals; pending ones are delivered at once."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def read_start_context(profile_path: str) -> StartContext:
    """Read how this process was started; call it before anything changes the environment.

    It takes what a predecessor set out of the environment.  Raises ExitError (2) where a variable
    holds no number, or no descriptor of a UTF-8 text.
    """
    speaker_pid = _pop_number(SPEAKER_PID)
    control_fd = _pop_number(CONTROL_FD)
    repeat = os.environ.pop(REPEAT, "")
    profile_text = _pop_text(PROFILE_FD)
    unsaved_drains = _pop_text(DRAINS_FD) or ""
    return StartContext(
        command_line=(sys.executable, *sys.orig_argv[1:]),
        environment=dict(os.environ),
        profile_path=os.path.abspath(profile_path),
        profile_text=profile_text,
        speaker_pid=speaker_pid,
        control_fd=control_fd,
        repeat=bool(repeat),
        unsaved_drains=unsaved_drains,
    )


class Reloader:
    """The reloads of one agent, on request or by SIGHUP, one at a time.

    ``on_validated`` is called once a successor may take over; ``successor`` is set then.
    """

    def __init__(self, context: StartContext, on_validated: Callable[[], None]) -> None:
        self.context = context
        self.successor: Successor | None = None
        self._on_validated = on_validated
        self._repeat = False
        self._busy = False
        self._task: asyncio.Task[None] | None = None

    def reload_by_signal(self) -> None:
        """Start a reload; during a reload, remember that another one has to follow."""
        if self._busy:
            self._repeat = True
        else:
            self._task = asyncio.create_task(self._reload_quietly())

    async def answer_reload(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Answer `anycastd reload`; ``by`` is who asks.

        Returns ``accepted`` with ``said``, the warnings; or ``refused``, all problems, a line each.
        """
        log.info("%s asks for a reload", arguments.get("by"))
        try:
            successor = await self._validate_successor(lambda: is_late(arguments))
        except ReloadRefusedError as refusal:
            return {"v": 1, "refused": str(refusal).splitlines()}
        return {"v": 1, "accepted": True, "said": successor.warnings}

    async def stop(self) -> None:
        """Cancel a reload that a signal started."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def reexec(self, speaker_pid: int | None, control_fd: int | None, drains: str) -> NoReturn:
        """Execute the successor in this process.

        Raises OSError if the kernel refuses, and ReloadRefusedError where there is no successor.
        ``speaker_pid`` is the foreground form's speaker, ``control_fd`` the control socket's
        descriptor, ``drains`` those that are on no disk.
        """
        environment = dict(self.context.environment)
        successor = self.successor
        if successor is None:
            raise ReloadRefusedError("nothing was validated")
        environment[PROFILE_FD] = str(successor.profile_fd)
        os.set_inheritable(successor.profile_fd, True)
        if drains:
            _write_descriptor(successor.drains_fd, drains.encode())
            environment[DRAINS_FD] = str(successor.drains_fd)
            os.set_inheritable(successor.drains_fd, True)
        if speaker_pid is not None:
            environment[SPEAKER_PID] = str(speaker_pid)
        if control_fd is not None:
            environment[CONTROL_FD] = str(control_fd)
        if self._repeat:
            environment[REPEAT] = "yes"
        sys.stdout.flush()
        for handler in logging.getLogger().handlers:
            handler.flush()
        command_line = self.context.command_line
        os.execve(command_line[0], command_line, environment)  # noqa: S606 - our own command line

    async def _reload_quietly(self) -> None:
        with contextlib.suppress(ReloadRefusedError):
            await self._validate_successor()

    async def _validate_successor(self, has_left: Callable[[], bool] = bool) -> Successor:
        """Validate what is on disk; raises ReloadRefusedError, and the agent goes on unchanged.

        ``has_left``: whoever asked for it has given up meanwhile.
        """
        if self._busy:
            raise ReloadRefusedError("another reload is under way: ask again in a moment")
        self._busy = True
        try:
            successor = await validate_on_disk(self.context)
            if has_left():
                successor.close()
                raise ReloadRefusedError("the check took too long; nothing has changed")
            self.successor = successor
        except ReloadRefusedError as refusal:
            for line in str(refusal).splitlines():
                log.error("reload refused: %s", line)  # noqa: TRY400 - an operator's mistake
            raise
        finally:
            self._busy = self.successor is not None
            if self._repeat and not self._busy:
                self._repeat = False
                self.reload_by_signal()
        log.info("the code and the profile on disk take over")
        self._on_validated()
        return self.successor


async def validate_on_disk(context: StartContext) -> Successor:
    """Validate the profile on disk with the code on disk, by this agent's own command line.

    Raises ReloadRefusedError where the profile cannot be read, this process lacks what a reload
    needs (descriptors, memory, processes), or the validation refuses the profile, cannot be
    started, or takes longer than ``VALIDATE_TIMEOUT`` seconds.
    """
    try:
        text = read_regular_file(context.profile_path, MAX_PROFILE_SIZE, follow=True)
    except OSError as error:
        raise ReloadRefusedError(
            f"{context.profile_path}: cannot be read: {error.strerror}"
        ) from None
    with contextlib.ExitStack() as opened:
        try:
            # Both now: what is missing at the last moment could cost the agent its drains.
            descriptors = []
            for name in ("profile", "drains"):
                descriptors.append(os.memfd_create(name))
                opened.callback(os.close, descriptors[-1])
            _write_descriptor(descriptors[0], text)
        except OSError as error:
            raise ReloadRefusedError(f"no memory file can be made: {error.strerror}") from None
        began_at = time.monotonic()
        code, output = await _run_validation(context, descriptors[0])
        validation_time = time.monotonic() - began_at
        if code:
            raise ReloadRefusedError(
                output or f"the code on disk ends with exit code {code} at once"
            )
        opened.pop_all()
    profile_fd, drains_fd = descriptors
    return Successor(profile_fd, drains_fd, validation_time, tuple(output.splitlines()))


async def _run_validation(context: StartContext, profile_fd: int) -> tuple[int, str]:
    """Run `--validate` in a child; return its exit code and what it printed on stderr."""
    command_line = context.command_line
    try:
        process = await asyncio.create_subprocess_exec(
            *command_line,
            "--validate",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**context.environment, PROFILE_FD: str(profile_fd)},
            pass_fds=(profile_fd,),
        )
    except OSError as error:
        text = f"{command_line[0]}: cannot be started: {error.strerror}"
        raise ReloadRefusedError(text) from None
    except RuntimeError as error:  # Python 3.11 waits for each child in a thread
        text = f"{command_line[0]}: {error}: the limit of threads is reached (TasksMax=)"
        raise ReloadRefusedError(text) from None
    try:
        async with asyncio.timeout(VALIDATE_TIMEOUT):
            _, output = await process.communicate()
    except TimeoutError:
        raise ReloadRefusedError(
            f"the validation did not end within {VALIDATE_TIMEOUT:g} s"
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode or 0, output.decode("utf-8", "replace").strip()


def _write_descriptor(descriptor: int, data: bytes) -> None:
    """Replace what a memory file holds; raises OSError without the memory for it."""
    os.ftruncate(descriptor, 0)
    offset = 0
    while offset < len(data):
        offset += os.pwrite(descriptor, data[offset:], offset)


def _pop_number(name: str) -> int | None:
    """Take a number out of the environment; None where the variable is not set or empty."""
    text = os.environ.pop(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise ExitError(_explain_variable(name, text, "it is no number"), USAGE)
    return int(text)


def _pop_text(name: str) -> str | None:
    """Read and close the descriptor that a variable names; None where the variable is not set."""
    descriptor = _pop_number(name)
    if descriptor is None:
        return None
    try:
        text = _read_descriptor(descriptor)
        os.close(descriptor)
    except (OSError, UnicodeDecodeError) as error:
        problem = f"it names no text that can be read ({error})"
        raise ExitError(_explain_variable(name, str(descriptor), problem), USAGE) from None
    return text


def _explain_variable(name: str, value: str, problem: str) -> str:
    return f"{name}={make_printable(value, _MAX_SHOWN)}: {problem}; only a reload sets it: unset it"


def _read_descriptor(descriptor: int) -> str:
    data = b""
    # pread: the validation and the successor share one file position.
    while piece := os.pread(descriptor, 1 << 20, len(data)):
        data += piece
    return data.decode("utf-8")
