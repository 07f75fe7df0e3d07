"""The routers of a lab, of any make, in one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from anycastd.lab.network import bird, frr, gobgp
from anycastd.lab.network.namespaces import LabError, Nodes, Process
from anycastd.lab.network.table import TableRow
from anycastd.lab.network.topology import Topology


class Make(Protocol):
    """What a make of router offers; the modules ``bird``, ``frr`` and ``gobgp`` are such."""

    PROGRAMS: dict[str, str]

    def start(self, nodes: Nodes, node: str, config: str) -> list[Process]:
        """Start it in a node."""
        ...

    def read_table(self, nodes: Nodes, node: str, network: str) -> tuple[TableRow, ...]:
        """Return its routes to a network; raises OSError while it does not answer."""
        ...

    def read_sessions(self, nodes: Nodes, node: str) -> dict[str, bool]:
        """Return whether each session is established; raises OSError while it does not answer."""
        ...

    def describe_command(self, nodes: Nodes, node: str) -> tuple[str, ...]:
        """Return the command with which a person looks at all routes, to run in the node."""
        ...


MAKES: dict[str, Make] = {"bird": bird, "frr": frr, "gobgp": gobgp}
"""Make -> what starts and reads such a router."""


@dataclass(slots=True)
class RunningRouter:
    """A router that was started; ``processes`` are its daemons."""

    nodes: Nodes
    node: str
    make: Make
    config: str
    processes: list[Process]

    def read_table(self, network: str) -> tuple[TableRow, ...]:
        """Return its routes to a network, ordered by next hop.

        Raises OSError when it does not answer, LabError when it refuses.
        """
        return self.make.read_table(self.nodes, self.node, network)

    def read_sessions(self) -> dict[str, bool] | None:
        """Return whether each BGP session is established; None while it does not answer.

        The keys are BIRD's protocol names, or the peers' addresses.
        """
        try:
            return self.make.read_sessions(self.nodes, self.node)
        except OSError:
            return None

    def describe_command(self) -> str:
        """Return the command with which a person in its node looks at all routes."""
        return " ".join(self.make.describe_command(self.nodes, self.node))

    def is_running(self) -> bool:
        """Return whether all its daemons run."""
        return all(process.pid is not None for process in self.processes)

    def freeze(self) -> None:
        """Stop (SIGSTOP) its daemons."""
        for process in self.processes:
            process.freeze()

    def thaw(self) -> None:
        """Continue (SIGCONT) its daemons."""
        for process in self.processes:
            process.thaw()

    def kill(self) -> None:
        """Kill (SIGKILL) its daemons."""
        for process in self.processes:
            process.kill()

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of its daemons' logs."""
        return "\n".join(process.log_tail(lines) for process in self.processes)


def list_programs(topology: Topology) -> dict[str, str]:
    """Return the programs that the routers of a network need -> Debian packages.

    Raises LabError for a make that there is not.
    """
    makes = {router.make for router in topology.routers}
    unknown = ", ".join(sorted(makes - MAKES.keys()))
    if unknown:
        raise LabError(f"there is no make of router {unknown}; there are: {', '.join(MAKES)}")
    return {name: package for make in makes for name, package in MAKES[make].PROGRAMS.items()}


def start_routers(nodes: Nodes, topology: Topology) -> dict[str, RunningRouter]:
    """Start every router; return node -> router."""
    return {
        router.node: RunningRouter(
            nodes,
            router.node,
            MAKES[router.make],
            router.config,
            MAKES[router.make].start(nodes, router.node, router.config),
        )
        for router in topology.routers
    }
