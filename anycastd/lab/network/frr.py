"""FRR as a router of the lab: zebra, bgpd and, where the configuration has it, bfdd."""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anycastd.lab.network.namespaces import LabError, Nodes, Process
from anycastd.lab.network.table import TableRow

DAEMONS = "/usr/lib/frr"
"""Where Debian's package has FRR's daemons."""
PROGRAMS = {f"{DAEMONS}/bgpd": "frr"}
"""Programs that it needs -> the Debian packages that have them."""
_START_TIMEOUT = 20.0  # seconds
_USER = "frr"  # as which the daemons run
# The daemons keep logs of crashes by PID in a directory of the machine; these get their own.
_HIDE_CRASH_LOGS = (
    *("unshare", "--mount", "--propagation", "private", "sh", "-c"),
    'mkdir -p /var/tmp/frr; mount -t tmpfs -o mode=1777 tmpfs /var/tmp/frr && exec "$@"',
    "frr",
)
_END = b"\0\0\0"


def start(nodes: Nodes, node: str, config: str) -> list[Process]:
    """Start FRR's daemons in a node; ``config`` is that of bgpd.

    Bfdd is started where the configuration has a neighbor with `bfd`.
    """
    directory = socket_directory(nodes, node)
    directory.mkdir()
    shutil.chown(directory, _USER, _USER)
    started = []
    for daemon in ("zebra", "bfdd", "bgpd") if re.search(r"\bbfd\b", config) else ("zebra", "bgpd"):
        file = directory / f"{daemon}.conf"
        file.write_text(config if daemon == "bgpd" else "", encoding="utf-8")
        # -P 0: no TCP port for its command line; bfdd's own socket has a path of its own, too.
        argv = [f"{DAEMONS}/{daemon}", "-P", "0", "--log", "stdout"]
        argv += ["-f", str(file), "-i", str(directory / f"{daemon}.pid")]
        argv += ["-z", str(directory / "zserv.api"), "--vty_socket", str(directory)]
        if daemon == "bfdd":
            argv += ["--bfdctl", str(directory / "bfdd.sock")]
        process = nodes.start(node, daemon, *_HIDE_CRASH_LOGS, *argv)
        started.append(process)
        # The next one connects to this one once, and then not for ten seconds.
        _wait_socket(directory / ("zserv.api" if daemon == "zebra" else f"{daemon}.vty"), process)
    return started


def _wait_socket(file: Path, process: Process) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not file.exists():
        if time.monotonic() > deadline:
            raise LabError(f"{process.name} does not start:\n{process.log_tail()}")
        time.sleep(0.01)


def socket_directory(nodes: Nodes, node: str) -> Path:
    """Return the directory of a router's sockets, as for `vtysh --vty_socket`."""
    return nodes.directory / f"{node}.frr"


def query_frr(nodes: Nodes, node: str, command: str, daemon: str = "bgpd") -> str:
    """Send a command to a daemon of FRR and return its answer.

    Raises OSError when it does not answer within 5 s, LabError when it refuses the command.
    """
    return _talk(nodes, node, daemon, ("enable", command))


def configure_frr(nodes: Nodes, node: str, *commands: str) -> None:
    """Send bgpd commands of one configuration session, from `configure terminal` on.

    Raises OSError when it does not answer within 5 s, LabError when it refuses one of them.
    """
    _talk(nodes, node, "bgpd", ("enable", *commands))


def _talk(nodes: Nodes, node: str, daemon: str, commands: Sequence[str]) -> str:
    """Send commands and return the last answer; it ends with three zero bytes and the status."""
    text = ""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(socket_directory(nodes, node) / f"{daemon}.vty"))
        for command in commands:
            sock.sendall(f"{command}\0".encode())
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
