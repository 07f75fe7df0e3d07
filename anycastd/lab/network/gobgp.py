"""GoBGP as a router of the lab.  It puts no routes into the kernel; a table shows what it has."""

from __future__ import annotations

import json
import shutil
from typing import Any

from anycastd.lab.network.namespaces import Nodes, Process
from anycastd.lab.network.table import TableRow

PROGRAMS = {"gobgpd": "gobgpd", "gobgp": "gobgpd"}
"""Programs that it needs -> the Debian packages that have them."""
_AS_PATH, _MED = 2, 4
_ESTABLISHED = 6


def start(nodes: Nodes, node: str, config: str) -> list[Process]:
    """Start GoBGP in a node; ``config`` is its TOML."""
    file = nodes.directory / f"{node}.gobgp.toml"
    file.write_text(config, encoding="utf-8")
    return [nodes.start(node, "gobgpd", "gobgpd", "-f", str(file), "--pprof-disable")]


def _query(nodes: Nodes, node: str, *words: str) -> Any:  # noqa: ANN401 - as it answers
    done = nodes.try_run(node, "gobgp", *words, "-j")
    if done.returncode:
        raise OSError(f"{node}: {(done.stderr or done.stdout).strip()}")
    return json.loads(done.stdout or "null")


def read_table(nodes: Nodes, node: str, network: str) -> tuple[TableRow, ...]:
    """Return a router's routes to a network, ordered by next hop; raises OSError if it is silent.

    Its first route is the best one.
    """
    family = "ipv6" if ":" in network else "ipv4"
    answer = _query(nodes, node, "global", "rib", "-a", family) or {}
    rows = []
    for number, path in enumerate(answer.get(network, [])):
        attributes = {each["type"]: each for each in path["attrs"]}
        numbers = [
            number
            for segment in attributes.get(_AS_PATH, {}).get("as_paths") or ()
            for number in segment["asns"]
        ]
        hop = next((each["nexthop"] for each in path["attrs"] if "nexthop" in each), "")
        med = attributes.get(_MED, {}).get("metric")
        rows.append(TableRow(network, hop, tuple(numbers), not number, med=med))
    return tuple(sorted(rows, key=lambda row: row.next_hop))


def read_sessions(nodes: Nodes, node: str) -> dict[str, bool]:
    """Return whether each BGP session is established: peer's address -> bool.

    Raises OSError when GoBGP does not answer.
    """
    return {
        peer["conf"]["neighbor_address"]: peer["state"].get("session_state") == _ESTABLISHED
        for peer in _query(nodes, node, "neighbor") or ()
    }


def describe_command(_nodes: Nodes, _node: str) -> tuple[str, ...]:
    """Return the command with which a person looks at all routes."""
    return (shutil.which("gobgp") or "gobgp", "global", "rib")
