"""The latency of the watcher, from a change in HAProxy to the observation.

``PYTHONPATH=tests python tests/bench/watcher_latency.py [TRIALS [SERVERS]]``.  Prints milliseconds.
A server's state is changed by ``set server ... state maint`` on the stats socket, so the time of
the command itself is included; a kill is SIGKILL to worker and master.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from anycastd.evidence.haproxy.servers import Usable
from anycastd.evidence.haproxy.snapshot import Gone, Observation, Snapshot
from anycastd.evidence.haproxy.watcher import Watcher
from anycastd.profile.model import Instance
from anycastd.system.clock import OwnTime
from anycastd.system.ticker import tick_forever
from support.haproxy import HAProxy, free_port, run_haproxy
from support.processes import signal_pid
from support.snapshots import query
from support.waiting import eventually


class Bench:
    """A watcher on a HAProxy with ``servers`` servers in its one backend."""

    def __init__(self, haproxy: HAProxy) -> None:
        self.haproxy = haproxy
        self.seen: asyncio.Queue[tuple[float, Observation]] = asyncio.Queue()
        self.clock = OwnTime()
        self.watcher = Watcher(
            Instance("main", str(haproxy.socket), "anycastd", 3.0, 0.25),
            query({"web"}, {"web"}),
            clock=self.clock,
            emit=lambda seen: self.seen.put_nowait((time.perf_counter(), seen)),
            interval=1.0,
        )

    async def wait_observation(self, condition: Callable[[Observation], bool]) -> float:
        """Wait for an observation; return when it came (``time.perf_counter()``)."""
        async with asyncio.timeout(10):
            while True:
                when, seen = await self.seen.get()
                if condition(seen):
                    return when

    async def ready(self) -> None:
        """Wait until events are received and no observation is pending."""
        await eventually(self._quiet, 10, "events, and no pending observation", every=0.02)

    def _quiet(self) -> bool:
        quiet = self.watcher.event_driven and self.seen.empty()
        while not self.seen.empty():
            self.seen.get_nowait()
        return quiet

    async def changes(self, trials: int) -> list[float]:
        """Take the last server away and give it back; return the seconds of each trial."""
        times = []
        for _ in range(trials):
            await self.ready()
            await asyncio.sleep(random.uniform(0, 1))  # noqa: S311 - at any moment between two looks
            began_at = time.perf_counter()
            self.haproxy.ask("set server web/s0 state maint")
            times.append(await self.wait_observation(_down) - began_at)
            self.haproxy.ask("set server web/s0 state ready")
            await self.wait_observation(lambda seen: not _down(seen))
        return times

    async def kills(self, trials: int) -> list[float]:
        """Kill HAProxy and start it again; return the seconds of each trial."""
        times = []
        for _ in range(trials):
            await self.ready()
            worker = self.haproxy.worker
            master = self.haproxy.pids()[0]
            began_at = time.perf_counter()
            signal_pid(worker, signal.SIGKILL)
            signal_pid(master, signal.SIGKILL)
            times.append(
                await self.wait_observation(lambda seen: isinstance(seen, Gone)) - began_at
            )
            await asyncio.to_thread(self.haproxy.kill)
            await asyncio.to_thread(self.haproxy.start)
            await self.wait_observation(lambda seen: isinstance(seen, Snapshot))
        return times


def _down(seen: Observation) -> bool:
    return isinstance(seen, Snapshot) and all(
        server.usable is Usable.NO for server in seen.backends["web"].servers if server.name == "s0"
    )


async def main(trials: int, servers: int) -> None:
    """Measure and print."""
    lines = "".join(f"    server s{n} 127.0.0.1:9\n" for n in range(servers))
    body = f"frontend web\n    bind 127.0.0.1:{free_port()}\n    default_backend web\nbackend web\n"
    with (
        tempfile.TemporaryDirectory() as directory,
        run_haproxy(Path(directory), body + lines) as it,
    ):
        bench = Bench(it)
        tasks = [
            asyncio.create_task(bench.watcher.run()),
            asyncio.create_task(tick_forever(bench.clock)),
        ]
        for name, times in (
            ("state of a server changed -> Snapshot", await bench.changes(trials)),
            ("HAProxy killed -> Gone", await bench.kills(trials)),
        ):
            found = sorted(1000 * each for each in times)
            print(
                f"{name}: median {statistics.median(found):.2f} ms, "
                f"p99 {found[int(0.99 * (len(found) - 1))]:.2f}, max {found[-1]:.2f} "
                f"({len(found)} trials, {servers} servers, load {os.getloadavg()[0]:.1f})"
            )
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(*map(int, (*sys.argv[1:], *("50", "2")[len(sys.argv) - 1 :]))))
