"""The network of the comparison: two regions, a router that chooses between them, and a client.

    client - edge -+- a-rs - a-nva, a-web
                   +- b-rs - b-nva, b-web

``a-rs`` and ``b-rs`` are the routers of the regions (BIRD, AS 65515), each with a bridge for its
region.  The edge (BIRD) takes the shorter AS path.  A second bridge joins the edge and both
appliances, for VRRP alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from anycastd.lab.network.namespaces import Nodes
from anycastd.lab.network.outage import RequestLog, RequestResult
from anycastd.lab.network.process_tree import child_pids, descendant_pids, has_ended, signal_all

VIP = "203.0.113.10"
INTERVAL, TIMEOUT = 0.01, 1.0
"""The client sends a request each 10 ms, and gives each of them a second."""


@dataclass(frozen=True, slots=True)
class Region:
    """A region: the prefix of its nodes' names, its network, and how often it prepends its AS."""

    name: str
    network: str
    edge_link: tuple[str, str]
    """The edge's address of the link, and the region's router's."""
    prepends: int

    def node(self, role: str) -> str:
        """Return the name of a node: rs, nva or web."""
        return f"{self.name}-{role}"

    def address(self, host: int) -> str:
        """Return an address of the region's network."""
        return f"{self.network}.{host}"

    @property
    def appliance(self) -> str:
        """Return the appliance's address."""
        return self.address(10)

    @property
    def web(self) -> tuple[str, str]:
        """Return the addresses of the web servers."""
        return self.address(21), self.address(22)


A = Region("a", "10.10.0", ("192.0.2.1", "192.0.2.2"), 0)
B = Region("b", "10.20.0", ("192.0.2.5", "192.0.2.6"), 2)
REGIONS = (A, B)
NODES = (
    "client",
    "edge",
    *(region.node(role) for region in REGIONS for role in ("rs", "nva", "web")),
)

_BIRD = """
log stderr all;
router id {router_id};
protocol device {{ scan time 1; }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol bfd {{ interface "*" {{ interval 300 ms; multiplier 3; }}; }}
template bgp peering {{
    hold time 240;
    graceful restart off;
    error wait time 1, 2;
    error forget time 1;
    connect delay time 1;
    connect retry time 2;
    {more}
}}
"""
_RS = """
protocol bgp nva from peering {{
    local {own} as 65515;
    neighbor {appliance} as 65010;
    passive; bfd on;
    ipv4 {{ import all; export none; }};
}}
protocol bgp edge from peering {{
    local {edge_link[1]} as 65515;
    neighbor {edge_link[0]} as 64500;
    ipv4 {{ import none; export where proto = "nva"; next hop self; }};
}}
"""
_EDGE = """
protocol bgp rs_{name} from peering {{
    local {edge_link[0]} as 64500;
    neighbor {edge_link[1]} as 65515;
    ipv4 {{ import all; export none; }};
}}
"""
_SETTINGS = """
for file in all default; do
    echo 0 >/proc/sys/net/ipv4/conf/$file/rp_filter
    echo 0 >/proc/sys/net/ipv4/conf/$file/accept_redirects
    echo 0 >/proc/sys/net/ipv4/conf/$file/send_redirects
done
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 0 >/proc/sys/net/ipv4/tcp_max_tw_buckets
"""


class Program:
    """A program in a node, its output in a file.

    ``restart`` (s) starts it again so long after its end, as RestartSec of systemd does; 0: never.

    ``running`` are all that have not been ended.
    """

    running: ClassVar[list[Program]] = []

    def __init__(
        self, nodes: Nodes, node: str, name: str, *argv: str, restart: float = 0.0
    ) -> None:
        loop = ("sh", "-c", f'while :; do "$@"; sleep {restart}; done', name)
        self.log = nodes.directory / "log" / f"{node}-{name}.log"
        self._restart = restart
        with self.log.open("ab") as out:
            self._popen = subprocess.Popen(
                nodes.command_in(node, *(loop if restart else ()), *argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=nodes.environment | ENVIRONMENT,
                start_new_session=True,
            )
        Program.running.append(self)

    @property
    def pids(self) -> list[int]:
        """Return the pids of the program and of all that it started."""
        found = child_pids(self._popen.pid)
        if found and self._restart:
            found = child_pids(found[0])
        return [each for pid in found for each in (pid, *descendant_pids(pid))]

    def kill(self) -> float:
        """Kill the program and what it started; return when that began (monotonic, s)."""
        pids = self.pids
        at = time.monotonic()
        kill_all(pids)
        return at

    def stop(self) -> float:
        """Send SIGSTOP to the program and what it started; return when (monotonic, s)."""
        pids = self.pids
        at = time.monotonic()
        signal_all(pids, signal.SIGSTOP)
        return at

    def resume(self) -> None:
        """Send SIGCONT; nsenter stops itself together with its child."""
        signal_all([self._popen.pid, *self.pids], signal.SIGCONT)

    def end(self) -> None:
        """Kill it for good."""
        while self._popen.poll() is None:
            signal_all([self._popen.pid, *descendant_pids(self._popen.pid)], signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(0.2)
        if self in Program.running:
            Program.running.remove(self)


ENVIRONMENT = {
    "EXABGP_ENVFILE": "/dev/null",
    "exabgp_api_cli": "false",
    "exabgp_daemon_user": "root",
    "exabgp_tcp_bind": "",
    "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
}


def kill_all(pids: Sequence[int]) -> None:
    """Kill processes, and wait until they have ended."""
    signal_all(pids, signal.SIGKILL)
    wait_for(lambda: all(map(has_ended, pids)), 10, "the end of what was killed")


def wait_for(
    condition: Callable[[], object], timeout: float, what: str, every: float = 0.005
) -> float:
    """Wait for a condition, and return for how long; raises AssertionError after ``timeout`` s."""
    began_at = time.monotonic()
    while not condition():
        if time.monotonic() - began_at > timeout:
            raise AssertionError(f"waited {timeout:g} s for {what}")
        time.sleep(every)
    return time.monotonic() - began_at


def pass_time(seconds: float) -> None:
    """Let so much time pass."""
    ends_at = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= ends_at, seconds + 5, "time to pass", 0.02)


class Network:
    """The nodes with their routers, web servers and client, running; a context manager."""

    def __init__(self) -> None:
        self.nodes = Nodes(NODES)
        self.servers: dict[str, list[Program]] = {}
        self._runs = 0

    def __enter__(self) -> Self:
        self.nodes.__enter__()
        try:
            self._wire()
            self._start_routers()
            for region in REGIONS:
                self.start_servers(region)
        except BaseException:
            self.nodes.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for program in list(Program.running):
            program.end()
        self.nodes.close()

    def _wire(self) -> None:
        for node in NODES:
            self.nodes.run(node, "sh", "-c", _SETTINGS)
        self._veth("client", "eth0", "edge", "client")
        self._ip("edge", "link add vrrp type bridge forward_delay 0", "link set vrrp up")
        for region in REGIONS:
            rs = region.node("rs")
            self._veth("edge", region.name, rs, "edge")
            self._ip(rs, "link add lan type bridge forward_delay 0", "link set lan up")
            for role in ("nva", "web"):
                self._veth(rs, role, region.node(role), "eth0")
                self._ip(rs, f"link set {role} master lan", f"link set {role} up")
            self._veth("edge", f"{region.name}-vrrp", region.node("nva"), "vrrp")
            self._ip("edge", f"link set {region.name}-vrrp master vrrp")
        self._ip("edge", "address add 198.51.100.1/24 dev client")
        self._ip("edge", "address add 10.30.0.1/24 dev vrrp")
        self._ip("client", "address add 198.51.100.10/24 dev eth0")
        self._ip("client", "route add default via 198.51.100.1")
        for host, region in enumerate(REGIONS, 11):
            rs, nva, web = (region.node(role) for role in ("rs", "nva", "web"))
            self._ip("edge", f"address add {region.edge_link[0]}/30 dev {region.name}")
            self._ip(rs, f"address add {region.edge_link[1]}/30 dev edge")
            self._ip(rs, f"address add {region.address(1)}/24 dev lan")
            self._ip(rs, f"route add default via {region.edge_link[0]}")
            self._ip(nva, f"address add {region.appliance}/24 dev eth0")
            self._ip(nva, f"address add 10.30.0.{host}/24 dev vrrp")
            self._ip(nva, f"route add default via {region.address(1)}")
            self._ip(web, *(f"address add {each}/24 dev eth0" for each in region.web))

    def _veth(self, here: str, port: str, there: str, far_port: str) -> None:
        peer = f"type veth peer name {far_port} netns {self.nodes.namespace_path(there)}"
        self._ip(here, f"link add name {port} {peer}", f"link set dev {port} up")
        self._ip(there, f"link set dev {far_port} up")

    def _ip(self, node: str, *lines: str) -> None:
        self.nodes.run(node, "ip", "-batch", "-", text="\n".join(lines) + "\n")

    def _start_routers(self) -> None:
        configs = {"edge": _BIRD.format(router_id="192.0.2.1", more="")}
        for region in REGIONS:
            configs["edge"] += _EDGE.format(name=region.name, edge_link=region.edge_link)
            configs[region.node("rs")] = _BIRD.format(
                router_id=region.edge_link[1], more=""
            ) + _RS.format(
                own=region.address(1), appliance=region.appliance, edge_link=region.edge_link
            )
        for node, text in configs.items():
            file = self.nodes.directory / f"{node}.conf"
            file.write_text(text, encoding="utf-8")
            Program(
                self.nodes, node, "bird", "bird", "-f", "-c", str(file), "-s", self.control(node)
            )

    def control(self, node: str) -> str:
        """Return the path of a router's control socket."""
        return str(self.nodes.directory / f"{node}.ctl")

    def ask_bird(self, node: str, *words: str) -> str:
        """Return what ``birdc`` prints; empty if BIRD does not answer."""
        return self.nodes.try_run(node, "birdc", "-s", self.control(node), *words).stdout

    def start_servers(self, region: Region) -> None:
        """Start a region's web servers, and wait until they listen."""
        module = ("-m", "anycastd.lab.programs.web_server")
        self._runs += 1
        self.servers[region.name] = [
            Program(
                self.nodes,
                region.node("web"),
                f"web{number}-{self._runs}",
                *(sys.executable, *module, address, region.name, region.name, f"web{number}"),
            )
            for number, address in enumerate(region.web, 1)
        ]
        wait_for(lambda: all(_listens(each) for each in self.servers[region.name]), 20, "servers")

    def kill_servers(self, region: Region) -> float:
        """Kill a region's web servers; return when that began (monotonic, s)."""
        pids = [pid for each in self.servers[region.name] for pid in each.pids]
        at = time.monotonic()
        kill_all(pids)
        return at

    def cut(self, region: Region) -> float:
        """Take an appliance off its networks, both ways and with its links up; return when."""
        at = time.monotonic()
        self._set_port(region.node("rs"), "nva", "0")
        self._set_port("edge", f"{region.name}-vrrp", "0")
        return at

    def mend(self, region: Region) -> None:
        """Put an appliance on its networks again."""
        self._set_port(region.node("rs"), "nva", "3")
        self._set_port("edge", f"{region.name}-vrrp", "3")

    def _set_port(self, node: str, port: str, state: str) -> None:
        """Set a bridge port's state: 0 drops everything, 3 forwards (bridge(8))."""
        self.nodes.run(node, "bridge", "link", "set", "dev", port, "state", state)

    def restore(self) -> None:
        """Mend what a trial that failed has left behind."""
        self.mend(A)
        self.kill_servers(A)
        self.start_servers(A)

    @contextmanager
    def requests(self) -> Iterator[Callable[[], list[RequestResult]]]:
        """Send requests meanwhile; yields a function that returns the results so far."""
        self._runs += 1
        client = Program(
            self.nodes,
            "client",
            f"load{self._runs}",
            *(sys.executable, "-m", "anycastd.lab.programs.load_client", VIP),
            *(f"--interval={INTERVAL}", f"--timeout={TIMEOUT}"),
        )
        log = RequestLog(client.log)
        try:
            yield log.results
        finally:
            client.end()


def _listens(server: Program) -> bool:
    return "listening" in server.log.read_text(encoding="utf-8")
