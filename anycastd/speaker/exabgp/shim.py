"""Run ExaBGP's own main with patches: ``python -m anycastd.speaker.exabgp.shim CONF``.

Each patch replaces one behaviour of ExaBGP that would break a promise of anycastd; its docstring
says which one and why:

- ``patches/timers``: clocks, the wait before a redial, the name lookup
- ``patches/session``: NOTIFICATIONs and capabilities
- ``patches/families``: what is agreed on for a session
- ``patches/api_child``: a lease process that dies or hangs
- ``patches/reload``: ExaBGP reads its configuration again
- ``patches/queue``: the queue in which routes wait to be sent
- ``patches/descriptors``: no free descriptor
- ``patches/loop``: how long ExaBGP's loop sleeps, and what wakes it

Either all patches are applied or none: where ExaBGP is not as a patch expects it, the shim says
so and exits with 69.  Standard library and exabgp only, so that it starts wherever ExaBGP does.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys

from anycastd.speaker.exabgp.contract import PARENT_VARIABLE
from anycastd.speaker.exabgp.modules import UnknownExabgpError, load_module, read_release
from anycastd.speaker.exabgp.patches import (
    api_child,
    descriptors,
    families,
    loop,
    queue,
    reload,
    session,
    timers,
)
from anycastd.system.exit_codes import EX_UNAVAILABLE, USAGE

PATCHES = (
    *timers.PATCHES,
    *api_child.PATCHES,
    *reload.PATCHES,
    *session.PATCHES,
    *families.PATCHES,
    *queue.PATCHES,
    *descriptors.PATCHES,
    *loop.PATCHES,
)
"""Patches for every release, in the order in which they are applied."""
PATCHES_4 = (*session.PATCHES_4, *reload.PATCHES_4)
"""Patches for 4.x only; they are applied after the others."""
PATCHES_5 = descriptors.PATCHES_5
"""Patches for 5.x only; they are applied after the others."""
_MAX_DIGITS = 9  # of a pid
_LOG_LEVEL = "exabgp_log_level"


class DroppingStream(io.TextIOBase):
    """Standard error of ExaBGP: text that nobody reads is dropped and counted, never waited for.

    ExaBGP has one thread. If it waited for the reader of its log, it would be killed as an ExaBGP
    that hangs.
    """

    def __init__(self) -> None:
        self._dropped = 0

    def write(self, text: str) -> int:
        """Write ``text`` where that does not wait; returns its length in any case."""
        data = text.encode("utf-8", "backslashreplace")
        if self._dropped:
            data = f"[{self._dropped} pieces of this log were dropped]\n".encode() + data
        for start in range(0, len(data), select.PIPE_BUF):
            if not self._write_piece(data[start : start + select.PIPE_BUF]):
                self._dropped += 1
                return len(text)
        self._dropped = 0
        return len(text)

    def _write_piece(self, piece: bytes) -> bool:
        with contextlib.suppress(OSError, ValueError):
            # The descriptor is shared with the lease process, so it is polled.
            if select.select([], [2], [], 0)[1]:
                os.write(2, piece)
                return True
        return False


def apply_patches() -> str:
    """Patch the ExaBGP that this interpreter imports and return its release, such as 4.2.25.

    Raises UnknownExabgpError, or AttributeError where ExaBGP does not say its release; no patch is
    applied then, except for the name lookup.
    """
    release = read_release()
    try:
        timers.skip_name_lookup()()  # before all other imports of ExaBGP
        patches = PATCHES + (PATCHES_4 if release.startswith("4.") else PATCHES_5)
        # Each patch checks when it is called: all checks come before the first change.
        for apply in [patch() for patch in patches]:
            apply()
    except UnknownExabgpError:
        raise
    except Exception as problem:  # noqa: BLE001 - whatever it is, ExaBGP is another
        raise UnknownExabgpError(
            f"ExaBGP {release} is not as anycastd knows it ({problem}), so that its timers and its "
            "route refresh cannot be trusted: install an unmodified 4.2 or 5.0"
        ) from None
    return release


def main(arguments: list[str]) -> int:
    """Run ExaBGP with the configuration file that is the only argument.

    Returns ExaBGP's exit code, or one of ours where ExaBGP was not started: 2 for a wrong command
    line or environment, 69 for an ExaBGP that is missing or unknown.  Raises AttributeError where
    ExaBGP does not say its release, UnknownExabgpError where it has no main.
    """
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m anycastd.speaker.exabgp.shim CONF\n")
        return USAGE
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if parent and not (parent.isascii() and parent.isdecimal() and len(parent) <= _MAX_DIGITS):
        sys.stderr.write(f"anycastd speaker: {PARENT_VARIABLE}={parent!a} is no pid: unset it\n")
        return USAGE
    if parent:
        # Late, for its ctypes: a megabyte that most speakers do not need.
        from anycastd.system.parent_death import die_with_parent  # noqa: PLC0415

        die_with_parent(int(parent))
    # 4.2 logs to stdout when it is told to log to stderr.
    sys.stdout = sys.stderr = DroppingStream()
    (conf,) = arguments
    # Named, so that neither version reads /etc/exabgp/exabgp.env.  5.0 looks here, 4.2 at --env.
    settings = os.environ.setdefault("EXABGP_ENVFILE", "/dev/null")
    try:
        release = apply_patches()
    except UnknownExabgpError as problem:
        sys.stderr.write(f"anycastd speaker: {problem}\n")
        return EX_UNAVAILABLE
    if release.startswith("4."):
        sys.argv = ["exabgp", "--env", settings, conf]
        if os.environ.get(_LOG_LEVEL) == "ERROR":
            os.environ[_LOG_LEVEL] = "ERR"  # 4.x takes syslog's name of the level only
    else:
        sys.argv = ["exabgp", "server", conf]
    return int(load_module("exabgp.application.main").main() or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
