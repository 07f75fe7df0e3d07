"""Wait for one descriptor in an asyncio loop, without a task for it (stdlib only)."""

from __future__ import annotations

import asyncio


async def wait_ready(fd: int, timeout: float, *, writable: bool = False) -> bool:
    """Wait until ``fd`` is readable (or ``writable``) or has failed, ``timeout`` seconds at most.

    Returns False after the timeout.  Then it may be ready all the same, if this process stalled.
    ``fd`` is a number: of a socket object asyncio makes a text first, with two system calls.
    """
    loop = asyncio.get_running_loop()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if writable else (loop.add_reader, loop.remove_reader)
    )
    done: asyncio.Future[bool] = loop.create_future()
    timer = loop.call_later(timeout, _finish, done, False)
    try:
        add(fd, _finish, done, True)
        return await done
    finally:
        timer.cancel()
        remove(fd)


def _finish(done: asyncio.Future[bool], ready: bool) -> None:
    if not done.done():
        done.set_result(ready)
