"""Keep what a check of the profile accepted, so that the next start need not check it again (I/O).

It is used only for the same text at the same path, checked by the same files of the code, and only
where nobody but our own user can have written it since the machine started.  In all other cases the
profile is checked anew, so the file may be lost or damaged at any time.

A sealed text has three lines: the SHA-256 of the rest, the key and the files of the code, and what
was accepted (``profile.accepted``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from anycastd import __version__
from anycastd.system.regular_file import read_descriptor

NAME = "accepted.json"
"""Name of the file, in the directory of the control socket."""
MAX_SIZE = 32 * 1024 * 1024
"""Bytes of the file at most; 1,000 services have 3 MB."""
SLACK = 1_000_000_000
"""Nanoseconds before the start of a process in which a changed file may already be loaded."""
_SCHEMA = str(Path(__file__).parents[1] / "profile" / "schema.json")


def compute_key(path: str, text: str) -> str:
    """Compute what stands for a profile's text, its path in warnings, and this release."""
    parts = [__version__, sys.version, path, text]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def seal_accepted(accepted: str, key: str, began_at: int) -> str:
    """Seal what was accepted, with the files of the code that are loaded now.

    ``began_at`` is when this process began (ns of the wall clock).  Empty where there is nothing to
    seal, or where a file has changed since then: what is loaded is not what is on disk.
    """
    code = _stat_files(_list_loaded_files())
    if not accepted or code is None or not _is_older(code, began_at):
        return ""
    rest = f"{json.dumps({'key': key, 'code': code})}\n{accepted}"
    return f"{hashlib.sha256(rest.encode()).hexdigest()}\n{rest}"


def open_sealed(sealed: str, key: str, began_at: int) -> str:
    """Return what was accepted; empty where it is not for ``key``, for this code, or damaged."""
    digest, _, rest = sealed.partition("\n")
    header, _, accepted = rest.partition("\n")
    if digest != hashlib.sha256(rest.encode("utf-8", "replace")).hexdigest():
        return ""
    try:
        found = json.loads(header)
        code = found["code"]
        if found["key"] != key or _SCHEMA not in code or _stat_files(code) != code:
            return ""
        if not _is_older(code, began_at):
            return ""
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return accepted


def read_sealed(directory: str) -> str:
    """Read the file of ``directory``; empty where there is none that can be trusted.

    It must belong to this user, be closed to all others, and be no older than the machine's start.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(os.path.join(directory, NAME), flags)
    except OSError:
        return ""
    try:
        found = os.fstat(descriptor)
        started_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        if (
            not stat.S_ISREG(found.st_mode)
            or found.st_uid != os.geteuid()
            or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
            or found.st_ctime < started_at
        ):
            return ""
        return read_descriptor(descriptor, MAX_SIZE).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    finally:
        os.close(descriptor)


def keep_sealed(directory: str, sealed: str) -> None:
    """Replace the file of ``directory``; without an error where that is not possible.

    Two agents do not disturb each other: the later one wins, and each file is whole.
    """
    path = os.path.join(directory, NAME)
    temporary = f"{path}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)  # of a process with our id that was killed here
        try:
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(sealed.encode())
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise


def _list_loaded_files() -> list[str]:
    """List the files of all loaded modules that are not Python's own, and the schema."""
    own = os.path.dirname(os.__file__) + os.sep
    files = {getattr(module, "__file__", None) or "" for module in tuple(sys.modules.values())}
    found = {
        file
        for file in files
        if file.startswith("/") and (not file.startswith(own) or "-packages/" in file)
    }
    return sorted({*found, _SCHEMA})


def _stat_files(files: Sequence[str] | Mapping[str, object]) -> dict[str, list[int]] | None:
    """Map each file to what changes when it does; None where one cannot be read."""
    found = {}
    try:
        for file in files:
            each = os.stat(file)
            found[file] = [each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns]
    except (OSError, ValueError):
        return None
    return found


def _is_older(code: Mapping[str, Sequence[int]], began_at: int) -> bool:
    return all(each[3] < began_at - SLACK for each in code.values())
