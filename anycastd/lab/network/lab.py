"""The rehearsal network as one object: `with Lab() as lab: ...`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from anycastd.lab.network import routers, topology
from anycastd.lab.network.appliance import PYTHON, Appliance, Settings
from anycastd.lab.network.faults import Faults
from anycastd.lab.network.namespaces import EX_UNAVAILABLE, LabError, Nodes, Process
from anycastd.lab.network.outage import Answer, Outage, Record, outage, settled
from anycastd.lab.network.route_monitor import Watch
from anycastd.lab.network.routers import Row
from anycastd.lab.network.topology import PRIMARY, REGIONS, SECONDARY, VIP, Region

T = TypeVar("T")
Progress = Callable[[str, float, float], None]
"""Called while something is awaited: what, seconds waited, seconds allowed."""

NEEDED = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "bird": "bird2",
}

_PREFERRED: Mapping[str, str] = {}
_HOPELESS = 10  # so many restarts in one wait
_LOOK = 0.5  # seconds between two looks for them


class TimedOutError(LabError):
    """Something awaited did not happen; the message says what was seen instead."""


class Client:
    """The on-premises client's load.

    One request every ``every`` seconds, each on a connection of its own and given up after
    ``give_up`` seconds.  ``again``: sent once more after a reset, as browsers do.
    """

    def __init__(self, nodes: Nodes, every: float, give_up: float, *, again: bool) -> None:
        self.again = again
        self.every = every
        self.give_up = give_up
        self._nodes = nodes
        self._process: Process | None = None
        self._record: Record | None = None
        self._runs = 0

    def start(self) -> None:
        """Begin to send; a new record begins too."""
        self.stop()
        self._runs += 1
        argv = (*PYTHON, "anycastd.lab.programs.load_client", VIP)
        times = (f"--every={self.every}", f"--give-up={self.give_up}")
        name = f"load{self._runs}"
        more = ("--again",) if self.again else ()
        self._process = self._nodes.start("client", name, *argv, *times, *more)
        self._record = Record(self._process.log)

    def stop(self) -> list[Answer]:
        """Stop sending, wait for the requests on their way and return all answers."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(self.give_up + 10)
            self._process = None
        return self.answers()

    def answers(self, since: float = 0.0) -> list[Answer]:
        """Return what became of the requests that were over after ``since``."""
        return self._record.answers(since) if self._record else []

    def outage(self, since: float = 0.0) -> Outage | None:
        """Return the outage since a moment, as ``record.Outage`` defines it."""
        return outage(self.answers(since), since)


class Lab:
    """The whole network, running, with the agents started; everything vanishes with the context.

    ``regions`` are the appliances by region name; ``client`` and ``faults`` do what they say;
    ``watches`` follow the kernel routes of the MSEE and the route servers by node name, ``routers``
    are the BIRDs by node name.
    ``every``, ``give_up`` and ``again`` are the client's.  ``agents`` False leaves speakers and
    agents for the caller to start.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        directory: Path | None = None,
        every: float = 0.01,
        give_up: float = 0.25,
        again: bool = False,
        agents: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self.settings = settings or Settings()
        needed = {**NEEDED, self.settings.haproxy: "haproxy"}
        missing = [name for name in needed if not shutil.which(name)]
        if missing:
            packages = ", ".join(f"{name} (Debian package {needed[name]})" for name in missing)
            raise LabError(f"the lab needs {packages}: install it and try again", EX_UNAVAILABLE)
        self.nodes = Nodes(topology.NODES, directory)
        self.regions = {
            region.name: Appliance(self.nodes, region, self.settings) for region in REGIONS
        }
        self.primary = self.regions[PRIMARY.name]
        self.secondary = self.regions[SECONDARY.name]
        self.client = Client(self.nodes, every, give_up, again=again)
        self.faults = Faults(self.nodes, self.regions)
        self.watches: dict[str, Watch] = {}
        self.routers: dict[str, Process] = {}
        self._agents = agents
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
        topology.wire(self.nodes)
        watched = [region.node(role) for region in REGIONS for role in ("ars0", "ars1")]
        self.watches = {node: Watch(self.nodes, node) for node in ("msee", *watched)}
        birds = self.routers = routers.start(self.nodes, weights=self.settings.weights)
        for appliance in self.regions.values():
            appliance.prepare()
            appliance.start_backends()
        for appliance in self.regions.values():
            self.wait("the web servers to listen", appliance.backends_ready, 10)
            appliance.start_haproxy()
        self.wait(
            "the routers to start",
            lambda: all(self.sessions(node) is not None for node in routers.ROUTERS),
            20,
            lambda: "\n".join(bird.last_words(3) for bird in birds.values() if bird.pid is None),
        )
        if self._agents:
            for appliance in self.regions.values():
                appliance.start_speaker()
                appliance.start_agent()

    def wait(
        self,
        what: str,
        condition: Callable[[], T | None],
        seconds: float,
        saw: Callable[[], str] = lambda: "",
    ) -> T:
        """Wait until ``condition`` gives something true and return it.

        Raises TimedOutError after ``seconds``, with what ``saw`` tells, and as soon as an agent or
        a speaker ends again and again.
        """
        began = looked = time.monotonic()
        before = self._restarts()
        while True:
            found = condition()
            waited = time.monotonic() - began
            if not found and began + waited - looked > _LOOK:
                looked = began + waited
                for name, number in self._restarts().items():
                    if number - before.get(name, 0) > _HOPELESS:
                        told = saw().strip()
                        raise TimedOutError(f"{name} ends again and again; seen:\n{told}", 1)
            if self._progress is not None:
                self._progress(what, waited, seconds)
            if found:
                return found
            if waited >= seconds:
                told = saw().strip()
                message = f"waited {seconds:g} s for {what}"
                raise TimedOutError(f"{message}; seen instead:\n{told}" if told else message, 1)
            time.sleep(0.02)

    def _restarts(self) -> dict[str, int]:
        services = [one for nva in self.regions.values() for one in (nva.speaker, nva.agent) if one]
        return {service.name: service.restarts for service in services}

    def table(self, node: str = "msee") -> tuple[Row, ...]:
        """Return what a router knows about the VIP."""
        return routers.table(routers.control_socket(self.nodes, node))

    def msee_table(self) -> tuple[Row, ...]:
        """Return the MSEE's rows for the VIP, the best one marked."""
        return self.table("msee")

    def sessions(self, node: str) -> dict[str, bool] | None:
        """Return which BGP sessions of a router are established; None while it does not answer."""
        try:
            return routers.established(routers.control_socket(self.nodes, node))
        except OSError:
            return None

    def status(self, region: str) -> dict[str, Any] | None:
        """Return a region's `anycastd status --json`; None while no agent answers."""
        return self.regions[region].status()

    def wait_table(
        self, what: str, good: Callable[[tuple[Row, ...]], bool], seconds: float
    ) -> tuple[Row, ...]:
        """Wait until the MSEE's table is as ``good`` wants it and return it."""

        def look() -> tuple[tuple[Row, ...]] | None:
            rows = self.msee_table()
            return (rows,) if good(rows) else None

        return self.wait(what, look, seconds, self.explain)[0]

    def wait_preferred(self, seconds: float = 60) -> tuple[Row, ...]:
        """Wait until both regions are at their profiles' own paths; return the MSEE's table."""
        return self.wait_levels(seconds)

    def wait_levels(
        self, seconds: float, levels: Mapping[str, str] = _PREFERRED
    ) -> tuple[Row, ...]:
        """Wait until each region has the path of its level; return the MSEE's table.

        ``levels`` by region name: what is not named is preferred, withdrawn has no path.
        """
        wanted = self.expected(levels)
        what = ", ".join(f"{name} {levels.get(name, 'preferred')}" for name in self.regions)
        return self.wait_table(f"{what} at the MSEE", lambda rows: paths(rows) == wanted, seconds)

    def expected(self, levels: Mapping[str, str] = _PREFERRED) -> dict[str, tuple[int, ...]]:
        """Return the MSEE's AS paths by next hop for levels by region name, as ``wait_levels``."""
        all_levels = {name: levels.get(name, "preferred") for name in self.regions}
        return expected(
            {
                name: self.regions[name].prepends[level]
                for name, level in all_levels.items()
                if level != "withdrawn"
            }
        )

    def wait_answers(self, region: Region, count: int, seconds: float, since: float = 0.0) -> None:
        """Wait until the client's last ``count`` requests were all answered by a region."""

        def saw() -> str:
            last = [f"  {one.region} {one.server} {one.why}" for one in self.client.answers()[-5:]]
            return "\n".join(["the client's last answers:", *last, self.explain()])

        self.wait(
            f"{count} good answers in a row from {region.title}",
            lambda: settled(self.client.answers(since), region.name, count, since),
            seconds,
            saw,
        )

    def explain(self) -> str:
        """Return what is to be seen now: table, sessions, and the NVAs' last words."""
        parts = ["the MSEE's table:", *(f"  {row}" for row in self.msee_table() or ("  (empty)",))]
        for region in REGIONS:
            for number in (0, 1):
                node = region.node(f"ars{number}")
                up = (self.sessions(node) or {}).get("nva")
                parts.append(f"  {node}: session with the NVA {'up' if up else 'down'}")
            parts.append(self.regions[region.name].last_words())
        return "\n".join(parts)


def paths(rows: tuple[Row, ...]) -> dict[str, tuple[int, ...]]:
    """Return a table's AS paths by next hop."""
    return {row.next_hop: row.path for row in rows}


def expected(prepends: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Return the MSEE's AS paths by next hop for a number of prepends per region name."""
    return {
        gateway: (topology.ARS_AS, *([topology.NVA_AS] * (prepends[region.name] + 1)))
        for region in REGIONS
        if region.name in prepends
        for gateway in region.gateways
    }


EXPECTED = expected({PRIMARY.name: 0, SECONDARY.name: 2})
"""The seed's baseline: both regions at their profiles' own paths."""
