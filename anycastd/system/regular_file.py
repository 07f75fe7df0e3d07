"""Read a file of unknown kind without waiting for it, up to a maximum size (I/O)."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular_file(path: Path | str, max_size: int, *, follow: bool = False) -> bytes:
    """Read a regular file of ``max_size`` bytes at most.

    ``follow``: a symbolic link in its place is followed; otherwise it is refused.  Raises OSError
    where it cannot be read, is larger, or is a FIFO, a device, a directory or a socket: a FIFO
    would be waited for, and a device such as /dev/zero has no end.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(error.errno, "it is a symbolic link", str(path)) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return read_descriptor(descriptor, max_size, str(path))
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int, max_size: int, path: str = "") -> bytes:
    """Read a descriptor to its end; raises OSError with ``path`` beyond ``max_size`` bytes."""
    pieces: list[bytes] = []
    left = max_size + 1
    while left and (piece := os.read(descriptor, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        raise OSError(errno.EFBIG, f"it has more than {max_size} bytes", path)
    return b"".join(pieces)
