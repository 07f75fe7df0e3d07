"""The whole rehearsal network as one context manager: `with Lab() as lab: ...`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from anycastd.lab.network import routers, topology
from anycastd.lab.network.appliance import PYTHON, Appliance, LabSettings
from anycastd.lab.network.faults import Faults
from anycastd.lab.network.namespaces import EX_UNAVAILABLE, LabError, Nodes, Process
from anycastd.lab.network.outage import (
    Outage,
    RequestLog,
    RequestResult,
    find_outage,
    last_answered_by,
)
from anycastd.lab.network.route_monitor import RouteMonitor
from anycastd.lab.network.routers import TableRow
from anycastd.lab.network.topology import PRIMARY, REGIONS, SECONDARY, VIP, Region

T = TypeVar("T")
Progress = Callable[[str, float, float], None]
"""Called repeatedly during a wait: what is awaited, seconds so far, timeout in seconds."""

REQUIRED_PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "bird": "bird2",
}
"""Program -> the Debian package that has it."""

_PREFERRED: Mapping[str, str] = {}
_MAX_RESTARTS = 10  # of one service in one wait; more is a crash loop
_RESTART_CHECK_INTERVAL = 0.5  # seconds


class TimedOutError(LabError):
    """A wait ended without success; the message says what was seen instead."""


class LoadClient:
    """The load of the on-premises client.

    It sends a request each ``interval`` seconds, each on a new connection and with a timeout of
    ``timeout`` seconds.  With ``resend`` a request is sent again once after a reset, as browsers do
    (RFC 9110, section 9.2.2).  ``since`` is a time of the monotonic clock, in seconds.
    """

    def __init__(self, nodes: Nodes, interval: float, timeout: float, *, resend: bool) -> None:
        self.resend = resend
        self.interval = interval
        self.timeout = timeout
        self._nodes = nodes
        self._process: Process | None = None
        self._request_log: RequestLog | None = None
        self._runs = 0

    def start(self) -> None:
        """Start to send requests, with an empty log; a load that runs is stopped first."""
        self.stop()
        self._runs += 1
        argv = (*PYTHON, "anycastd.lab.programs.load_client", VIP)
        times = (f"--interval={self.interval}", f"--timeout={self.timeout}")
        name = f"load{self._runs}"
        more = ("--resend",) if self.resend else ()
        self._process = self._nodes.start("client", name, *argv, *times, *more)
        self._request_log = RequestLog(self._process.log)

    def stop(self) -> list[RequestResult]:
        """Stop sending, wait for the requests under way and return all results.

        A client that somebody froze is continued; one that does not end is killed.
        """
        if self._process is not None:
            self._process.terminate()
            self._process.end(self.timeout + 1)
            self._process = None
        return self.results()

    def results(self, since: float = 0.0) -> list[RequestResult]:
        """Return the results of the requests that ended at ``since`` (monotonic, s) or later."""
        return self._request_log.results(since) if self._request_log else []

    def outage(self, since: float = 0.0) -> Outage | None:
        """Return the outage of the requests that ended at ``since`` (monotonic clock, s) or later.

        None without a failed request.
        """
        return find_outage(self.results(since), since)


class Lab:
    """The whole network, running, with all agents started; nothing is left after the context.

    ``regions`` holds the appliances by region name.  ``monitors`` follow the kernel routes of the
    MSEE and of the route servers, ``routers`` are the BIRD processes, both by node name.
    ``interval``, ``timeout`` (s) and ``resend`` are the load client's.

    Raises LabError where a program is missing (69), or the directory cannot be used (2).  Entering
    the context raises LabError, TimedOutError or MissingFileError where the network does not come
    up; nothing is left then.
    """

    def __init__(
        self,
        settings: LabSettings | None = None,
        *,
        directory: Path | None = None,
        interval: float = 0.01,
        timeout: float = 0.25,
        resend: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.settings = settings or LabSettings()
        required = {**REQUIRED_PROGRAMS, self.settings.haproxy: "haproxy"}
        missing = [name for name in required if not shutil.which(name)]
        if missing:
            packages = ", ".join(f"{name} (Debian package {required[name]})" for name in missing)
            raise LabError(f"the lab needs {packages}: install it and try again", EX_UNAVAILABLE)
        self.nodes = Nodes(topology.NODES, directory)
        self.regions = {
            region.name: Appliance(self.nodes, region, self.settings) for region in REGIONS
        }
        self.primary = self.regions[PRIMARY.name]
        self.secondary = self.regions[SECONDARY.name]
        self.client = LoadClient(self.nodes, interval, timeout, resend=resend)
        self.faults = Faults(self.nodes, self.regions)
        self.monitors: dict[str, RouteMonitor] = {}
        self.routers: dict[str, Process] = {}
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
        topology.wire_nodes(self.nodes)
        watched = [region.node(role) for region in REGIONS for role in ("ars0", "ars1")]
        self.monitors = {node: RouteMonitor(self.nodes, node) for node in ("msee", *watched)}
        birds = self.routers = routers.start_routers(self.nodes, weights=self.settings.weights)
        for appliance in self.regions.values():
            appliance.prepare()
            appliance.start_web_servers()
        for appliance in self.regions.values():
            self.wait("the web servers to listen", appliance.web_servers_ready, 10)
            appliance.start_haproxy()
        self.wait(
            "the routers to start",
            lambda: all(self.sessions(node) is not None for node in routers.ROUTERS),
            20,
            lambda: "\n".join(bird.log_tail(3) for bird in birds.values() if bird.pid is None),
        )
        for appliance in self.regions.values():
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
        services = [one for nva in self.regions.values() for one in (nva.speaker, nva.agent) if one]
        return {service.name: service.restarts for service in services}

    def read_table(self, node: str = "msee") -> tuple[TableRow, ...]:
        """Return a router's routes to the VIP, ordered by next hop.

        Raises OSError when the router does not answer, LabError when it refuses.
        """
        return routers.read_table(routers.control_socket(self.nodes, node))

    def msee_table(self) -> tuple[TableRow, ...]:
        """Return the MSEE's routes to the VIP, the best one marked.

        Raises OSError when the MSEE does not answer, LabError when it refuses.
        """
        return self.read_table("msee")

    def sessions(self, node: str) -> dict[str, bool] | None:
        """Return whether each BGP session of a router is established: protocol name -> bool.

        None while the router does not answer.
        """
        try:
            return routers.read_sessions(routers.control_socket(self.nodes, node))
        except OSError:
            return None

    def status(self, region: str) -> dict[str, Any] | None:
        """Return the JSON of a region's `anycastd status`; None while no agent answers."""
        return self.regions[region].status()

    def wait_table(
        self, what: str, good: Callable[[tuple[TableRow, ...]], bool], timeout: float
    ) -> tuple[TableRow, ...]:
        """Wait until ``good`` is true of the MSEE's table and return the table.

        Raises TimedOutError after ``timeout`` seconds, OSError when the MSEE does not answer.
        """

        def look() -> tuple[tuple[TableRow, ...]] | None:
            rows = self.msee_table()
            return (rows,) if good(rows) else None

        return self.wait(what, look, timeout, self.describe)[0]

    def wait_preferred(self, timeout: float = 60) -> tuple[TableRow, ...]:
        """Wait until both regions are preferred; return the MSEE's table.

        Raises TimedOutError after ``timeout`` seconds.
        """
        return self.wait_levels(timeout)

    def wait_levels(
        self, timeout: float, levels: Mapping[str, str] = _PREFERRED
    ) -> tuple[TableRow, ...]:
        """Wait until each region has the path of its level; return the MSEE's table.

        ``levels``: region name -> level; a region that is not in it is preferred.  Raises
        TimedOutError after ``timeout`` seconds, KeyError for a level that there is not.
        """
        wanted = self.expected_paths(levels)
        what = ", ".join(f"{name} {levels.get(name, 'preferred')}" for name in self.regions)
        return self.wait_table(
            f"{what} at the MSEE", lambda rows: paths_by_next_hop(rows) == wanted, timeout
        )

    def expected_paths(self, levels: Mapping[str, str] = _PREFERRED) -> dict[str, tuple[int, ...]]:
        """Return next hop -> AS path, as the MSEE must have them; ``levels`` as in ``wait_levels``.

        Raises KeyError for a level that there is not.
        """
        all_levels = {name: levels.get(name, "preferred") for name in self.regions}
        return expected_paths(
            {
                name: self.regions[name].prepends[level]
                for name, level in all_levels.items()
                if level != "withdrawn"
            }
        )

    def wait_answers(self, region: Region, count: int, timeout: float, since: float = 0.0) -> None:
        """Wait until a region answered the last ``count`` requests, all sent at ``since`` or later.

        ``since`` is a time of the monotonic clock (s).  Raises TimedOutError after ``timeout``
        seconds.
        """

        def describe() -> str:
            results = self.client.results()[-5:]
            last = [f"  {one.region} {one.server} {one.detail}" for one in results]
            return "\n".join(["the client's last answers:", *last, self.describe()])

        self.wait(
            f"{count} good answers in a row from {region.title}",
            lambda: last_answered_by(self.client.results(since), region.name, count, since),
            timeout,
            describe,
        )

    def describe(self) -> str:
        """Return the current state as text: MSEE's table, sessions, last log lines of the NVAs.

        Raises OSError when the MSEE does not answer.
        """
        parts = ["the MSEE's table:", *(f"  {row}" for row in self.msee_table() or ("  (empty)",))]
        for region in REGIONS:
            for number in (0, 1):
                node = region.node(f"ars{number}")
                up = (self.sessions(node) or {}).get("nva")
                parts.append(f"  {node}: session with the NVA {'up' if up else 'down'}")
            parts.append(self.regions[region.name].log_tails())
        return "\n".join(parts)


def paths_by_next_hop(rows: tuple[TableRow, ...]) -> dict[str, tuple[int, ...]]:
    """Return next hop -> AS path for the rows of a table."""
    return {row.next_hop: row.path for row in rows}


def expected_paths(prepends: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Return next hop -> AS path at the MSEE.

    ``prepends``: region name -> number of prepended ASNs; a region that is not in it has no path.
    """
    return {
        gateway: (topology.ARS_AS, *([topology.NVA_AS] * (prepends[region.name] + 1)))
        for region in REGIONS
        if region.name in prepends
        for gateway in region.gateways
    }
