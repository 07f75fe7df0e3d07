"""Read a secret from a file that nobody else can read or write (I/O, stdlib only)."""

from __future__ import annotations

import os
import stat
from typing import NoReturn

MIN_SECRET = 16
"""Characters of a secret at least: 64 bits, if it is random hexadecimal."""
MAX_SECRET = 512
"""Characters of a secret at most."""


class SecretFileError(Exception):
    """The file holds no secret that can be used; the message names it and says what to do."""


def read_secret(path: str) -> str:
    """Read the secret in the first line of a file: printable ASCII without spaces.

    Raises SecretFileError where the file cannot be read, is no regular file, can be read by
    everybody, can be written by others than its owner, or belongs to neither root nor this user.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
        try:
            found = os.fstat(descriptor)
            data = os.read(descriptor, MAX_SECRET + 2) if stat.S_ISREG(found.st_mode) else b""
        finally:
            os.close(descriptor)
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror}; make it readable for this user")
    if not stat.S_ISREG(found.st_mode):
        _refuse(path, "is no regular file; write the secret into a file")
    if found.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        _refuse(path, f"is open to other users: chmod 0640 {path}")
    if found.st_uid not in (0, os.geteuid()):
        _refuse(path, f"belongs to another user (uid {found.st_uid}): chown root {path}")
    secret = data.split(b"\n")[0].rstrip(b"\r").decode("latin-1")
    if not all("!" <= character <= "~" for character in secret):
        _refuse(path, "has a space or a character that is no printable ASCII in its first line")
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        _refuse(
            path,
            f"holds no secret of {MIN_SECRET} to {MAX_SECRET} characters in its first line: "
            f"openssl rand -hex 32 > {path}",
        )
    return secret


def _refuse(path: str, problem: str) -> NoReturn:
    raise SecretFileError(f"{path} {problem}")
