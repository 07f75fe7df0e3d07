"""Reload: validate the code and the profile on disk, then execute them in this process.

The process id and the command line stay, the code and the profile are new.  A new profile that
would lower a service is refused, unless it is forced (``validation``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from anycastd.agent.deadline import is_late
from anycastd.agent.start_context import (
    ACCEPTED_FD,
    CONTROL_FD,
    DRAINS_FD,
    PROFILE_FD,
    RELOADED_BY,
    REPEAT,
    SPEAKER_PID,
    StartContext,
    write_descriptor,
)
from anycastd.agent.validation import (
    ProfileRefusedError,
    ReloadRefusedError,
    Successor,
    validate_on_disk,
)
from anycastd.system.printable import make_printable
from anycastd.views.event_commands import build_reload_refused
from anycastd.views.events import Event

log = logging.getLogger(__name__)

MAX_NAME = 80
"""Characters of the name of who asked for a reload."""


class Reloader:
    """The reloads of one agent, on request or by SIGHUP, one at a time.

    ``on_validated`` is called once a successor may take over; ``successor`` is set then.
    ``describe_running`` returns what runs now: ``text``, the profile, and ``held``, the routes on
    the lease as JSON.  ``record`` is given each event.
    """

    def __init__(
        self,
        context: StartContext,
        on_validated: Callable[[], None],
        describe_running: Callable[[], Mapping[str, Any]],
        record: Callable[[Event], object],
    ) -> None:
        self._record = record
        self._asked_by = ""
        self.context = context
        self.successor: Successor | None = None
        self._refusal = ""
        self._on_validated = on_validated
        self._describe_running = describe_running
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
        """Answer `anycastd reload`; ``by`` is who asks, ``force``: also where it lowers a service.

        Returns ``accepted`` with ``said``, the warnings; or ``refused``, all problems, a line each.
        """
        force = arguments.get("force") is True
        by = str(arguments.get("by"))
        log.info("%s asks for a reload%s", by, " with --force" if force else "")
        try:
            successor = await self._validate_successor(by, lambda: is_late(arguments), force=force)
        except ReloadRefusedError as refusal:
            return {"v": 1, "refused": str(refusal).splitlines()}
        return {"v": 1, "accepted": True, "said": successor.warnings}

    def list_problems(self) -> tuple[str, ...]:
        """List the problems to show in the status: a reload that failed or was refused."""
        failed = self.context.failed_reload
        found = (f"the last reload: {failed}",) if failed else ()
        return (*found, self._refusal) if self._refusal else found

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
        given = {PROFILE_FD: successor.profile_fd, ACCEPTED_FD: successor.accepted_fd}
        if drains:
            write_descriptor(successor.drains_fd, drains.encode())
            given[DRAINS_FD] = successor.drains_fd
        for name, descriptor in given.items():
            environment[name] = str(descriptor)
            os.set_inheritable(descriptor, True)
        if speaker_pid is not None:
            environment[SPEAKER_PID] = str(speaker_pid)
        if control_fd is not None:
            environment[CONTROL_FD] = str(control_fd)
        environment[RELOADED_BY] = make_printable(self._asked_by, MAX_NAME)
        if self._repeat:
            environment[REPEAT] = "yes"
        sys.stdout.flush()
        for handler in logging.getLogger().handlers:
            handler.flush()
        command_line = self.context.command_line
        os.execve(command_line[0], command_line, environment)  # noqa: S606 - our own command line

    async def _reload_quietly(self) -> None:
        with contextlib.suppress(ReloadRefusedError):
            await self._validate_successor("SIGHUP")

    async def _validate_successor(
        self, by: str, has_left: Callable[[], bool] = bool, *, force: bool = False
    ) -> Successor:
        """Validate what is on disk; raises ReloadRefusedError, and the agent goes on unchanged.

        ``by`` asked for it.  ``has_left``: whoever asked for it has given up meanwhile.
        ``force``: also where the new profile lowers a service.
        """
        if self._busy:
            raise ReloadRefusedError("another reload is under way: ask again in a moment")
        self._busy = True
        try:
            running = None if force else self._describe_running()
            successor = await validate_on_disk(self.context, running)
            if has_left():
                successor.close()
                raise ReloadRefusedError("the check took too long; nothing has changed")
            self.successor, self._asked_by = successor, by
        except ReloadRefusedError as refusal:
            if isinstance(refusal, ProfileRefusedError):  # no mere shortage, which passes
                self._refusal = _describe_refusal(str(refusal))
            self._record(build_reload_refused(str(refusal).splitlines(), time.time()))
            raise
        finally:
            self._busy = self.successor is not None
            if self._repeat and not self._busy:
                self._repeat = False
                self.reload_by_signal()
        self._on_validated()
        return self.successor


def _describe_refusal(text: str) -> str:
    """Describe a refusal for the status: its first reason, and what to do."""
    lines = [line.strip() for line in text.splitlines()] or [""]
    # A service that would be lowered has its reason in the line below.
    first = f"{lines[0]}: {lines[1]}" if " -> " in lines[0] and len(lines) > 1 else lines[0]
    first = " ".join(first.split()).replace("; ", ", ")  # what follows a semicolon is a remedy
    return (
        f"the last reload was refused, and the profile before it goes on ({first}); correct the "
        "file, then `anycastd reload`: a restart would read the file as it is"
    )
