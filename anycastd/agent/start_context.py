"""How an agent was started: what the agent before it, or its reload, hands over (environment)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from anycastd.system.exit_codes import USAGE, ExitError
from anycastd.system.printable import make_printable

PROFILE_FD = "ANYCASTD_PROFILE_FD"
"""Environment: the descriptor of the profile's text, which is validated already."""
SPEAKER_PID = "ANYCASTD_SPEAKER_PID"
"""Environment: the pid of the foreground form's speaker, a child of this process."""
CONTROL_FD = "ANYCASTD_CONTROL_FD"
"""Environment: the descriptor of the control socket: clients wait there during the reload."""
RUNNING_FD = "ANYCASTD_RUNNING_FD"
"""Environment of a check: the descriptor of what runs now, as JSON: its profile and its routes."""
ACCEPTED_FD = "ANYCASTD_ACCEPTED_FD"
"""Environment: the descriptor of what the check of a reload accepted; the check writes it."""
RELOADED_BY = "ANYCASTD_RELOADED_BY"
"""Environment: who asked for the reload."""
REPEAT = "ANYCASTD_RELOAD_AGAIN"
"""Environment: a signal asked for another reload while this one was under way."""
DRAINS_FD = "ANYCASTD_DRAINS_FD"
"""Environment: the descriptor of the drains that could not be written to the disk, as JSON.

Not their text: a variable has 128 KiB at most, execve(2).
"""
_MAX_DIGITS = 9  # of a descriptor or a pid
_MAX_SHOWN = 40  # characters of a variable in a message


@dataclass(frozen=True, slots=True)
class AgentPaths:
    """Paths of one agent.

    ``lease`` is the lease's socket, ``directory`` that of the control socket, ``state`` the
    directory of the files that outlive the agent.
    """

    lease: str
    directory: str
    state: str


@dataclass(frozen=True, slots=True)
class StartContext:
    """How this agent was started: what its successor needs.

    ``profile_path`` is absolute.  ``profile_text`` is the validated text (None: this agent is not
    the successor of a reload).  ``speaker_pid`` is the speaker to adopt, ``control_fd`` the
    control socket's descriptor, ``unsaved_drains`` those that are on no disk.  ``repeat``: reload
    once more after the start.  ``failed_reload``: why a reload could not execute its successor, so
    that this agent goes on instead; else empty.  ``reloaded_by``: who asked for the reload.
    ``accepted`` is what the check of the profile accepted, sealed, where it is not kept yet.
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
    reloaded_by: str = ""
    accepted: str = ""

    @property
    def is_successor(self) -> bool:
        """Whether a reload started this agent."""
        return self.profile_text is not None


def read_start_context(profile_path: str) -> StartContext:
    """Read how this process was started; call it before anything changes the environment.

    It takes what a predecessor set out of the environment.  Raises ExitError (2) where a variable
    holds no number, or no descriptor of a UTF-8 text.
    """
    speaker_pid = _pop_number(SPEAKER_PID)
    control_fd = _pop_number(CONTROL_FD)
    repeat = os.environ.pop(REPEAT, "")
    reloaded_by = os.environ.pop(RELOADED_BY, "")
    profile_text = _pop_text(PROFILE_FD)
    unsaved_drains = _pop_text(DRAINS_FD) or ""
    accepted = _pop_text(ACCEPTED_FD) or ""
    return StartContext(
        command_line=(sys.executable, *sys.orig_argv[1:]),
        environment=dict(os.environ),
        profile_path=os.path.abspath(profile_path),
        profile_text=profile_text,
        speaker_pid=speaker_pid,
        control_fd=control_fd,
        repeat=bool(repeat),
        unsaved_drains=unsaved_drains,
        reloaded_by=reloaded_by,
        accepted=accepted,
    )


def read_running() -> dict[str, Any] | None:
    """Read what runs now, in the check of a reload; None where this is no such check.

    Raises ExitError (2) where the variable names no such text.
    """
    text = _pop_text(RUNNING_FD)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"text", "held"} <= set(found):
        raise ExitError(_explain_variable(RUNNING_FD, "", "it holds no profile"), USAGE)
    return found


def pop_accepted_fd() -> int | None:
    """Take the descriptor for what is accepted out of the environment; None where it is not set.

    Raises ExitError (2) where the variable holds no number.
    """
    return _pop_number(ACCEPTED_FD)


def write_descriptor(descriptor: int, data: bytes) -> None:
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


def describe_failed_exec(
    context: StartContext,
    error: OSError,
    speaker_pid: int | None,
    control_fd: int | None,
    drains: str,
) -> StartContext:
    """Return what an agent is started with where its successor could not be executed.

    ``context`` is what it was started with itself.  ``drains`` are those that are not on disk.
    """
    text = (
        f"cannot execute the new agent: {error.strerror}; this agent goes on, with "
        "the old code and the old profile"
    )
    return replace(
        context,
        profile_text=None,
        speaker_pid=speaker_pid,
        control_fd=control_fd,
        repeat=False,
        unsaved_drains=drains,
        accepted="",
        failed_reload=text,
    )
