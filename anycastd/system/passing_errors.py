"""Tell errors of the operating system that may pass from those that somebody has to correct (pure).

A disk that fails once, and a lack of descriptors or memory, are over at the next attempt.  They
say nothing about the file that was to be read.
"""

from __future__ import annotations

import errno

_LASTING = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EACCES,
        errno.EPERM,
        errno.EINVAL,
        errno.EFBIG,
        errno.ENXIO,
    }
)
"""What errno(3) says of the place, its kind, its size or its permissions."""


def may_pass(error: OSError) -> bool:
    """Return whether the same call may succeed a moment later, without anybody's help."""
    return error.errno is not None and error.errno not in _LASTING
