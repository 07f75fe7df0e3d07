"""Waiting for one descriptor: readiness, failure, the timeout, and what is left behind."""

from __future__ import annotations

import asyncio
import socket

import pytest

from anycastd.system.readiness import wait_ready

LONG = 60.0


def test_it_waits_for_one_descriptor() -> None:
    """It ends once the descriptor is ready or has failed, or at the timeout."""

    async def wait() -> None:
        one, other = socket.socketpair()
        with one, other:
            assert not await wait_ready(one.fileno(), 0.01)
            assert await wait_ready(one.fileno(), LONG, writable=True)
            asyncio.get_running_loop().call_later(0.01, other.send, b"x")
            assert await wait_ready(one.fileno(), LONG)
            assert one.recv(2) == b"x"
            other.close()
            assert await wait_ready(one.fileno(), LONG), "the end is a reason to read"

    asyncio.run(wait())


def test_it_leaves_nothing_behind() -> None:
    """Neither a descriptor that is watched nor a timer, even where it is cancelled."""

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        with one, other:
            task = asyncio.create_task(wait_ready(one.fileno(), LONG))
            await asyncio.wait([task], timeout=0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not loop.remove_reader(one.fileno())
            assert await wait_ready(one.fileno(), LONG, writable=True)
            assert not loop.remove_writer(one.fileno())

    asyncio.run(wait())
