"""ExaBGPs on this machine that are not ours: left alone, and named.

Somebody may have one for another purpose (Debian's package starts one), and two that speak to one
neighbor from one address take the session from each other.  Nothing is done about them but to say
so: whose they are, nobody here can know.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def find_foreign_exabgps() -> list[str]:
    """Name each in a sentence; those of other network namespaces are on another machine."""
    return [
        f"another ExaBGP runs here (pid {pid}: {line}); it is left alone: see that it does not "
        "announce these VIPs, or speak to these neighbors from the same address"
        for pid, line in sorted(_processes())
    ]


def _processes() -> Iterator[tuple[int, str]]:
    here = os.readlink("/proc/self/ns/net")
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is not shown to us
            words = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace")
            if _is_exabgp(words.split("\0")[:-1]) and _network(name, here) == here:
                yield int(name), words.replace("\0", " ").strip()[:80]


def _network(pid: str, unless: str) -> str:
    """Its network namespace; ``unless`` we may not know, then it is taken for ours."""
    with contextlib.suppress(PermissionError):
        return os.readlink(f"/proc/{pid}/ns/net")
    return unless


def _is_exabgp(words: list[str]) -> bool:
    """Whether a command line is ExaBGP's, by a path of its own or as a module of Python's."""
    for before, word in zip(["", *words], words[:4], strict=False):
        if before == "-m":
            return word == "exabgp" or word.startswith("exabgp.")
        if os.path.basename(word) == "exabgp":
            return True
    return False
