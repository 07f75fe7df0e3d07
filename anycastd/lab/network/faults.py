"""The faults that the stories cause and repair.

Each method returns the time of the monotonic clock just before it acted, in seconds.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping

from anycastd.lab.network.appliance import PYTHON, Appliance
from anycastd.lab.network.namespaces import LabError, Nodes, Process
from anycastd.lab.network.process_tree import has_ended, signal_all
from anycastd.lab.network.topology import Topology


class Faults:
    """The faults of one lab: methods that break and repair the programs of a region, given by name.

    Each method returns the time of the monotonic clock just before it acted, in seconds.  It raises
    KeyError for a region or a web server that there is not, and LabError where a program to kill
    does not run, or a program cannot be started.
    """

    def __init__(
        self, nodes: Nodes, appliances: Mapping[str, Appliance], topology: Topology
    ) -> None:
        self._nodes = nodes
        self._appliances = appliances
        self._topology = topology
        self._idle_clients: Process | None = None

    def kill_web_servers(self, region: str, *names: str) -> float:
        """Kill (SIGKILL) a region's web servers, or only those that are named.

        Raises LabError if one of them does not run; then none is killed.
        """
        web_servers = self._appliances[region].web_servers
        return kill_processes([web_servers[name] for name in names or web_servers])

    def start_web_servers(self, region: str) -> float:
        """Start the web servers that are not running."""
        now = time.monotonic()
        self._appliances[region].start_web_servers()
        return now

    def freeze_web_servers(self, region: str) -> float:
        """Stop (SIGSTOP) a region's web servers.

        The kernel still accepts connections, but no request is answered.
        """
        now = time.monotonic()
        for web_server in self._appliances[region].web_servers.values():
            web_server.freeze()
        return now

    def thaw_web_servers(self, region: str) -> float:
        """Continue (SIGCONT) a region's web servers."""
        now = time.monotonic()
        for web_server in self._appliances[region].web_servers.values():
            web_server.thaw()
        return now

    def kill_haproxy(self, region: str) -> float:
        """Kill (SIGKILL) HAProxy's master and worker; raises LabError if it does not run."""
        return kill_processes(
            [_require_started(self._appliances[region].haproxy, region, "HAProxy")]
        )

    def start_haproxy(self, region: str) -> float:
        """Start HAProxy; raises LabError if it rejects its configuration."""
        now = time.monotonic()
        self._appliances[region].start_haproxy()
        return now

    def kill_speaker(self, region: str) -> float:
        """Kill (SIGKILL) ExaBGP and the lease process; they are started again at once."""
        return kill_processes(
            [_require_started(self._appliances[region].speaker, region, "speaker")]
        )

    def stop_speaker(self, region: str) -> float:
        """Stop the speaker for good, as `systemctl stop anycastd-speaker` does."""
        speaker = _require_started(self._appliances[region].speaker, region, "speaker")
        now = time.monotonic()
        speaker.stop(10)
        return now

    def start_speaker(self, region: str) -> float:
        """Start the speaker again."""
        now = time.monotonic()
        self._appliances[region].start_speaker()
        return now

    def connect_idle_clients(self, number: int) -> float:
        """Open ``number`` connections to the VIP that send nothing and stay open."""
        now = time.monotonic()
        argv = (*PYTHON, "anycastd.lab.programs.idle_clients", self._topology.vip)
        node = self._topology.clients[0].node
        self._idle_clients = self._nodes.start(node, "idle-clients", *argv, str(number))
        return now

    def disconnect_idle_clients(self) -> float:
        """Close the connections of ``connect_idle_clients``; raises LabError if there are none."""
        return kill_processes([_require_started(self._idle_clients, "the client", "idle clients")])


def kill_processes(processes: list[Process]) -> float:
    """Kill (SIGKILL) programs and all that they started, and wait for their end.

    Returns the time of the monotonic clock just before, in seconds.  Raises LabError when one is
    not running; then none is killed.
    """
    trees = [process.pids for process in processes]
    for process, tree in zip(processes, trees, strict=True):
        if not tree:
            raise LabError(f"{process.name} is not running:\n{process.log_tail()}")
    pids = [pid for tree in trees for pid in tree]
    now = time.monotonic()
    signal_all(pids, signal.SIGKILL)
    while not all(has_ended(pid) for pid in pids):
        time.sleep(0.001)
    return now


def _require_started(process: Process | None, region: str, what: str) -> Process:
    if process is None:
        raise LabError(f"{region} has no {what} running")
    return process
