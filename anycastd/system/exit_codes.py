"""Every exit code of anycastd, in one table (stdlib only, pure).

docs/exit-codes.md explains them to operators, by command and by process.  Codes of 65 and above
are those of sysexits.h and mean the same for every command; codes 1 to 5 depend on the command.
The lab has the codes that it needs in ``lab/network/namespaces.py``, since it imports nothing of
ours.
"""

from __future__ import annotations

DONE = 0
"""What the command was to do is done, and all is as wanted."""

NOT_STORED = 1
"""drain, undrain: done, but not written to the disk."""
WARNING = 1
"""status: something is not as wanted."""
NOT_SEEN = 1
"""lab: not everything was seen that should have been."""

USAGE = 2
"""The command line is wrong, or there is no such service; argparse ends with it too."""
CRITICAL = 2
"""status: a service is withdrawn and not drained, or no session is up."""

UNKNOWN = 3
"""status: no agent answers."""
REFUSED = 4
"""drain, undrain, return, init, import: nothing has changed."""
ENDED_EARLY = 5
"""drain --wait: the drain was ended before it was safe to reboot."""

EX_DATAERR = 65
"""simulate: the recording is damaged, or of another version.  import: it cannot be understood."""
EX_NOINPUT = 66
"""simulate, import: the file cannot be read."""
EX_UNAVAILABLE = 69
"""Something needed is missing, does not answer, or is already in use."""
EX_SOFTWARE = 70
"""A bug in anycastd."""
EX_TEMPFAIL = 75
"""A change was asked for and no answer came: it is not known whether it was made."""
EX_NOPERM = 77
"""A privilege is missing."""
EX_CONFIG = 78
"""The profile, or a file that it names, cannot be used."""

INTERRUPTED = 130
"""Ended by Ctrl-C: 128 + SIGINT, as shells say it."""

NO_RESTART = frozenset({USAGE, EX_UNAVAILABLE, EX_NOPERM, EX_CONFIG})
"""Codes of a speaker whose cause must be corrected first: another start would fail as well."""


class ExitError(Exception):
    """An error that ends the process: the message says what to do, ``code`` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
