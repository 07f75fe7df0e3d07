"""FRR as a router of the lab: zebra, bgpd and, where the configuration has it, bfdd."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

from anycastd.lab.network.namespaces import LabError, Nodes, Process
from anycastd.lab.network.table import TableRow

DAEMONS = "/usr/lib/frr"
"""Where Debian's package has FRR's daemons."""
PROGRAMS = {f"{DAEMONS}/bgpd": "frr"}
"""Programs that it needs -> the Debian packages that have them."""
_END = b"\0\0\0"


def start(nodes: Nodes, node: str, config: str) -> list[Process]:
    """Start FRR's daemons in a node; ``config`` is that of bgpd.

    Bfdd is started where the configuration has a neighbor with `bfd`.
    """
    directory = socket_directory(nodes, node)
    directory.mkdir()
    started = []
    for daemon in ("zebra", "bfdd", "bgpd") if re.search(r"\bbfd\b", config) else ("zebra", "bgpd"):
        file = directory / f"{daemon}.conf"
        file.write_text(config if daemon == "bgpd" else "", encoding="utf-8")
        # -S: no other user, -P 0: no TCP port; BFD's own socket has a path of its own, too.
        argv = [f"{DAEMONS}/{daemon}", "-S", "-P", "0", "-f", str(file), "--log", "stdout"]
        argv += ["-i", str(directory / f"{daemon}.pid"), "-z", str(directory / "zserv.api")]
        argv += ["--vty_socket", str(directory)]
        if daemon == "bfdd":
            argv += ["--bfdctl", str(directory / "bfdd.sock")]
        if daemon == "bgpd":
            # Without -n the installed next hop of a peer in a namespace is checked by zebra alone.
            argv += ["-p", "179"]
        started.append(nodes.start(node, daemon, *argv))
    return started


def socket_directory(nodes: Nodes, node: str) -> Path:
    """Return the directory of a router's sockets, as for `vtysh --vty_socket`."""
    return nodes.directory / f"{node}.frr"


def query_frr(nodes: Nodes, node: str, command: str, daemon: str = "bgpd") -> str:
    """Send a command to a daemon of FRR and return its answer.

    Raises OSError when it does not answer within 5 s, LabError when it refuses the command.  An
    answer of vtysh's sockets ends with three zero bytes and the status.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(socket_directory(nodes, node) / f"{daemon}.vty"))
        data = b""
        for line in ("enable", command):
            sock.sendall(f"{line}\0".encode())
            data = b""
            while len(data) < len(_END) + 1 or data[-4:-1] != _END:
                part = sock.recv(65536)
                if not part:
                    raise OSError(f"{node}: {daemon} closed the connection")
                data += part
    text = data[:-4].decode(errors="replace")
    if data[-1]:
        raise LabError(f"{node}: {daemon} refused '{command}': {text.strip()}")
    return text


def _query_json(nodes: Nodes, node: str, command: str) -> dict[str, Any]:
    answer = json.loads(query_frr(nodes, node, f"{command} json") or "{}")
    return answer if isinstance(answer, dict) else {}


def read_table(nodes: Nodes, node: str, network: str) -> tuple[TableRow, ...]:
    """Return a router's routes to a network, ordered by next hop and peer.

    Raises OSError when bgpd does not answer, LabError when it refuses.
    """
    family = "ipv6" if ":" in network else "ipv4"
    answer = _query_json(nodes, node, f"show bgp {family} unicast {network}")
    rows = [
        TableRow(
            network,
            str(path.get("nexthops", [{}])[0].get("ip", "")),
            tuple(int(number) for number in re.findall(r"\d+", path["aspath"]["string"])),
            bool(path.get("bestpath", {}).get("overall")) or bool(path.get("multipath")),
            med=path.get("metric") or None,
        )
        for path in answer.get("paths", [])
    ]
    return tuple(sorted(rows, key=lambda row: row.next_hop))


def read_sessions(nodes: Nodes, node: str) -> dict[str, bool]:
    """Return whether each BGP session of a router is established: peer's address -> bool.

    Raises OSError when bgpd does not answer, LabError when it refuses.
    """
    answer = _query_json(nodes, node, "show bgp summary")
    return {
        peer: state.get("state") == "Established"
        for family in answer.values()
        if isinstance(family, dict)
        for peer, state in family.get("peers", {}).items()
    }


def describe_command(nodes: Nodes, node: str) -> tuple[str, ...]:
    """Return the command with which a person looks at all routes."""
    vtysh = shutil.which("vtysh") or "vtysh"
    directory = str(socket_directory(nodes, node))
    return (vtysh, "--vty_socket", directory, "-c", "'show bgp ipv4 unicast'")
