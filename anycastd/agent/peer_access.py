"""Find out who is at the other end of the control socket, and what that user may do (unix(7))."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

from anycastd.system.printable import make_printable

LOOKUP_TIMEOUT = 1.0
"""Seconds for the name of a user from the machine's directory of users (nsswitch.conf(5))."""
MAX_NAME = 60
"""Characters of a name."""
_SO_PEERGROUPS = 59  # socket(7), since Linux 4.13; Python has no name for it
_MAX_OPTION = 1024  # bytes that Python reads of a socket option: 256 groups


@dataclass(frozen=True, slots=True)
class PeerUser:
    """The user who connected: its uid, and all its groups at that moment, as the kernel says."""

    uid: int
    groups: frozenset[int]


def read_peer_user(connection: socket.socket) -> PeerUser:
    """Read who connected to a Unix socket; raises OSError where the kernel does not say it."""
    _, uid, gid = struct.unpack(
        "iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    )
    groups: set[int] = {gid}
    with contextlib.suppress(OSError):  # an older kernel, or more groups: the first one counts
        data = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_OPTION)
        groups |= set(struct.unpack(f"{len(data) // 4}I", data))
    return PeerUser(uid, frozenset(groups))


def find_user_name(uid: int) -> str:
    """Find a user's name; blocks, and raises KeyError for a user who has none."""
    return pwd.getpwuid(uid).pw_name


class AccessPolicy:
    """Who may change something over the control socket.

    ``admin_group``: only root, the agent's own user and members of this group; None: everybody who
    can connect.  Reading is for everybody who can connect.  ``busy``: a name is being looked up, by
    ``find_name``.
    """

    def __init__(
        self, admin_group: str | None = None, find_name: Callable[[int], str] = find_user_name
    ) -> None:
        self._admin_group = admin_group
        self._find_name = find_name
        self._gid: int | None = None
        self.busy = False
        if admin_group is not None:
            with contextlib.suppress(KeyError):
                self._gid = grp.getgrnam(admin_group).gr_gid

    def list_problems(self) -> tuple[str, ...]:
        """List what is wrong, for the status: the group does not exist."""
        if self._admin_group is None or self._gid is not None:
            return ()
        name = self._admin_group
        problem = f"there is no group {name}, so only root may change anything"
        return (f"control.admin_group: {problem}; groupadd --system {name}, then reload",)

    def may_change(self, user: PeerUser) -> bool:
        """Tell whether a user may drain, undrain, return and reload."""
        return (
            self._admin_group is None
            or user.uid in (0, os.geteuid())
            or (self._gid is not None and self._gid in user.groups)
        )

    def explain_refusal(self) -> str:
        """Say who may change something."""
        return (
            "you may only read here: root, and members of the group "
            f"{self._admin_group}, may change something; use sudo, or join that group"
        )

    async def name_user(self, user: PeerUser, claimed: str = "") -> str:
        """Name a user by what the kernel and the machine's directory of users say.

        ``claimed`` is the name that the client gave (that of the user who ran sudo, for example).
        It is added only for root and the agent's own user, who could do everything anyway.
        """
        name = await self._look_up(user.uid)
        claimed = make_printable(" ".join(claimed.split()), MAX_NAME)
        if claimed and claimed != name and user.uid in (0, os.geteuid()):
            return f"{claimed} ({name})"
        return name

    async def _look_up(self, uid: int) -> str:
        """Look a user's name up in a thread: a directory service may be slow, or not answer."""
        unknown = f"uid {uid}"
        if self.busy:
            return unknown
        loop = asyncio.get_running_loop()
        found: asyncio.Future[str] = loop.create_future()

        def finish(name: str) -> None:
            self.busy = False
            if not found.done():
                found.set_result(name)

        def look_up() -> None:
            name = unknown
            with contextlib.suppress(KeyError, OSError):
                name = make_printable(self._find_name(uid), MAX_NAME)
            with contextlib.suppress(RuntimeError):  # the agent has ended meanwhile
                loop.call_soon_threadsafe(finish, name)

        self.busy = True
        # A daemon thread: one that never ends must not keep the agent from ending.
        try:
            threading.Thread(target=look_up, daemon=True).start()
        except RuntimeError:  # the system gives no thread
            self.busy = False
            return unknown
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                return await found
        return unknown
