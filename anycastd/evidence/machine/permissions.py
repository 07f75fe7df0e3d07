"""Find out whether another user may use a file or a socket: that of a service, for root (I/O)."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from pathlib import Path

AGENT_USER = "anycastd"
"""User of the agent in the Debian package."""
SPEAKER_USER = "anycastd-speaker"
"""User of the speaker there; it reads the MD5 passwords."""
_ACL = "system.posix_acl_access"


def explain_denied(path: str, right: int, user: str = AGENT_USER) -> str | None:
    """Explain why ``user`` may not use ``path``; None if it may, or that is not known.

    ``right``: os.R_OK, os.X_OK, or os.W_OK, which connecting to a Unix socket needs (unix(7)).  It
    is not known where there is no such user, where this process is that user, and where access
    control lists decide.
    """
    try:
        entry = pwd.getpwnam(user)
        groups = set(os.getgrouplist(user, entry.pw_gid))
    except (KeyError, OSError):
        return None
    if entry.pw_uid in {os.geteuid(), 0}:
        return None
    whole = Path(os.path.realpath(path))
    for place in (*reversed(whole.parents), whole):
        needed = right if place == whole else os.X_OK
        try:
            found = place.stat()
            if _has_acl(place):
                return None
        except OSError:
            return None
        if not _may(found, needed, entry.pw_uid, groups):
            owner = f"owner {_name_user(found.st_uid)}, group {found.st_gid}"
            mode = stat.filemode(found.st_mode)
            verb = "execute" if place == whole and right == os.X_OK else _VERBS[needed]
            return f"user {user} may not {verb} {place} ({mode}, {owner})"
    return None


_VERBS = {os.R_OK: "read", os.W_OK: "connect to", os.X_OK: "enter"}


def _may(found: os.stat_result, right: int, uid: int, groups: set[int]) -> bool:
    """Return whether the mode's bits allow it: those of the first class that fits (POSIX)."""
    shift = 6 if found.st_uid == uid else 3 if found.st_gid in groups else 0
    return bool(found.st_mode >> shift & right)


def _has_acl(place: Path) -> bool:
    try:
        return bool(os.getxattr(place, _ACL))
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.ENOTSUP}:
            return False
        raise


def _name_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
