"""BIRD as a router of the lab: its start, its tables and its sessions."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

from anycastd.lab.network.namespaces import LabError, Nodes, Process
from anycastd.lab.network.table import TableRow

PROGRAMS = {"bird": "bird2"}
"""Programs that it needs -> the Debian packages that have them."""

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


def begin_config(router_id: str, *, ecmp: bool = False) -> str:
    """Return the beginning of a configuration, with the template `peering` for BGP protocols.

    BGP's routes go to the kernel; with ``ecmp`` equal ones as one route with several next hops.
    """
    return _COMMON.format(router_id=router_id, kernel="merge paths on;" if ecmp else "")


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


def start(nodes: Nodes, node: str, config: str) -> list[Process]:
    """Start BIRD in a node with this configuration."""
    file = nodes.directory / f"{node}.bird.conf"
    file.write_text(config, encoding="utf-8")
    control = str(control_socket(nodes, node))
    return [nodes.start(node, "bird", "bird", "-f", "-c", str(file), "-s", control)]


def read_table(nodes: Nodes, node: str, network: str) -> tuple[TableRow, ...]:
    """Return a router's routes to a network, ordered by next hop.

    Raises OSError when BIRD does not answer, LabError when it refuses.
    """
    rows = _parse_rows(query_bird(control_socket(nodes, node), f"show route {network} all"))
    return tuple(sorted(rows, key=lambda row: row.next_hop))


def read_sessions(nodes: Nodes, node: str) -> dict[str, bool]:
    """Return whether each BGP session of a router is established: protocol name -> bool.

    Raises OSError when BIRD does not answer, LabError when it refuses.
    """
    lines = query_bird(control_socket(nodes, node), "show protocols")
    found = (line.split() for line in lines)
    return {
        columns[0]: columns[-1] == "Established" for columns in found if columns[1:2] == ["BGP"]
    }


def describe_command(nodes: Nodes, node: str) -> tuple[str, ...]:
    """Return the command with which a person looks at all routes."""
    return ("birdc", "-s", str(control_socket(nodes, node)), "show", "route", "all")


# A "!" in place of the "*" says that the kernel refused the best route when it was last written.
_HEAD = re.compile(r"^(?P<network>\S+)?\s+(unicast|unreachable)\s+\[[^]]*\]\s*(?P<best>[*!])?")


def _parse_rows(lines: list[str]) -> Iterator[TableRow]:
    network, best = "", False
    path: tuple[int, ...] = ()
    med: int | None = None
    hop = ""
    for line in lines:
        head = _HEAD.match(line)
        if head:
            if hop:
                yield TableRow(network, hop, path, best, med=med)
            network, best = head["network"] or network, bool(head["best"])
            path, med, hop = (), None, ""
        name, _, value = line.strip().partition(": ")
        if name == "BGP.as_path":
            path = tuple(int(number) for number in re.findall(r"\d+", value))
        elif name == "BGP.next_hop":
            hop = value.split()[0]
        elif name == "BGP.med":
            med = int(value)
    if hop:
        yield TableRow(network, hop, path, best, med=med)
