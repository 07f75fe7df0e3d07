"""Tests of the rehearsal network alone: a bare ExaBGP announces, without our agent."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anycastd.lab.network import azure, bird, routers
from anycastd.lab.network.appliance import PYTHON
from anycastd.lab.network.azure import AZURE, PRIMARY, REGIONS, SECONDARY, Region
from anycastd.lab.network.namespaces import Nodes, Process
from anycastd.lab.network.table import TableRow, paths_by_next_hop
from anycastd.lab.network.topology import VIP, wire_nodes

pytestmark = pytest.mark.root

BASELINE = AZURE.expected_paths({PRIMARY.name: 0, SECONDARY.name: 2})
EXABGP = shutil.which("exabgp", path=str(Path(sys.executable).parent)) or shutil.which("exabgp")


def exabgp(nodes: Nodes, region: Region, *routes: str) -> Process:
    """Start a bare ExaBGP in a region's NVA, with these static routes."""
    assert EXABGP, "ExaBGP is not installed"
    static = "".join(f"route {route};" for route in routes)
    file = nodes.directory / f"{region.short}.exabgp.conf"
    file.write_text(
        "".join(
            f"neighbor {server} {{ router-id {region.nva}; local-address {region.nva};"
            f" local-as 65010; peer-as 65515; hold-time 9; static {{ {static} }} }}\n"
            for server in region.ars
        ),
        encoding="utf-8",
    )
    setting = {"exabgp_daemon_user": "root", "exabgp_api_cli": "false"}
    node = region.node("nva")
    return nodes.start(node, "exabgp", EXABGP, "server", str(file), environment=setting)


def vip(region: Region, *path: int) -> str:
    """Return the static route to the VIP with an AS path."""
    return f"{VIP}/32 next-hop {region.nva} as-path [ {' '.join(map(str, path))} ]"


def table(nodes: Nodes, node: str, network: str = f"{VIP}/32") -> tuple[TableRow, ...]:
    """Return a router's routes; empty while it does not answer yet."""
    try:
        return bird.read_table(nodes, node, network)
    except OSError:
        return ()


def wait(condition: Callable[[], bool], timeout: float, describe: Callable[[], object]) -> None:
    """Wait for a condition, or fail with what was seen."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not in {timeout} s; seen: {describe()}"
        time.sleep(0.02)


def wait_paths(nodes: Nodes, wanted: dict[str, tuple[int, ...]], timeout: float = 30) -> None:
    """Wait until the MSEE has these paths by next hop."""
    wait(
        lambda: paths_by_next_hop(table(nodes, "msee")) == wanted,
        timeout,
        lambda: table(nodes, "msee"),
    )


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Wire the network and start the routers, without NVAs."""
    with Nodes(AZURE.names) as made:
        wire_nodes(made, AZURE)
        routers.start_routers(made, AZURE)
        yield made


def test_the_msee_fails_over_and_back(nodes: Nodes) -> None:
    """The MSEE has four routes; two after the primary has ended; then four again."""
    primary = exabgp(nodes, PRIMARY, vip(PRIMARY, 65010))
    secondary = exabgp(nodes, SECONDARY, vip(SECONDARY, 65010, 65010, 65010))
    wait_paths(nodes, BASELINE)
    rows = table(nodes, "msee")
    assert next(row.next_hop for row in rows if row.best) in PRIMARY.gateways
    assert [" ".join(str(row).replace("*", "").split()) for row in rows] == [
        "203.0.113.10/32 172.16.138.12 0 65515 65010 65010 65010",
        "203.0.113.10/32 172.16.138.13 0 65515 65010 65010 65010",
        "203.0.113.10/32 172.16.158.12 0 65515 65010",
        "203.0.113.10/32 172.16.158.13 0 65515 65010",
    ]
    # Private ASNs are removed towards the customer, who sees Microsoft's alone.
    wait(
        lambda: {row.path for row in table(nodes, "ce")} == {(azure.MSEE_AS,)},
        30,
        lambda: table(nodes, "ce"),
    )

    primary.kill()
    wait_paths(nodes, AZURE.expected_paths({SECONDARY.name: 2}))
    assert next(row.next_hop for row in table(nodes, "msee") if row.best) in SECONDARY.gateways

    primary = exabgp(nodes, PRIMARY, vip(PRIMARY, 65010))
    wait_paths(nodes, BASELINE)
    primary.kill()
    secondary.kill()
    wait_paths(nodes, {})


def test_a_route_server_refuses_what_azures_refuses(nodes: Nodes) -> None:
    """Prefixes of the own VNet and paths with 65515 are rejected, other routes are accepted."""
    inside, looped, good = "172.16.156.9/32", "203.0.113.11/32", "203.0.113.12/32"
    speaker = exabgp(
        nodes,
        PRIMARY,
        f"{inside} next-hop {PRIMARY.nva}",
        f"{looped} next-hop {PRIMARY.nva} as-path [ 65010 65515 ]",
        f"{good} next-hop {PRIMARY.nva}",
    )
    server = PRIMARY.node("ars0")
    wait(lambda: bool(table(nodes, server, good)), 30, speaker.log_tail)
    assert not table(nodes, server, inside)
    assert not table(nodes, server, looped)
    speaker.kill()
    wait(lambda: not table(nodes, server, good), 10, speaker.log_tail)


def test_one_route_server_may_go_away(nodes: Nodes) -> None:
    """With one route server of the pair gone, the MSEE keeps every route."""
    speakers = [exabgp(nodes, region, vip(region, 65010)) for region in REGIONS]
    everything = AZURE.expected_paths({PRIMARY.name: 0, SECONDARY.name: 0})
    wait_paths(nodes, everything)
    # The MSEE may have a route by one route server before the other one has sent it, too.
    gateways = [PRIMARY.node("gw0"), PRIMARY.node("gw1")]
    wait(
        lambda: all(len(table(nodes, gateway)) == len(PRIMARY.ars) for gateway in gateways),
        30,
        lambda: [table(nodes, gateway) for gateway in gateways],
    )
    server = PRIMARY.node("ars0")
    control = bird.control_socket(nodes, server)
    bird.query_bird(control, "disable all")
    wait(lambda: not any(bird.read_sessions(nodes, server).values()), 10, lambda: "")
    assert paths_by_next_hop(table(nodes, "msee")) == everything
    bird.query_bird(control, "enable all")
    wait(lambda: all(bird.read_sessions(nodes, server).values()), 30, lambda: "")
    for speaker in speakers:
        speaker.kill()
    wait_paths(nodes, {})


def test_the_client_reaches_the_vip_and_the_answer_comes_back(nodes: Nodes) -> None:
    """A connection works through client, MSEE, either gateway and NVA, and back."""
    speaker = exabgp(nodes, SECONDARY, vip(SECONDARY, 65010))
    node = SECONDARY.node("nva")
    nodes.run(node, "ip", "address", "add", f"{VIP}/32", "dev", "lo")
    argv = (*PYTHON, "anycastd.lab.programs.web_server", VIP, SECONDARY.name, SECONDARY.title, "it")
    server = nodes.start(node, "web", *argv)
    wait_paths(nodes, AZURE.expected_paths({SECONDARY.name: 0}))
    ask = f"import urllib.request as u; print(u.urlopen('http://{VIP}/', timeout=2).read())"
    answers: list[str] = []

    def asked() -> bool:
        answers.append(nodes.try_run("client", sys.executable, "-c", ask).stdout)
        return "West Europe" in answers[-1]

    wait(asked, 10, lambda: answers)
    # 20 more, so that connections of both hashes over the two gateways are among them.
    assert all(asked() for _ in range(20)), answers
    server.kill()
    speaker.kill()
    wait_paths(nodes, {})
