"""The agent's check of its profile: by what the last check kept, else in a child process.

The child is a copy of this process that loads what reads YAML and the schema, checks, writes down
what it accepted, and ends.  So the agent never has those 8 MB, and it can load its own parts
meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from anycastd.agent.accepted_file import (
    MAX_SIZE,
    compute_key,
    open_sealed,
    read_sealed,
    seal_accepted,
)
from anycastd.profile.accepted import AcceptedProfile, load_accepted
from anycastd.system.exit_codes import DONE, EX_CONFIG, EX_SOFTWARE
from anycastd.system.regular_file import read_descriptor


@dataclass(frozen=True, slots=True)
class CheckedProfile:
    """A profile that was accepted.

    ``sealed`` is what the next start can use, empty where it is kept already; ``dumped`` is the
    same without its seal.
    """

    accepted: AcceptedProfile
    sealed: str = ""
    dumped: str = ""


def check_text(
    text: str, path: str, began_at: int, tell_warning: Callable[[str], object]
) -> CheckedProfile | None:
    """Check a profile's text in this process; None where it is refused.

    Every problem is printed then.  ``tell_warning`` is given the warnings of one that is accepted.
    """
    # Only here: a start that finds what the last check kept loads none of it.
    from anycastd.cli.profile_file import validate_text  # noqa: PLC0415
    from anycastd.profile.acceptance import accept_profile, describe_accepted  # noqa: PLC0415

    validation = validate_text(text, path, tell_warning)
    if validation.profile is None:
        return None
    accepted = accept_profile(text, validation.profile, validation)
    dumped = describe_accepted(text, accepted, validation)
    return CheckedProfile(
        accepted, seal_accepted(dumped, compute_key(path, text), began_at), dumped
    )


class ProfileCheck:
    """One check of a profile; it begins at once, and ``finish`` waits for its end.

    ``text`` is the text of the file ``path``, ``directory`` where the last check kept what it
    accepted.  ``sealed`` is what the check of a reload accepted, or empty.  ``began_at`` is when
    this process began (ns of the wall clock).  No other thread may run yet.
    """

    def __init__(self, path: str, text: str, directory: str, sealed: str, began_at: int) -> None:
        self._path, self._text, self._began_at = path, text, began_at
        self._key = compute_key(path, text)
        self._child: tuple[int, int] | None = None  # process id, descriptor
        self._found = self._use(sealed, kept=False) or self._use(read_sealed(directory), kept=True)
        if self._found is None:
            with contextlib.suppress(OSError):  # no process or no memory: `finish` checks then
                self._child = self._start_child()

    def finish(self) -> CheckedProfile | None:
        """Return the profile; None where it was refused: then every problem was printed."""
        if self._found is None and self._child is not None:
            code = self._finish_child(*self._child)
            if code == EX_CONFIG:
                return None
        if self._found is None:
            self._found = self._check()
        return self._found

    def _check(self) -> CheckedProfile | None:
        return check_text(self._text, self._path, self._began_at, lambda _: None)

    def _use(self, sealed: str, *, kept: bool) -> CheckedProfile | None:
        """Use what an earlier check accepted, if it was for this text and this code."""
        text = open_sealed(sealed, self._key, self._began_at) if sealed else ""
        if not text:
            return None
        try:
            return CheckedProfile(load_accepted(text), "" if kept else sealed)
        except ValueError:
            return None

    def _start_child(self) -> tuple[int, int]:
        descriptor = os.memfd_create("accepted")
        try:
            pid = os.fork()
        except OSError:
            os.close(descriptor)
            raise
        if pid == 0:
            self._run_child(descriptor)
        return pid, descriptor

    def _run_child(self, descriptor: int) -> None:
        """Check, write what was accepted into a memory file, and end this process."""
        code = EX_SOFTWARE
        try:
            found = self._check()
            if found is None:
                code = EX_CONFIG
            elif found.dumped:
                data = f"{found.dumped}\n{found.sealed}".encode()
                with open(descriptor, "wb", closefd=False) as file:
                    file.write(data)
                code = DONE
        finally:
            # Nothing else of this process may happen twice.  The parent checks for itself then.
            sys.stderr.flush()
            os._exit(code)

    def _finish_child(self, pid: int, descriptor: int) -> int:
        """Wait for the child and read what it accepted; return its exit code."""
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os.lseek(descriptor, 0, os.SEEK_SET)
            text, _, sealed = read_descriptor(descriptor, 2 * MAX_SIZE).decode().partition("\n")
            if code == DONE:
                self._found = CheckedProfile(load_accepted(text), sealed)
        except (OSError, ValueError):
            return EX_SOFTWARE
        finally:
            os.close(descriptor)
        return code
