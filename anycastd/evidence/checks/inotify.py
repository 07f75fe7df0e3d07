"""Wait until something happens to names in folders, by inotify(7) (I/O).

Python has no inotify of its own; this is the little that a check of a file needs, by ctypes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable

_NONBLOCK, _CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
# <sys/inotify.h>
_ATTRIB, _MOVED, _CREATE, _DELETE = 0x4, 0xC0, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _ONLYDIR = 0x400, 0x800, 0x01000000
_OVERFLOW, _IGNORED, _UNMOUNT = 0x4000, 0x8000, 0x2000
_MASK = _ATTRIB | _MOVED | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_OF_ITSELF = _DELETE_SELF | _MOVE_SELF | _OVERFLOW | _IGNORED | _UNMOUNT
_HEAD = struct.Struct("iIII")
_MAX_READ = 1 << 16


class Inotify:
    """Watches folders; ``descriptor`` can be read from when something has happened.

    Raises OSError where the system allows no more of them.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self._watches: set[int] = set()
        self.descriptor = self._library.inotify_init1(_NONBLOCK | _CLOEXEC)
        if self.descriptor < 0:
            raise _last_error()

    def watch(self, folders: Iterable[str]) -> None:
        """Watch these folders and no others; one that does not exist is left out.

        Raises OSError where the system allows no more watches.
        """
        watches: set[int] = set()
        for folder in folders:
            number = self._library.inotify_add_watch(
                self.descriptor, os.fsencode(folder), ctypes.c_uint32(_MASK)
            )
            if number >= 0:
                watches.add(number)
            elif not isinstance(error := _last_error(), FileNotFoundError | NotADirectoryError):
                raise error
        for number in self._watches - watches:
            self._library.inotify_rm_watch(self.descriptor, number)
        self._watches = watches

    def read(self, names: Iterable[str]) -> bool:
        """Read all that has happened; return whether any of it is about ``names``, or unclear."""
        wanted, found = {os.fsencode(name) for name in names}, False
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.descriptor, _MAX_READ)
            place = 0
            while place + _HEAD.size <= len(data):
                _, mask, _, size = _HEAD.unpack_from(data, place)
                place += _HEAD.size
                name = data[place : place + size].rstrip(b"\0")
                place += size
                found = found or bool(mask & _OF_ITSELF) or name in wanted
        return found

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
