"""Do something as another user of this machine, in a thread of its own (credentials(7))."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
_CALLS = {
    "x86_64": {"setgroups": 116, "setresuid": 117, "setresgid": 119},
    "aarch64": {"setgroups": 159, "setresuid": 147, "setresgid": 149},
}
"""Numbers of system calls; the C library's functions would change every thread."""


def run_as(uid: int, groups: Sequence[int], action: Callable[[], T]) -> T:
    """Run ``action`` in a thread whose user is ``uid``, with ``groups``, the first as its own.

    Needs root.  Raises what ``action`` raises, and OSError without the privilege.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _become(uid, groups)
            results.append(action())
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _become(uid: int, groups: Sequence[int]) -> None:
    """Change the credentials of this thread alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = _CALLS[platform.machine()]
    listed = (ctypes.c_uint32 * len(groups))(*groups)
    for arguments in (
        (numbers["setgroups"], len(groups), listed),
        (numbers["setresgid"], groups[0], groups[0], groups[0]),
        (numbers["setresuid"], uid, uid, uid),
    ):
        if libc.syscall(*arguments) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
