"""Find foreign ExaBGP processes in this network namespace, for warnings (I/O).

A machine may run an ExaBGP for another purpose; Debian's package starts one.  Two that speak to
the same neighbor from the same address take the session from each other.  anycastd only warns,
since it cannot know what the other one is for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from anycastd.system.printable import make_printable

_MAX_READ = 4096  # bytes: a command line may have megabytes, and is whatever its user likes
_MAX_SHOWN = 80  # characters


def find_foreign_exabgps() -> list[str]:
    """Return a warning for each foreign ExaBGP, in the order of their pids.

    One in another network namespace does not count.  Raises OSError where /proc cannot be read.
    """
    return [
        f"another ExaBGP runs here (pid {pid}: {line}); it is left alone: see that it does not "
        "announce these VIPs, or speak to these neighbors from the same address"
        for pid, line in sorted(_find_processes())
    ]


def _find_processes() -> Iterator[tuple[int, str]]:
    here = os.readlink("/proc/self/ns/net")
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is hidden from this user
            with open(f"/proc/{name}/cmdline", "rb") as file:
                command = file.read(_MAX_READ).decode(errors="replace")
            if _is_exabgp(command.split("\0")[:-1]) and _namespace(name, here) == here:
                yield int(name), make_printable(command.replace("\0", " ").strip(), _MAX_SHOWN)


def _namespace(pid: str, default: str) -> str:
    """Return the network namespace of a process, or ``default`` without permission to see it."""
    with contextlib.suppress(PermissionError):
        return os.readlink(f"/proc/{pid}/ns/net")
    return default


def _is_exabgp(arguments: list[str]) -> bool:
    """Tell whether a command line runs ExaBGP, as a program or as a module of Python.

    The shim's is none: its module is one of anycastd, in this release and in older ones.
    """
    for before, word in zip(["", *arguments], arguments[:4], strict=False):
        if before == "-m":
            return word == "exabgp" or word.startswith("exabgp.")
        if os.path.basename(word) == "exabgp":
            return True
    return False
