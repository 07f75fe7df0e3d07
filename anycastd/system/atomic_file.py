"""Replace a file at once (I/O)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_atomic(file: Path, text: str, mode: int = 0o640) -> None:
    """Replace ``file`` by ``text`` as UTF-8: readers see the old text or the new one, never a part.

    When this returns, the new text is on disk, so that it survives a crash of the machine.  Several
    writers at once do not disturb each other.  ``mode`` is set whatever the umask is.

    Raises OSError, and UnicodeEncodeError where ``text`` has surrogates.  The file is then the old
    one, unless only the last step failed, the synchronization of the directory.
    """
    # Not by `tempfile`, which loads what compresses: 5 ms of each start.
    temporary = file.parent / f"{_prefix(file)}{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(descriptor, mode)
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_leftovers(file: Path) -> None:
    """Remove the temporary files that killed writers of ``file`` left.

    No other process may be writing it.  What cannot be removed stays, without an error.
    """
    with contextlib.suppress(OSError):
        for leftover in file.parent.glob(f"{_prefix(file)}*"):
            leftover.unlink()


def _prefix(file: Path) -> str:
    return f".{file.name}."
