"""Validate the code and the profile on disk, before they take over: runs of our own command line.

The text that was validated is the text that starts: it is kept in a memory file which the
validation and the successor both read, so a file that is saved meanwhile has no effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anycastd.agent.control_client import VALIDATE_TIMEOUT
from anycastd.agent.start_context import (
    ACCEPTED_FD,
    PROFILE_FD,
    RUNNING_FD,
    StartContext,
    write_descriptor,
)
from anycastd.system.regular_file import read_regular_file

MAX_PROFILE_SIZE = 16 * 1024 * 1024
"""Bytes of a profile that are read at most."""
START_ALLOWANCE = 4.0
"""The lease outlives a reload by this factor times the duration of the validation."""


class ReloadRefusedError(Exception):
    """The code or the profile on disk cannot start: one problem per line."""


class ProfileRefusedError(ReloadRefusedError):
    """The check ran, and refuses the code or the profile on disk: somebody has to correct it."""


@dataclass(frozen=True, slots=True)
class Successor:
    """A validated successor.

    ``profile_fd`` is a memory file with its profile's text, ``drains_fd`` an empty one for drains
    that are on no disk, ``accepted_fd`` one with what the validation accepted (``accepted_file``),
    ``validation_time`` the duration of the validation (s), ``warnings`` the lines that it printed.
    """

    profile_fd: int
    drains_fd: int
    accepted_fd: int
    validation_time: float
    warnings: tuple[str, ...] = ()

    @property
    def start_allowance(self) -> float:
        """Seconds that this successor may need until it renews the lease."""
        return START_ALLOWANCE * self.validation_time

    def close(self) -> None:
        """Close the memory files."""
        for descriptor in (self.profile_fd, self.drains_fd, self.accepted_fd):
            os.close(descriptor)


async def validate_on_disk(
    context: StartContext, running: Mapping[str, Any] | None = None
) -> Successor:
    """Validate the profile on disk with the code on disk, by this agent's own command line.

    ``running`` has ``text``, the profile that runs, and ``held``, the routes on the lease: then the
    new profile must not lower a service.

    Raises ReloadRefusedError where the profile cannot be read, this process lacks what a reload
    needs (descriptors, memory, processes), or the validation refuses the profile, cannot be
    started, or takes longer than ``VALIDATE_TIMEOUT`` seconds.
    """
    try:
        text = read_regular_file(context.profile_path, MAX_PROFILE_SIZE, follow=True)
    except OSError as error:
        raise ProfileRefusedError(
            f"{context.profile_path}: cannot be read: {error.strerror}"
        ) from None
    with contextlib.ExitStack() as opened:
        try:
            # Both now: what is missing at the last moment could cost the agent its drains.
            descriptors = []
            for name in ("profile", "drains", "accepted"):
                descriptors.append(os.memfd_create(name))
                opened.callback(os.close, descriptors[-1])
            write_descriptor(descriptors[0], text)
        except OSError as error:
            raise ReloadRefusedError(f"no memory file can be made: {error.strerror}") from None
        began_at = time.monotonic()
        given = {PROFILE_FD: descriptors[0], ACCEPTED_FD: descriptors[2]}
        output = await _run_validation(context, given, VALIDATE_TIMEOUT)
        validation_time = time.monotonic() - began_at
        if running is not None and text != str(running["text"]).encode():
            left = max(VALIDATE_TIMEOUT - validation_time, 1.0)
            await _guard_services(context, descriptors[0], running, left)
        opened.pop_all()
    profile_fd, drains_fd, accepted_fd = descriptors
    warnings = tuple(output.splitlines())
    return Successor(profile_fd, drains_fd, accepted_fd, validation_time, warnings)


async def _guard_services(
    context: StartContext, profile_fd: int, running: Mapping[str, Any], timeout: float
) -> None:
    """Refuse a profile that lowers a service; a run of its own, whose looks take time.

    Code of an older release on the disk does not know the variable, and checks the profile only.
    """
    try:
        descriptor = os.memfd_create("running")
    except OSError as error:
        raise ReloadRefusedError(f"no memory file can be made: {error.strerror}") from None
    try:
        write_descriptor(descriptor, json.dumps(running).encode())
        await _run_validation(context, {PROFILE_FD: profile_fd, RUNNING_FD: descriptor}, timeout)
    except OSError as error:
        raise ReloadRefusedError(f"no memory is left: {error.strerror}") from None
    finally:
        os.close(descriptor)


async def _run_validation(
    context: StartContext, descriptors: Mapping[str, int], timeout: float
) -> str:
    """Run `--validate` in a child; return what it printed on stderr.

    ``descriptors``: variable of the environment -> descriptor.  Raises ReloadRefusedError where it
    cannot be started, does not end within ``timeout`` seconds, or ends with another code than 0.
    """
    command_line = context.command_line
    try:
        process = await asyncio.create_subprocess_exec(
            *command_line,
            "--validate",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**context.environment, **{name: str(fd) for name, fd in descriptors.items()}},
            pass_fds=tuple(descriptors.values()),
        )
    except OSError as error:
        text = f"{command_line[0]}: cannot be started: {error.strerror}"
        raise ReloadRefusedError(text) from None
    except RuntimeError as error:  # Python 3.11 waits for each child in a thread
        text = f"{command_line[0]}: {error}: the limit of threads is reached (TasksMax=)"
        raise ReloadRefusedError(text) from None
    try:
        async with asyncio.timeout(timeout):
            _, output = await process.communicate()
    except TimeoutError:
        raise ReloadRefusedError(f"the validation did not end within {timeout:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    said = output.decode("utf-8", "replace").strip()
    if code := process.returncode or 0:
        raise ProfileRefusedError(said or f"the code on disk ends with exit code {code} at once")
    return said
