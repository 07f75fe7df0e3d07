"""The whole rehearsal network as one context manager: `with Lab() as lab: ...`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from anycastd.lab.network import routers
from anycastd.lab.network.appliance import Appliance, LabSettings
from anycastd.lab.network.azure import AZURE
from anycastd.lab.network.faults import Faults
from anycastd.lab.network.load import LoadClient
from anycastd.lab.network.namespaces import EX_UNAVAILABLE, LabError, Nodes, Process
from anycastd.lab.network.outage import last_answered_by
from anycastd.lab.network.route_monitor import RouteMonitor
from anycastd.lab.network.routers import RunningRouter
from anycastd.lab.network.table import TableRow, paths_by_next_hop
from anycastd.lab.network.topology import Site, Topology, wire_nodes

T = TypeVar("T")
Progress = Callable[[str, float, float], None]
"""Called repeatedly during a wait: what is awaited, seconds so far, timeout in seconds."""

REQUIRED_PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
}
"""Program -> the Debian package that has it; the routers need more."""

_PREFERRED: Mapping[str, str] = {}
_MAX_RESTARTS = 10  # of one service in one wait; more is a crash loop
_RESTART_CHECK_INTERVAL = 0.5  # seconds


class TimedOutError(LabError):
    """A wait ended without success; the message says what was seen instead."""


class Lab:
    """The whole network, running, with all agents started; nothing is left after the context.

    ``appliances`` holds the appliances by site name; ``primary`` is the first, ``secondary`` the
    second (or the first, where there is one).  ``clients`` holds the loads by node name, and
    ``client`` is the first.  ``monitors`` follow the kernel routes of the observed router and of
    the sites' own servers, ``routers`` are all that run; both by node name.  ``programs`` are the
    network's others, by name.  ``interval``, ``timeout`` (s) and ``resend`` are the load clients'.

    Raises LabError where a program is missing (69), or the directory cannot be used (2).  Entering
    the context raises LabError, TimedOutError or MissingFileError where the network does not come
    up; nothing is left then.
    """

    def __init__(
        self,
        settings: LabSettings | None = None,
        topology: Topology = AZURE,
        *,
        directory: Path | None = None,
        interval: float = 0.01,
        timeout: float = 0.25,
        resend: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.settings = settings or LabSettings()
        self.topology = topology
        required = {**REQUIRED_PROGRAMS, **routers.list_programs(topology)}
        self.has_haproxy = any(site.haproxy for site in topology.sites)
        if self.has_haproxy:
            required[self.settings.haproxy] = "haproxy"
        missing = [name for name in required if not shutil.which(name)]
        if missing:
            packages = ", ".join(f"{name} (Debian package {required[name]})" for name in missing)
            raise LabError(f"the lab needs {packages}: install it and try again", EX_UNAVAILABLE)
        self.nodes = Nodes(topology.names, directory)
        self.appliances = {
            site.name: Appliance(self.nodes, site, self.settings, topology)
            for site in topology.sites
        }
        ordered = [*self.appliances.values()]
        self.primary, self.secondary = ordered[0], ordered[min(1, len(ordered) - 1)]
        self.clients = {
            client.node: LoadClient(
                self.nodes, interval, timeout, resend=resend, node=client.node, vip=topology.vip
            )
            for client in topology.clients
        }
        self.client = self.clients[topology.clients[0].node]
        self.faults = Faults(self.nodes, self.appliances, topology)
        self.monitors: dict[str, RouteMonitor] = {}
        self.routers: dict[str, RunningRouter] = {}
        self.programs: dict[str, Process] = {}
        self._progress = progress

    def __enter__(self) -> Self:
        self.nodes.__enter__()
        try:
            self._build()
        except BaseException:
            self.nodes.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.nodes.close()

    def _build(self) -> None:
        topology = self.topology
        wire_nodes(self.nodes, topology)
        servers = [node for site in topology.sites for node in site.servers]
        watched = dict.fromkeys((topology.observed, *servers))
        self.monitors = {node: RouteMonitor(self.nodes, node, topology.vip) for node in watched}
        started = self.routers = routers.start_routers(self.nodes, topology)
        for program in topology.programs:
            self.programs[program.name] = self.nodes.start(
                program.node, program.name, *program.argv
            )
        for appliance in self.appliances.values():
            appliance.prepare()
            appliance.start_web_servers()
        for appliance in self.appliances.values():
            self.wait("the web servers to listen", appliance.web_servers_ready, 10)
            appliance.start_haproxy()
        self.wait(
            "the routers to start",
            lambda: all(router.read_sessions() is not None for router in started.values()),
            20,
            lambda: "\n".join(
                router.log_tail(3) for router in started.values() if not router.is_running()
            ),
        )
        for appliance in self.appliances.values():
            appliance.start_bfd()
            appliance.start_speaker()
            appliance.start_agent()

    def wait(
        self,
        what: str,
        condition: Callable[[], T | None],
        timeout: float,
        describe: Callable[[], str] = lambda: "",
    ) -> T:
        """Wait until ``condition`` returns a true value and return it.

        Raises TimedOutError, with the text of ``describe``, after ``timeout`` seconds or as soon as
        an agent or a speaker is in a crash loop.
        """
        began_at = checked_at = time.monotonic()
        before = self._restarts()
        while True:
            found = condition()
            waited = time.monotonic() - began_at
            if not found and began_at + waited - checked_at > _RESTART_CHECK_INTERVAL:
                checked_at = began_at + waited
                for name, number in self._restarts().items():
                    if number - before.get(name, 0) > _MAX_RESTARTS:
                        seen = describe().strip()
                        raise TimedOutError(f"{name} ends again and again; seen:\n{seen}", 1)
            if self._progress is not None:
                self._progress(what, waited, timeout)
            if found:
                return found
            if waited >= timeout:
                seen = describe().strip()
                message = f"waited {timeout:g} s for {what}"
                raise TimedOutError(f"{message}; seen instead:\n{seen}" if seen else message, 1)
            time.sleep(0.02)

    def _restarts(self) -> dict[str, int]:
        services = [
            one for nva in self.appliances.values() for one in (nva.speaker, nva.agent) if one
        ]
        return {service.name: service.restarts for service in services}

    def read_table(self, node: str = "") -> tuple[TableRow, ...]:
        """Return a router's routes to the VIP, ordered by next hop; default: the observed router's.

        Raises OSError when the router does not answer, LabError when it refuses.
        """
        vip = self.topology.vip
        network = f"{vip}/{128 if ':' in vip else 32}"
        name = node or self.topology.observed
        rows = self.routers[name].read_table(network)
        if self.topology.shows_kernel and name == self.topology.observed:
            hops = self.monitors[name].next_hops()
            rows = tuple(dict.fromkeys(replace(row, best=row.next_hop in hops) for row in rows))
        return tuple(replace(row, node=self.topology.find_node(row.next_hop)) for row in rows)

    def sessions(self, node: str) -> dict[str, bool] | None:
        """Return whether each BGP session of a router is established: protocol name -> bool.

        None while the router does not answer.
        """
        return self.routers[node].read_sessions()

    def status(self, site: str) -> dict[str, Any] | None:
        """Return the JSON of a site's `anycastd status`; None while no agent answers."""
        return self.appliances[site].status()

    def wait_table(
        self, what: str, good: Callable[[tuple[TableRow, ...]], bool], timeout: float
    ) -> tuple[TableRow, ...]:
        """Wait until ``good`` is true of the observed router's table and return the table.

        Raises TimedOutError after ``timeout`` seconds, OSError when the router does not answer.
        """

        def look() -> tuple[tuple[TableRow, ...]] | None:
            rows = self.read_table()
            return (rows,) if good(rows) else None

        return self.wait(what, look, timeout, self.describe)[0]

    def wait_preferred(self, timeout: float = 60) -> tuple[TableRow, ...]:
        """Wait until every site is preferred; return the observed router's table.

        Raises TimedOutError after ``timeout`` seconds.
        """
        return self.wait_levels(timeout)

    def wait_levels(
        self, timeout: float, levels: Mapping[str, str] = _PREFERRED
    ) -> tuple[TableRow, ...]:
        """Wait until each site has the path of its level; return the observed router's table.

        ``levels``: site name -> level; a site that is not in it is preferred.  Raises
        TimedOutError after ``timeout`` seconds, KeyError for a level that there is not.
        """
        wanted = self.expected_paths(levels)
        what = ", ".join(f"{name} {levels.get(name, 'preferred')}" for name in self.appliances)
        return self.wait_table(
            f"{what} at {self.topology.observed_title}",
            lambda rows: paths_by_next_hop(rows) == wanted,
            timeout,
        )

    def expected_paths(self, levels: Mapping[str, str] = _PREFERRED) -> dict[str, tuple[int, ...]]:
        """Return next hop -> AS path, as the observed router must have them.

        ``levels`` as in ``wait_levels``.  Raises KeyError for a level that there is not.
        """
        all_levels = {name: levels.get(name, "preferred") for name in self.appliances}
        return self.topology.expected_paths(
            {
                name: self.appliances[name].prepends[level]
                for name, level in all_levels.items()
                if level != "withdrawn"
            }
        )

    def wait_answers(
        self,
        site: Site,
        count: int,
        timeout: float,
        since: float = 0.0,
        client: LoadClient | None = None,
    ) -> None:
        """Wait until a site answered the last ``count`` requests, all sent at ``since`` or later.

        ``since`` is a time of the monotonic clock (s); default of ``client``: the first.  Raises
        TimedOutError after ``timeout`` seconds.
        """
        load = client or self.client

        def describe() -> str:
            results = load.results()[-5:]
            last = [f"  {one.region} {one.server} {one.detail}" for one in results]
            return "\n".join(["the client's last answers:", *last, self.describe()])

        self.wait(
            f"{count} good answers in a row from {site.title}",
            lambda: last_answered_by(load.results(since), site.name, count, since),
            timeout,
            describe,
        )

    def describe(self) -> str:
        """Return the current state as text: the observed table, sessions, the NVAs' last log lines.

        Raises OSError when the observed router does not answer.
        """
        rows = self.read_table() or ("  (empty)",)
        parts = [f"{self.topology.observed_title}'s table:", *(f"  {row}" for row in rows)]
        for site in self.topology.sites:
            for node in site.servers:
                up = self.sessions(node) or {}
                parts += [f"  {node}: {name} {'up' if up[name] else 'down'}" for name in up]
            parts.append(self.appliances[site.name].log_tails())
        return "\n".join(parts)
