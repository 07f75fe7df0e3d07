"""Look whether there is a file (I/O).

A look at the path is the only proof; inotify only says when to look.  So a missed event costs
`every` seconds, and nothing else.  Looks are taken in a thread, because a disk may hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Iterator

from anycastd.evidence.checks.asker import PlainAsker, Seen, UnseenError, describe_error
from anycastd.evidence.checks.inotify import Inotify
from anycastd.profile.checks import FileCheck
from anycastd.system.side_thread import ThreadBusyError

MIN_PAUSE = 0.02
"""Seconds between two looks that events ask for."""
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


class FileAsker(PlainAsker):
    """Looks at the path, when its folder changes and at its time."""

    def __init__(self, name: str, asks: FileCheck) -> None:
        super().__init__(name)
        self._name = name
        self._asks = asks
        self._inotify: Inotify | None = None
        self._problem = ""
        self._names: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self.waits_for = f"the look at {asks.path}"

    async def ask(self, timeout: float, step: int | None) -> Seen:  # noqa: ARG002 - a look or a measure waits for nothing
        """Look once."""
        self._changed.clear()
        try:
            exists = await self.thread.call(self._look)
        except ThreadBusyError:
            raise UnseenError(f"the last look at {self._asks.path} still waits") from None
        except OSError as error:
            raise UnseenError(f"{self._asks.path}: {describe_error(error)}") from None
        self._follow()
        detail = "it exists" if exists else "it does not exist"
        return Seen(exists is self._asks.exists, detail)

    async def wait(self, delay: float) -> None:
        """Wait ``delay`` seconds, or until something happens to the path."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._changed.wait()
        if self._changed.is_set():
            await asyncio.sleep(min(delay, MIN_PAUSE))

    async def close(self) -> None:
        """Give the descriptor back, and let the thread end."""
        self._unfollow()
        await super().close()

    def list_problems(self) -> list[str]:
        """List that changes are seen late."""
        return [f"check {self._name}: {self._problem}"] if self._problem else []

    def _look(self) -> bool:
        """Look at the path, and watch the folders in which it can appear or vanish."""
        try:
            if self._inotify is None:
                self._inotify = Inotify()
            self._names = _list_names(self._asks.path)
            self._inotify.watch(_list_folders(self._asks.path))
            self._problem = ""
        except OSError as error:
            self._problem = f"its file is only looked at from time to time: {describe_error(error)}"
        try:
            os.stat(self._asks.path)
        except OSError as error:
            if error.errno in _ABSENT:
                return False
            raise
        return True

    def _follow(self) -> None:
        if self._inotify is not None:
            loop = asyncio.get_running_loop()
            loop.add_reader(self._inotify.descriptor, self._on_event)

    def _unfollow(self) -> None:
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.descriptor)
            if not self.thread.busy:
                self._inotify.close()
            self._inotify = None

    def _on_event(self) -> None:
        if self._inotify is not None and self._inotify.read(self._names):
            self._changed.set()


def _list_folders(path: str) -> Iterator[str]:
    """List the folders in which ``path``, each link on the way and its target stand.

    Of a folder that does not exist, the nearest one above it that does.
    """
    for each in dict.fromkeys((path, os.path.realpath(path))):
        folder = os.path.dirname(each)
        while folder != "/" and not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        yield folder


def _list_names(path: str) -> frozenset[str]:
    """List the names in these folders that matter: all parts of the path and of its target."""
    return frozenset((*path.split("/"), *os.path.realpath(path).split("/")))
