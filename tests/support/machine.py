"""Break an appliance as it is installed: units that restart, and a journal of every fault.

The journal tells an observer what was alive and when, without asking HAProxy or the agent.
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from support.appliance import VIP, Appliance, own_network
from support.haproxy import until
from support.http_load import HttpLoad
from support.pressure import CpuBurners, IdleClients
from support.processes import (
    list_children,
    list_processes,
    read_command_line,
    read_state,
    send_signal,
)
from support.route_log import RouteLog
from support.units import Unit

if TYPE_CHECKING:
    from support.surroundings import Surroundings

IDLE_CONNECTIONS = 60  # more than the stats socket takes
FULL = 100  # connections that its frontend takes
START_TIMEOUT = 120.0  # seconds, on a machine on which much else runs


@dataclass(frozen=True, slots=True)
class Entry:
    """What was done to ``part`` and when (``time.monotonic()``).

    ``what``: down, up (dead or gone, there again), stop, cont (SIGSTOP, SIGCONT), touch
    (disturbed for a moment).
    """

    at: float
    part: str
    what: str


class Machine:
    """An appliance whose agent and speaker are units; a context manager.

    ``rate``: requests of the clients per second.  ``watchdog``: WatchdogSec of the units.
    ``environment``: additional variables for agent and speaker.  ``surroundings``: a log, a disk
    and a clock that can fail.  Use it inside ``own_network()``.
    The methods break and repair the machine, and record it in ``journal``.  They return when they
    acted: a time of the monotonic clock, in seconds.
    """

    def __init__(
        self,
        appliance: Appliance,
        *,
        rate: float = 50.0,
        watchdog: float = 15.0,
        environment: Mapping[str, str] | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.appliance = appliance
        self.surroundings = surroundings
        self.journal: list[Entry] = []
        self.wire = RouteLog(appliance.peers, f"{VIP}/32")
        self.traffic = HttpLoad(VIP, rate)
        self.agent = Unit("agent", self._start_agent, watchdog)
        self.speaker = Unit("speaker", self._start_speaker, watchdog)
        self._environment = dict(environment or {})
        self._burners = CpuBurners()
        self._idle_clients = IdleClients()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        for part in (self.appliance, self.speaker, self.agent):
            self._stack.enter_context(part)
        self.wire.wait(1, START_TIMEOUT, self.appliance.log())
        self._stack.enter_context(self.traffic)
        return self

    def __exit__(self, *_: object) -> None:
        self.end_starvation()
        self.free_stats_socket()
        send_signal(signal.SIGCONT, list_processes())
        self._stack.close()

    def _start_agent(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        self.appliance.start_agent(environment=environment | self._environment)
        assert self.appliance.agent is not None
        return self.appliance.agent

    def _start_speaker(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        self.appliance.start_speaker(environment=environment | self._environment)
        assert self.appliance.speaker is not None
        return self.appliance.speaker

    def record(self, part: str, what: str) -> float:
        """Add an entry to the journal; return its time."""
        at = time.monotonic()
        self.journal.append(Entry(at, part, what))
        return at

    # Who runs -------------------------------------------------------------------------------------

    def lease(self) -> int | None:
        """Find the pid of the lease process; None while there is none."""
        speaker = self.speaker.pid
        if speaker is None:
            return None
        for pid in list_children(speaker):
            if "anycastd.speaker.lease_process" in read_command_line(pid):
                return pid
        return None

    def pid(self, part: str) -> int | None:
        """Find the pid of agent, lease or exabgp; None while there is none."""
        match part:
            case "agent":
                return self.agent.pid
            case "exabgp":
                return self.speaker.pid
            case _:
                return self.lease()

    def count_processes(self) -> dict[str, int]:
        """Count agents, ExaBGPs, lease processes, HAProxies and zombies."""
        names = {
            "anycastd run": "agent",
            "anycastd.speaker.exabgp.shim": "exabgp",
            "anycastd.speaker.lease_process": "lease",
            "haproxy -W": "haproxy master",
        }
        found = dict.fromkeys((*names.values(), "haproxy worker", "zombie"), 0)
        for pid in list_processes():
            line = read_command_line(pid)
            if read_state(pid) == "Z":
                found["zombie"] += 1
            elif "-sf" in line or "haproxy" in line.split(" ")[0]:
                master = self.appliance.haproxy.process
                is_master = master is not None and pid == master.pid
                found["haproxy master" if is_master else "haproxy worker"] += 1
            else:
                for word, name in names.items():
                    found[name] += word in line
        return found

    # Breaking and mending -------------------------------------------------------------------------

    def kill(self, *parts: str) -> float:
        """Send SIGKILL to agent, lease, exabgp at once; their units start them again."""
        pids = {part: self.pid(part) for part in parts}
        at = time.monotonic()
        for part, pid in pids.items():
            if pid is not None:
                send_signal(signal.SIGKILL, [pid])
                self.record(part, "touch")
        return at

    def keep_down(self, part: str) -> float:
        """Send SIGKILL to agent or exabgp, which is not started again before ``let_start``."""
        unit = self.agent if part == "agent" else self.speaker
        unit.suspend()
        at = self.record(part, "down")
        if (pid := unit.pid) is not None:
            send_signal(signal.SIGKILL, [pid])
        return at

    def let_start(self, part: str) -> float:
        """Allow the unit of agent or exabgp to start it again."""
        at = self.record(part, "up")
        (self.agent if part == "agent" else self.speaker).resume()
        return at

    def stop(self, part: str) -> int | None:
        """Send SIGSTOP to agent, lease or exabgp; return the pid, for ``resume``."""
        pid = self.pid(part)
        if pid is not None:
            self.record(part, "stop")
            send_signal(signal.SIGSTOP, [pid])
        return pid

    def resume(self, part: str, pid: int | None) -> float:
        """Send SIGCONT to a process that was stopped, if it still exists."""
        at = self.record(part, "cont")
        if pid is not None:
            send_signal(signal.SIGCONT, [pid])
        return at

    def kill_haproxy(self) -> float:
        """Send SIGKILL to master and workers at once."""
        pids = self.appliance.haproxy.pids()
        at = self.record("haproxy", "down")
        send_signal(signal.SIGKILL, pids)
        self.appliance.haproxy.kill()
        return at

    def stop_haproxy(self) -> float:
        """End HAProxy as `systemctl stop` does."""
        at = self.record("haproxy", "down")
        self.appliance.haproxy.stop()
        return at

    def start_haproxy(self) -> float:
        """Start HAProxy, and wait until it answers."""
        at = self.record("haproxy", "up")  # from now on it may serve
        self.appliance.haproxy.start()
        return at

    def freeze_haproxy(self) -> float:
        """Send SIGSTOP to master and workers."""
        pids = self.appliance.haproxy.pids()
        at = self.record("haproxy", "stop")
        send_signal(signal.SIGSTOP, pids)
        return at

    def thaw_haproxy(self) -> float:
        """Send SIGCONT to master and workers."""
        at = self.record("haproxy", "cont")
        self.appliance.haproxy.signal(signal.SIGCONT)
        return at

    def reload_haproxy(self) -> float:
        """Reload HAProxy, and wait for the new worker."""
        at = self.record("haproxy", "touch")
        self.appliance.haproxy.reload()
        return at

    def set_server(self, number: int, *, running: bool) -> float:
        """Start a server (``running``), or stop it."""
        at = self.record(f"server {number}", "up" if running else "down")
        backend = self.appliance.backends[number]
        (backend.start if running else backend.stop)()
        return at

    def remove_vip(self) -> float:
        """Remove the VIP from the loopback by hand."""
        at = self.record("vip", "touch")
        subprocess.run(["ip", "address", "del", f"{VIP}/32", "dev", "lo"], check=False)
        return at

    def has_vip(self) -> bool:
        """Return whether the VIP is an address of this machine."""
        with socket.socket() as probe:
            try:
                probe.bind((VIP, 0))
            except OSError:
                return False
        return True

    def remove_peer(self, peer: int) -> float:
        """Have a peer close its session and refuse new ones."""
        it = self.appliance.peers[peer]
        it.accepting = False
        at = self.record(f"peer {peer}", "down")
        with contextlib.suppress(AssertionError, OSError):  # it may have no session
            it.drop(6, 2)
        return at

    def return_peer(self, peer: int) -> float:
        """Have a peer accept sessions again."""
        self.appliance.peers[peer].accepting = True
        return self.record(f"peer {peer}", "up")

    def set_family(self, peer: int, *, carried: bool) -> float:
        """Have a peer open its session anew, with the VIP's address family or without."""
        it = self.appliance.peers[peer]
        it.families = ("ipv4", "ipv6") if carried else ("ipv6",)
        at = self.record(f"peer {peer}", "up" if carried else "down")
        with contextlib.suppress(AssertionError, OSError):  # it may have no session
            it.drop(6, 4)
        return at

    def refresh(self, peer: int) -> None:
        """Have a peer request all routes again (RFC 2918), if it has a session."""
        self.record(f"refresh {peer}", "touch")
        with contextlib.suppress(AssertionError, OSError):
            self.appliance.peers[peer].ask_refresh()

    def pause(self, seconds: float) -> float:
        """Stop every process of the appliance for ``seconds``, as a hypervisor does.

        What was stopped before stays stopped.  The others go on in any order.  Returns how many
        seconds the pause took.
        """
        self.agent.suspend("pause")
        self.speaker.suspend("pause")
        began = self.record("machine", "stop")
        stopped: list[int] = []
        # Twice: a process that was being forked meanwhile must not run on.
        for _ in range(2):
            for pid in list_processes():
                if pid not in stopped and read_state(pid) not in "TZ":
                    send_signal(signal.SIGSTOP, [pid])
                    stopped.append(pid)
        until(lambda: time.monotonic() - began >= seconds, seconds + 5)
        self.record("machine", "cont")
        send_signal(signal.SIGCONT, random.sample(stopped, len(stopped)))
        self.agent.resume("pause")
        self.speaker.resume("pause")
        return time.monotonic() - began

    def starve(self) -> float:
        """Start processes that together use all CPUs."""
        at = self.record("cpu", "down")
        self._burners.start()
        return at

    def end_starvation(self) -> float:
        """End the processes of ``starve``."""
        self._burners.stop()
        return self.record("cpu", "up")

    def occupy_stats_socket(self) -> float:
        """Open all connections that the stats socket accepts, and send nothing on them."""
        at = self.record("cli", "down")
        self._idle_clients.open_unix(str(self.appliance.haproxy.socket), IDLE_CONNECTIONS)
        return at

    def free_stats_socket(self) -> float:
        """Close the connections of ``occupy_stats_socket``."""
        self._idle_clients.close()
        return self.record("cli", "up")

    def fill_haproxy(self) -> float:
        """Bring HAProxy to its limit of connections: it serves no other client, for a minute.

        Idle clients do that: HAProxy 2.6 may hang for ever when its limit is changed.
        """
        at = self.record("haproxy", "full")
        self._idle_clients.open_tcp(VIP, 80, 2 * FULL)
        return at

    def empty_haproxy(self) -> float:
        """Close the connections of ``fill_haproxy``."""
        self._idle_clients.close()
        return self.record("haproxy", "free")

    # What it comes to ---------------------------------------------------------------------------

    def wait_settled(self, timeout: float = 30.0, calm: float = 0.3) -> float:
        """Wait until both peers have had the preferred route for ``calm`` s; return since when.

        That is a time of the monotonic clock.  Raises AssertionError after ``timeout`` seconds.
        """
        since = [0.0]

        def settled() -> bool:
            if self.wire.lengths() != [1] * len(self.appliance.peers):
                since[0] = 0.0
            elif not since[0]:
                since[0] = time.monotonic()
            return bool(since[0]) and time.monotonic() - since[0] >= calm

        try:
            until(settled, timeout, 0.01)
        except AssertionError:
            raise AssertionError(
                f"not settled in {timeout} s: {self.wire.lengths()}, {self.count_processes()}\n"
                f"{self.tail()}\n{self.appliance.log()[-6000:]}"
            ) from None
        return since[0]

    def wait_in_order(self, timeout: float = 10.0) -> None:
        """Wait until one of each process runs and the agent reports that all is in sync.

        Raises AssertionError after ``timeout`` seconds for either.
        """
        ideal = {
            "agent": 1,
            "exabgp": 1,
            "lease": 1,
            "haproxy master": 1,
            "haproxy worker": 1,
            "zombie": 0,
        }
        until(lambda: self.count_processes() == ideal, timeout, 0.05)
        until(self.in_sync, timeout, 0.05)

    def in_sync(self) -> bool:
        """Return whether the agent reports the preferred level, in sync, with all sessions up."""
        with contextlib.suppress(AssertionError):
            status = self.appliance.status()
            return (
                status["services"]["web"]["level"] == "preferred"
                and bool(status["services"]["web"]["in_sync"])
                and all(one["session"] == "up" for one in status["neighbors"].values())
            )
        return False

    def tail(self, count: int = 20) -> str:
        """Format the newest ``count`` entries of the journal, a line each, with seconds ago."""
        now = time.monotonic()
        return "\n".join(
            f"{entry.at - now:9.3f} s  {entry.part}: {entry.what}"
            for entry in self.journal[-count:]
        )


@contextlib.contextmanager
def run_machine(place: Path, python: str, **settings: object) -> Iterator[Machine]:
    """Run a machine in a network of its own, for a ``with`` block; its first peer has RFC 7313."""
    with own_network():
        appliance = Appliance(place, python=python, **settings)  # type: ignore[arg-type]
        appliance.peers[0].refresh = "enhanced"
        with Machine(appliance) as it:
            yield it


def pass_time(since: float, seconds: float) -> None:
    """Wait until ``seconds`` after ``since`` (a monotonic time), while nothing may happen."""
    until(lambda: time.monotonic() - since > seconds, seconds + 5)
