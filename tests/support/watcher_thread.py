"""A watcher at work, for tests: in a thread of its own, or as a process of its own.

As a program, ``watcher_thread.py SOCKET RING INTERVAL``, it prints one line per observation of
backend ``web``: the time, the kind, and the detail.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from anycastd.evidence.haproxy.snapshot import Observation, Snapshot
from anycastd.evidence.haproxy.watcher import FIRST_LOOKS_FOR, Watcher
from anycastd.profile.model import Instance
from anycastd.system.clock import OwnTime
from support.haproxy import until
from support.snapshots import query

TICK = 0.05
T = TypeVar("T", bound=Observation)


class Watching:
    """A watcher in a thread; a context manager.

    ``seen`` are the observations so far, ``times`` when they came (monotonic clock, s).
    """

    def __init__(
        self,
        path: Path | str,
        *,
        ring: str | None = "anycastd",
        interval: float = 5.0,
        poll: float = 0.25,
        backends: Collection[str] = ("web",),
        frontends: Collection[str] = (),
    ) -> None:
        self.seen: list[Observation] = []
        self.times: list[float] = []
        self.clock = OwnTime(TICK)
        self.watcher = Watcher(
            Instance("main", str(path), ring, deadline=3 * interval, poll=poll),
            query(backends, frontends),
            clock=self.clock,
            emit=self._take,
            interval=interval,
        )
        self.error: BaseException | None = None
        self._stop: Callable[[], object] = bool
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        """Start the thread, and wait until it runs."""
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the thread; raises the error that ended the watcher."""
        self._stop()
        self._thread.join()
        if self.error is not None:
            raise self.error

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        tasks = [asyncio.ensure_future(each) for each in (self.watcher.run(), tick(self.clock))]
        stop = asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        self._started.set()
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                self.error = task.exception()
            task.cancel()
        stopping.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)

    def _take(self, seen: Observation) -> None:
        self.times.append(time.monotonic())
        self.seen.append(seen)

    def until(
        self, kind: type[T], that: Callable[[T], bool] = lambda _: True, timeout: float = 20.0
    ) -> T:
        """Wait for an observation, the newest or one to come, and return it.

        Raises AssertionError after ``timeout`` seconds, or if the watcher has ended.
        """
        start = max(0, len(self.seen) - 1)
        found: list[T] = []

        def came() -> bool:
            assert self.error is None, self.error
            found.extend(s for s in self.seen[start:] if isinstance(s, kind) and that(s))
            return bool(found)

        until(came, timeout)
        return found[0]

    def last(self) -> Snapshot:
        """Return the newest observation; AssertionError if it is no Snapshot."""
        seen = self.seen[-1]
        assert isinstance(seen, Snapshot), seen
        return seen

    def settled(self) -> Snapshot:
        """Wait until events arrive and no observation has come for 0.1 s; return the newest one."""

        def quiet() -> bool:
            assert self.error is None, self.error
            return self.watcher.event_driven and time.monotonic() - self.times[-1] > 0.1

        self.pass_first_looks()
        until(quiet)
        return self.last()

    def pass_first_looks(self) -> None:
        """Wait until the time after the first answer is over in which looks come fast."""

        def is_over() -> bool:
            answers = zip(self.times, self.seen, strict=False)
            first = next((at for at, seen in answers if isinstance(seen, Snapshot)), math.inf)
            return time.monotonic() - first > FIRST_LOOKS_FOR + 0.2

        until(is_over, 20)


async def tick(clock: OwnTime) -> None:
    """Tick ``clock`` every ``TICK`` seconds, as the agent does, until cancelled."""
    while True:
        await asyncio.sleep(TICK)
        clock.tick()


async def _main(path: str, ring: str, interval: float) -> None:
    clock = OwnTime(TICK)

    def emit(seen: Observation) -> None:
        detail = "" if isinstance(seen, Snapshot) else seen.detail
        print(f"{time.monotonic():.4f} {type(seen).__name__} {detail}", flush=True)  # noqa: T201

    instance = Instance("main", path, ring, 3 * interval, 0.25)
    watcher = Watcher(instance, query({"web"}), clock=clock, emit=emit, interval=interval)
    await asyncio.gather(watcher.run(), tick(clock))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
