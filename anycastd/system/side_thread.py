"""One thread for what may block for ever, beside an asyncio loop (I/O, stdlib only).

A name server, a disk or a program that hangs keeps this thread only.  The loop's own executor has
few threads, and what is stored on disk needs them.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class ThreadBusyError(OSError):
    """The thread is still in its last call."""


class SideThread:
    """A thread that runs one function at a time; it ends with the process at the latest.

    It starts with the first call.  ``busy`` is True while a call runs, also one that nobody waits
    for any more.
    """

    def __init__(self, name: str) -> None:
        self.busy = False
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def call(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Result:
        """Run ``function`` in the thread and return its result, or raise what it raises.

        Raises ThreadBusyError while an earlier call runs, and OSError where the system has no
        thread left.  A cancelled wait does not end the call.
        """
        if self.busy:
            raise ThreadBusyError("the last call still waits")
        if self._thread is None:
            self._start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        self.busy = True

        def run() -> None:
            try:
                result, error = function(*arguments), None
            except BaseException as found:  # noqa: BLE001 - the caller gets it
                result, error = None, found
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(finish, result, error)

        def finish(result: Result | None, error: BaseException | None) -> None:
            self.busy = False
            if done.cancelled():
                return
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        self._calls.put(run)
        found: Result = await done
        return found

    def close(self) -> None:
        """Let the thread end after its present call."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread = None

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError(f"this agent has no thread left ({error})") from None
        self._thread = thread

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
