"""Find Unix sockets on which a process listens, in the kernel's list (I/O)."""

from __future__ import annotations

import os
import re

LIST = "/proc/self/net/unix"
"""The kernel's list of the Unix sockets of this network namespace (proc(5))."""
_LISTENS = 0x10000
"""Flag of a socket that listens (`__SO_ACCEPTCON` in linux/net.h)."""
_WHILE_BINDING = re.compile(r"\.\d{1,10}\.tmp")
"""What HAProxy adds to the path while it binds; it renames the file, the kernel keeps the name."""


def listens_somewhere(path: str) -> bool:
    """Return whether a process still listens on a socket that was bound to ``path``.

    The file may have been removed, renamed or replaced since: the socket lives as long as its
    process, and no longer.  False where the list cannot be read, and where the process is in
    another network namespace.
    """
    wanted = _resolve(path)
    try:
        with open(LIST, encoding="utf-8", errors="replace") as lines:
            next(lines, "")
            return any(_listens_on(line, wanted) for line in lines)
    except OSError:
        return False


def _listens_on(line: str, wanted: str) -> bool:
    # Num RefCount Protocol Flags Type St Inode Path
    fields = line.rstrip("\n").split(None, 7)
    if len(fields) < 8 or os.path.basename(wanted) not in fields[7]:  # noqa: PLR2004 - the columns
        return False
    bound = _resolve(fields[7])
    rest = bound.removeprefix(wanted)
    if not int(fields[3], 16) & _LISTENS or not bound.startswith(wanted):
        return False
    return not rest or _WHILE_BINDING.fullmatch(rest) is not None


def _resolve(path: str) -> str:
    """Resolve the folder of a path: /var/run is often a link to /run."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)
