"""What the lab breaks and mends; each returns the moment just before, on the monotonic clock."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping

from anycastd.lab.network.appliance import PYTHON, Appliance
from anycastd.lab.network.namespaces import LabError, Nodes, Process, ended, signal_all
from anycastd.lab.network.topology import VIP


class Faults:
    """Breaks things by region name and starts them again."""

    def __init__(self, nodes: Nodes, regions: Mapping[str, Appliance]) -> None:
        self._nodes = nodes
        self._regions = regions
        self._crowd: Process | None = None

    def kill_backends(self, region: str, *names: str) -> float:
        """SIGKILL a region's web servers at once, or only those named."""
        backends = self._regions[region].backends
        return _kill([backends[name] for name in names or backends])

    def start_backends(self, region: str) -> float:
        """Start the web servers that are dead."""
        now = time.monotonic()
        self._regions[region].start_backends()
        return now

    def freeze_backends(self, region: str) -> float:
        """Stop a region's web servers: the kernel still takes connections, nobody answers."""
        now = time.monotonic()
        for backend in self._regions[region].backends.values():
            backend.freeze()
        return now

    def thaw_backends(self, region: str) -> float:
        """Let them go on."""
        now = time.monotonic()
        for backend in self._regions[region].backends.values():
            backend.thaw()
        return now

    def kill_haproxy(self, region: str) -> float:
        """SIGKILL HAProxy's master and worker."""
        return _kill([_there(self._regions[region].haproxy, region, "HAProxy")])

    def start_haproxy(self, region: str) -> float:
        """Start HAProxy again."""
        now = time.monotonic()
        self._regions[region].start_haproxy()
        return now

    def kill_agent(self, region: str) -> float:
        """SIGKILL the agent; it is started again 0.1 s later."""
        return _kill([_there(self._regions[region].agent, region, "agent")])

    def kill_speaker(self, region: str) -> float:
        """SIGKILL ExaBGP and the lease process; they are started again 0.1 s later."""
        return _kill([_there(self._regions[region].speaker, region, "speaker")])

    def crowd(self, number: int) -> float:
        """Connect so many clients to the VIP, which say nothing and stay."""
        now = time.monotonic()
        argv = (*PYTHON, "anycastd.lab.programs.idle_clients", VIP, str(number))
        self._crowd = self._nodes.start("client", "crowd", *argv)
        return now

    def disperse(self) -> float:
        """Have them go away."""
        return _kill([_there(self._crowd, "the client", "crowd")])

    def link_down(self, region: str, role: str = "nva") -> float:
        """Take a node off its VNet without a word, as a host that dies; roles as in ``Region``."""
        return self._link(region, role, "down")

    def link_up(self, region: str, role: str = "nva") -> float:
        """Put a node back on its VNet."""
        return self._link(region, role, "up")

    def _link(self, region: str, role: str, state: str) -> float:
        node = self._regions[region].region.node("vnet")
        now = time.monotonic()
        self._nodes.run(node, "ip", "link", "set", role, state)
        return now


def _there(process: Process | None, region: str, what: str) -> Process:
    if process is None:
        raise LabError(f"{region} has no {what} running")
    return process


def _kill(processes: list[Process]) -> float:
    trees = [process.tree for process in processes]
    for process, tree in zip(processes, trees, strict=True):
        if not tree:
            raise LabError(f"{process.name} is not running:\n{process.last_words()}")
    pids = [pid for tree in trees for pid in tree]
    now = time.monotonic()
    signal_all(pids, signal.SIGKILL)
    while not all(ended(pid) for pid in pids):
        time.sleep(0.001)
    return now
