"""The routers: BIRD as route servers, gateways, MSEE and customer edge."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from anycastd.lab.network import topology
from anycastd.lab.network.namespaces import LabError, Nodes, Process
from anycastd.lab.network.topology import REGIONS, VIP, Region

ROUTERS = (
    *(region.node(role) for region in REGIONS for role in ("ars0", "ars1", "gw0", "gw1")),
    "msee",
    "ce",
)
"""Names of the nodes that run BIRD."""

# The error wait and connect times are far below the defaults of BIRD and of clouds (60 s and more),
# so that the lab does not wait long for a router to connect again.
_COMMON = """
log stderr all;
router id {router_id};
timeformat protocol iso long us;
protocol device {{ scan time 1; }}
protocol kernel {{
    ipv4 {{ import none; export where source = RTS_BGP; }};
    {kernel}
}}
template bgp peering {{
    hold time 180;
    keepalive time 60;
    graceful restart off;
    error wait time 1, 2;
    error forget time 1;
    connect delay time 1;
    connect retry time 2;
}}
"""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One route of a router's table; ``path`` is the AS path as the router has it."""

    network: str
    next_hop: str
    path: tuple[int, ...]
    best: bool
    weight: int = 0

    def __str__(self) -> str:
        hop = f"{self.next_hop}{'*' if self.best else ''}"
        return f"{self.network:<19}{hop:<20}{self.weight:<10}{' '.join(map(str, self.path))}"

    def describe(self) -> str:
        """Describe the route for people, with its node and repeated AS numbers once."""
        mark = "*" if self.best else " "
        node = topology.find_node(self.next_hop)
        weight = f"  weight {self.weight}" if self.weight else ""
        path = " ".join(
            f"{number} x{count}" if count > 1 else str(number)
            for number, count in ((number, len(tuple(same))) for number, same in groupby(self.path))
        )
        return f"{mark} {node:<8}{self.next_hop:<17}{path}{weight}"


def build_bird_config(node: str, *, weights: bool = False) -> str:
    """Build the BIRD configuration of the router ``node``; ``weights`` as in ``LabSettings``.

    A node that is no route server, gateway or MSEE gets that of the customer edge.
    """
    for region in REGIONS:
        if node in (region.node("ars0"), region.node("ars1")):
            return _route_server(region, region.ars[int(node[-1])])
        if node in (region.node("gw0"), region.node("gw1")):
            return _gateway(region, region.gateways[int(node[-1])])
    return _msee(weights=weights) if node == "msee" else _ce()


def _route_server(region: Region, address: str) -> str:
    """Return the configuration of an Azure Route Server.

    It takes at most 4000 routes per peer, no path with its own AS, no prefix of the VNet.
    """
    text = _COMMON.format(router_id=address, kernel="merge paths on;")
    text += f"""
protocol direct {{ ipv4; interface "eth0"; }}
filter from_nva {{
    if bgp_path ~ [= * {topology.ARS_AS} * =] then reject;
    if net ~ [ {region.vnet}+ ] then reject;
    accept;
}}
protocol bgp nva from peering {{
    local {address} as {topology.ARS_AS};
    neighbor {region.nva} as {topology.NVA_AS};
    multihop;
    ipv4 {{
        import filter from_nva;
        import limit 4000 action restart;
        export where source = RTS_BGP;
    }};
}}
"""
    for number, gateway in enumerate(region.gateways):
        text += f"""
protocol bgp gw{number} from peering {{
    local {address} as {topology.ARS_AS};
    neighbor {gateway} as {topology.ARS_AS};
    ipv4 {{ import all; export where proto = "nva"; }};
}}
"""
    return text


def _gateway(region: Region, address: str) -> str:
    """Return the configuration of an ExpressRoute gateway.

    Inside the VNet the NVA stays the next hop; towards the MSEE the gateway is the next hop.
    """
    text = _COMMON.format(router_id=address, kernel="merge paths on;")
    text += f"""
protocol direct {{ ipv4; interface "eth0"; }}
protocol static {{ ipv4; route {topology.MSEE_ADDRESS}/32 via "msee"; }}
protocol bgp msee from peering {{
    local {address} as {topology.ARS_AS};
    neighbor {topology.MSEE_ADDRESS} as {topology.MSEE_AS};
    multihop 2;
    ipv4 {{ import all; export where source = RTS_BGP; next hop self; }};
}}
"""
    for number, server in enumerate(region.ars):
        text += f"""
protocol bgp ars{number} from peering {{
    local {address} as {topology.ARS_AS};
    neighbor {server} as {topology.ARS_AS};
    ipv4 {{ import all; export where proto = "msee"; next hop self; }};
}}
"""
    return text


def _msee(*, weights: bool) -> str:
    """Return the configuration of Microsoft's edge router (MSEE).

    The shortest AS path wins; private ASNs are removed towards the customer.  With ``weights`` the
    first region's circuit wins instead, like one with a higher connection weight.
    """
    text = _COMMON.format(router_id=topology.MSEE_ADDRESS, kernel="")
    for rank, region in enumerate(REGIONS):
        heavier = weights and not rank
        takes = "import filter { bgp_local_pref = 200; accept; }" if heavier else "import all"
        for number, gateway in enumerate(region.gateways):
            port = region.node(f"gw{number}")
            text += f"""
protocol static {{ ipv4; route {gateway}/32 via "{port}"; }}
protocol bgp {port.replace("-", "_")} from peering {{
    local {topology.MSEE_ADDRESS} as {topology.MSEE_AS};
    neighbor {gateway} as {topology.ARS_AS};
    multihop 2;
    ipv4 {{ {takes}; export where proto = "ce"; next hop self; }};
}}
"""
    return (
        text
        + f"""
filter to_ce {{
    if source != RTS_BGP then reject;
    bgp_path.delete([64512..65534]);
    accept;
}}
protocol bgp ce from peering {{
    local {topology.MSEE_TO_CE} as {topology.MSEE_AS};
    neighbor {topology.CE_TO_MSEE} as {topology.CE_AS};
    ipv4 {{ import all; export filter to_ce; next hop self; }};
}}
"""
    )


def _ce() -> str:
    """Return the configuration of the customer edge (CE): it announces its own network."""
    return (
        _COMMON.format(router_id=topology.CE_TO_MSEE, kernel="")
        + f"""
protocol static {{ ipv4; route {topology.PREMISES} via "eth0"; }}
protocol bgp msee from peering {{
    local {topology.CE_TO_MSEE} as {topology.CE_AS};
    neighbor {topology.MSEE_TO_CE} as {topology.MSEE_AS};
    ipv4 {{ import all; export where source ~ [ RTS_STATIC, RTS_BGP ]; }};
}}
"""
    )


def start_routers(nodes: Nodes, *, weights: bool = False) -> dict[str, Process]:
    """Start BIRD on every router; return node -> process.  ``weights`` as in ``LabSettings``."""
    started = {}
    for node in ROUTERS:
        file = nodes.directory / f"{node}.bird.conf"
        file.write_text(build_bird_config(node, weights=weights), encoding="utf-8")
        control = str(control_socket(nodes, node))
        started[node] = nodes.start(node, "bird", "bird", "-f", "-c", str(file), "-s", control)
    return started


def control_socket(nodes: Nodes, node: str) -> Path:
    """Return the path of a router's control socket, as for `birdc -s`."""
    return nodes.directory / f"{node}.bird.ctl"


def query_bird(control: Path, command: str) -> list[str]:
    """Send a command to BIRD's control socket; return the lines of the answer without their codes.

    A network that is not in the table gives no lines.  Raises OSError when BIRD does not answer
    within 5 s, LabError when it refuses the command.  The codes are those of BIRD's control
    protocol.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(control))
        sock.sendall(f"{command}\n".encode())
        lines: list[str] = []
        with sock.makefile("r", errors="replace") as answer:
            answer.readline()  # the greeting
            for line in answer:
                code, text = line[:4], line[5:].rstrip("\n")
                if line.startswith(" "):
                    lines.append(line[1:].rstrip("\n"))
                    continue
                if code == "8001":  # network not found
                    return lines
                if code[0] in "89":
                    raise LabError(f"BIRD refused '{command}': {text}")
                lines.append(text)
                if line[4:5] == " ":
                    return lines
    raise OSError(f"{control}: BIRD closed the connection")


def read_table(control: Path, network: str = f"{VIP}/32") -> tuple[TableRow, ...]:
    """Return a router's routes to a network, ordered by next hop.

    Raises OSError when BIRD does not answer, LabError when it refuses.
    """
    rows = _parse_rows(query_bird(control, f"show route {network} all"))
    return tuple(sorted(rows, key=lambda row: row.next_hop))


def read_sessions(control: Path) -> dict[str, bool]:
    """Return whether each BGP session of a router is established: protocol name -> bool.

    Raises OSError when BIRD does not answer, LabError when it refuses.
    """
    found = (line.split() for line in query_bird(control, "show protocols"))
    return {
        columns[0]: columns[-1] == "Established" for columns in found if columns[1:2] == ["BGP"]
    }


_HEAD = re.compile(r"^(?P<network>\S+)?\s+(unicast|unreachable)\s+\[[^]]*\]\s*(?P<best>\*)?")


def _parse_rows(lines: list[str]) -> Iterator[TableRow]:
    network, best = "", False
    path: tuple[int, ...] = ()
    for line in lines:
        head = _HEAD.match(line)
        if head:
            network, best, path = head["network"] or network, bool(head["best"]), ()
        name, _, value = line.strip().partition(": ")
        if name == "BGP.as_path":
            path = tuple(int(number) for number in re.findall(r"\d+", value))
        elif name == "BGP.next_hop":
            yield TableRow(network, value.split()[0], path, best)
