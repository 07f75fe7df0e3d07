"""A running appliance to be fed through its sockets, and the judge of what that did to it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fuzz.middle import FakeRegion, StatsProxy, run_fake_region, run_stats_proxy
from support.appliance import OWN, PROFILE, VIP, Appliance, own_network
from support.bgp_wire import Update
from support.peer import wait_for
from support.processes import list_children, read_command_line, read_memory
from support.route_log import RouteLog

OTHER = "192.0.2.20:9480"
PROFILE_OF_ALL = PROFILE.replace(
    "bgp:\n",
    "drain: {{wait: 1, linger: 1, stop: 1}}\n"
    "control: {{admin_group: root}}\n"
    "regions:\n"
    f"  - {{{{name: northeurope, agent: '{OWN}:9480'}}}}\n"
    f"  - {{{{name: westeurope, agent: '{OTHER}'}}}}\n"
    f"web: {{{{listen: '{OWN}:9480'}}}}\n"
    "bgp:\n",
    1,
)
"""A profile that opens every socket there is."""
DEADLINE, TTL = 1.0, 3.0
SLACK = 2.0
"""Seconds that a busy machine may add to a bound; the benches measure the real times."""
BACK = 40.0
"""Seconds in which the preferred route must be back."""
MAX_GROWTH = {"agent": 24.0, "lease": 8.0}
"""MB of resident memory that a process may have more than after the first round."""
FAULTS = ("Traceback", "a bug of ours", "a bug in the answer", "never retrieved")
"""What no log may have."""
NOBODY = 65534


class SocketFaultError(AssertionError):
    """An input, or several, did what it must not."""


class Rig:
    """A running appliance, with all that is between it and the others.

    ``proxy`` stands before HAProxy, ``region`` is the agent of another region, ``web`` is where
    ours answers by HTTP.  ``began_at`` is before the agent's epoch, in ns of the machine's clock.
    """

    def __init__(self, appliance: Appliance, proxy: StatsProxy, region: FakeRegion) -> None:
        self.appliance, self.proxy, self.region = appliance, proxy, region
        self.wire = RouteLog(appliance.peers, f"{VIP}/32")
        self.agent_socket = f"{appliance.directory_of('agent')}/agent.sock"
        self.state = Path(appliance.directory_of("state"))
        self.web = (OWN, 9480)
        self.began_at = time.monotonic_ns()

    def start(self) -> None:
        """Start agent and speaker; all may write to their sockets, so that they have to refuse."""
        self.appliance.start()
        self.open_sockets()

    def open_sockets(self) -> None:
        """Let every user connect, whatever the mode of a socket and of its directory was."""
        for path in (Path(self.agent_socket), self.appliance.lease):
            wait_for(path.exists, 20, f"{path}\n{self.appliance.log()}")
            path.chmod(0o666)
            for parent in path.parents[:-2]:
                parent.chmod(parent.stat().st_mode | 0o055)

    # Who runs -------------------------------------------------------------------------------------

    def find_pids(self) -> dict[str, int]:
        """Find the pids of agent, exabgp, lease and HAProxy's worker; those that run."""
        one = self.appliance
        found = {}
        for name, process in (("agent", one.agent), ("exabgp", one.speaker)):
            if process is not None and process.poll() is None:
                found[name] = process.pid
        for pid in list_children(found.get("exabgp", 0)):
            if "anycastd.speaker.lease_process" in read_command_line(pid):
                found["lease"] = pid
        with contextlib.suppress(OSError):
            found["haproxy"] = one.haproxy.worker
        return found

    def stop_agent(self) -> None:
        """End the agent in order, if it runs."""
        agent = self.appliance.agent
        assert agent is not None
        if agent.poll() is None:
            agent.terminate()
            agent.wait(15)

    def kill_agent(self) -> None:
        """Kill the agent, which then tells nobody."""
        agent = self.appliance.agent
        assert agent is not None
        agent.kill()
        agent.wait()

    def start_agent(self) -> None:
        """Start the agent, and wait until it answers."""
        self.began_at = time.monotonic_ns()
        self.appliance.start_agent()
        wait_for(self.answers, 20, f"the agent answers\n{self.appliance.log()}")
        self.open_sockets()

    def ask(self, request: dict[str, Any], timeout: float = 5.0) -> dict[str, Any]:
        """Ask the agent on its control socket; raises OSError or ValueError without an answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(self.agent_socket)
            connection.sendall(json.dumps({"v": 1} | request).encode() + b"\n")
            with connection.makefile("rb") as file:
                answer: dict[str, Any] = json.loads(file.readline())
        return answer

    def answers(self) -> bool:
        """Return whether the agent answers on its control socket."""
        with contextlib.suppress(OSError, ValueError):
            return "services" in self.ask({"ask": "status"})
        return False

    def recovers(self) -> bool:
        """Return whether all is in sync; start the speaker where it has ended, as its unit does."""
        speaker = self.appliance.speaker
        if speaker is not None and speaker.poll() is not None:
            self.appliance.start_speaker()
        return self.wire.lengths() == [1, 1] and self.is_in_sync()

    def is_in_sync(self) -> bool:
        """Return whether the agent says that the preferred route is in sync at both peers."""
        with contextlib.suppress(OSError, ValueError):
            web = self.ask({"ask": "status"})["services"]["web"]
            return web["level"] == "preferred" and bool(web["in_sync"])
        return False

    def clear_state(self) -> None:
        """Remove what the agent has stored; the agent must not run."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir()


@contextlib.contextmanager
def run_rig(
    place: Path, seed: int, draw_region: Callable[[], bytes], python: str | None = None
) -> Iterator[Rig]:
    """Run a rig in a network of its own, for a ``with`` block."""
    path = place / "middle.sock"
    settings: dict[str, Any] = {} if python is None else {"python": python}
    with own_network():
        appliance = Appliance(
            place, profile=PROFILE_OF_ALL, socket=path, ttl=TTL, deadline=DEADLINE, **settings
        )
        source = random.Random(seed)  # noqa: S311 - to be repeated
        with (
            run_fake_region(OTHER, draw_region) as region,
            appliance,
            run_stats_proxy(path, appliance.haproxy.socket, source) as proxy,
        ):
            rig = Rig(appliance, proxy, region)
            rig.start()
            yield rig


class Judge:
    """What was before a batch of inputs, compared with what is after it.

    ``pids`` are those before, ``began_at`` is when that was (monotonic clock, s).  ``descriptors``:
    how many a process may have, counted when it was new.  ``memory`` is the resident memory after
    the first round, in MB.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.memory: dict[str, float] = {}
        self.descriptors: dict[str, int] = {}
        self.pids: dict[str, int] = {}
        self.began_at = 0.0

    def settle(self) -> None:
        """Wait until all is as it should be, and take that for the state before."""
        rig = self._rig
        wait_for(lambda: rig.wire.lengths() == [1, 1], BACK, f"settled\n{rig.appliance.log()}")
        wait_for(rig.is_in_sync, BACK, f"in sync\n{rig.appliance.log()}")
        before, self.pids = self.pids, rig.find_pids()
        self.began_at = time.monotonic()
        for name in MAX_GROWTH:
            if self.pids[name] != before.get(name):
                self.descriptors[name] = count_descriptors(self.pids[name]) + 1  # the event stream

    def check(
        self, *, may_change: bool = False, may_end: tuple[str, ...] = (), patience: float = 8.0
    ) -> None:
        """Raise SocketFaultError where something is not as it must be after a batch.

        ``may_change``: the route of the service may have changed.  ``may_end``: the processes that
        may have ended.  ``patience``: seconds in which the descriptors of slow clients are closed.
        """
        self._check_log()
        self._check_routes(may_change=may_change)
        found = self._rig.find_pids()
        for name, pid in self.pids.items():
            if found.get(name) != pid and name not in may_end:
                self._fail(f"{name} has ended: it was pid {pid}, now there is {found.get(name)}")
        if not may_end:
            self._check_descriptors(patience)
            self._check_memory()

    def wait_back(self) -> None:
        """Wait until the preferred route is at both peers; raises SocketFaultError after BACK s."""
        try:
            wait_for(lambda: self._rig.wire.lengths() == [1, 1], BACK)
        except AssertionError:
            self._fail(f"the route is not back after {BACK:g} s: {self._rig.wire.lengths()}")

    def end_round(self) -> None:
        """Take the memory that the processes have now for what they may keep, the first time."""
        self.memory = self.memory or self.read_memory()

    def read_memory(self) -> dict[str, float]:
        """Read the resident memory of agent and lease process, in MB."""
        return {name: read_memory(self._rig.find_pids()[name]) for name in MAX_GROWTH}

    def _check_log(self) -> None:
        log = self._rig.appliance.log()
        for word in FAULTS:
            if word in log:
                at = log.index(word)
                self._fail(f"the log has {word!r}: {log[max(0, at - 300) : at + 2500]}")

    def _check_routes(self, *, may_change: bool) -> None:
        for peer in self._rig.appliance.peers:
            for update in peer.list_events(Update):
                for route in update.announced:
                    is_ours = route.prefix == f"{VIP}/32" and route.next_hop == OWN
                    if not is_ours or set(route.as_path) != {65010} or route.med is not None:
                        self._fail(f"a foreign route at {peer.address}: {route}")
        changes = self._rig.wire.describe_changes(self.began_at)
        if not may_change and set(changes) != {"nothing"}:
            self._fail(f"the route has changed: {changes}")

    def _check_descriptors(self, patience: float) -> None:
        for name, before in self.descriptors.items():
            pid = self.pids[name]
            try:
                wait_for(partial(_has_at_most, pid, before), patience)
            except AssertionError:
                self._fail(f"{name} has {count_descriptors(pid)} descriptors, it had {before}")

    def _check_memory(self) -> None:
        for name, before in self.memory.items():
            now = read_memory(self.pids[name])
            if now > before + MAX_GROWTH[name]:
                self._fail(f"{name} has {now:.0f} MB, after the first round it had {before:.0f}")

    def _fail(self, what: str) -> None:
        raise SocketFaultError(
            f"{what}\n--- the end of the logs\n{self._rig.appliance.log()[-3000:]}"
        )


def _has_at_most(pid: int, most: int) -> bool:
    return count_descriptors(pid) <= most


def count_descriptors(pid: int) -> int:
    """Count the open descriptors of a process; OSError if it has ended."""
    return len(os.listdir(f"/proc/{pid}/fd"))
